import numpy as np
import pytest
from keras import ops

from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tests.helper import random_images, relative_difference, to_complex
from tf_models.networks.residual_block import ResidualBlock
from tf_models.networks.variational_block import VariationalBlock, ZeroMeanUnitNorm


def test_filters_are_projected_to_zero_mean_and_unit_norm():
    projected = ops.convert_to_numpy(ZeroMeanUnitNorm()(random_images((2, 5, 3, 1, 4, 2))))
    filters = to_complex(projected)
    np.testing.assert_allclose(filters.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(np.sum(np.abs(filters) ** 2, axis=(1, 2)), 1, rtol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(ZeroMeanUnitNorm()(projected)), projected, atol=1e-6)


@pytest.mark.parametrize("kernel", [(3, 3), (4, 5), (1, 3)])
def test_variational_block_is_the_formula(kernel):
    """Against sums over single pixels, written from the definition."""
    size_y, size_x = 6, 7
    network = VarNetSettings(iterations=1, filters=2, kernel_y=kernel[0], kernel_x=kernel[1], basis=5)
    block = VariationalBlock(network)
    block.conv.assign(random_images(block.conv.shape, 1))
    block.rbf.assign(random_images(block.rbf.shape, 2))
    image = random_images((1, size_y, size_x, 2), 3)

    filters = ops.convert_to_numpy(block.conv)[0, :, :, 0]
    pads = [(0, 0), *((size - 1, size - 1) for size in kernel), (0, 0)]
    padded = np.pad(image, pads, mode="symmetric")[0]
    expected = np.zeros((size_y, size_x, 2))
    for f in range(2):
        grid = np.zeros((padded.shape[0] - kernel[0] + 1, padded.shape[1] - kernel[1] + 1))
        for y, x in np.ndindex(grid.shape):
            grid[y, x] = np.sum(padded[y : y + kernel[0], x : x + kernel[1]] * filters[:, :, f])
        weights = ops.convert_to_numpy(block.rbf)[0, :, f]
        active = sum(
            w * np.exp(-((grid - m) ** 2) / (2 * 0.4**2)) for w, m in zip(weights, np.linspace(-1, 1, 5), strict=True)
        )
        whole = np.zeros(padded.shape)
        for y, x in np.ndindex(grid.shape):
            whole[y : y + kernel[0], x : x + kernel[1]] += active[y, x] * filters[:, :, f]
        expected += whole[kernel[0] - 1 :][:size_y, kernel[1] - 1 :][:, :size_x] / 2
    found = image - ops.convert_to_numpy(block(image, iteration=0))
    assert relative_difference(found[0], expected) < 1e-5


def crelu(x):
    return np.maximum(x.real, 0) + 1j * np.maximum(x.imag, 0)


def convolved(features, kernel):
    """Sums over single pixels, written from the definition: `(batch, y, x, in)` and `(y, x, in, out)`, zeros around."""
    margins = [(0, 0), *((size // 2, size // 2) for size in kernel.shape[:2]), (0, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(features, margins), kernel.shape[:2], axis=(1, 2))
    return np.einsum("byxcij,ijcf->byxf", windows, kernel)


@pytest.fixture
def residual():
    """A block with random weights and statistics, and its arrays of iteration 1 as complex numbers."""
    block = ResidualBlock(ModlSettings(iterations=2, layers=4, filters=3, kernel_y=3, kernel_x=5))
    for number, array in enumerate(block.arrays.values()):
        array.assign(random_images(array.shape, number))
    for number, norm in enumerate(block.norms):
        norm.mean[1].assign(random_images(norm.mean[1].shape, 10 + number))
        norm.variance[1].assign(1 + random_images(norm.variance[1].shape, 20 + number) ** 2)
    arrays = {name: to_complex(ops.convert_to_numpy(array)) for name, array in block.arrays.items()}
    return block, {name: array[1 if name == "gamma" else 0] for name, array in arrays.items()}


def stored(block, iteration):
    """Mean and variance of each batch norm, complex and real, one value for each channel."""
    pairs = [(norm.mean[iteration], norm.variance[iteration]) for norm in block.norms]
    values = [[ops.convert_to_numpy(value).astype(np.float64) for value in pair] for pair in pairs]
    return [(np.array(mean[: len(v)] + 1j * mean[len(v) :]), v) for mean, v in values]


def formula(image, arrays, statistics):
    """z of the definition, and mean and biased variance of what goes into each batch norm."""
    features, seen = image, []
    convs = [arrays["conv_0"], *arrays["conv_i"], arrays["conv_n"]]
    biases = [arrays["bias_0"], *arrays["bias_i"], arrays["bias_n"]]
    for number, (conv, bias) in enumerate(zip(convs, biases, strict=True)):
        features = convolved(features, conv)
        mean = features.mean(axis=(0, 1, 2))
        seen.append((mean, np.mean(np.abs(features - mean) ** 2, axis=(0, 1, 2))))
        mean, variance = statistics[number] if statistics else seen[-1]
        features = (features - mean) / np.sqrt(variance + 1e-3)
        features = arrays["gamma"] * features + bias if number == len(convs) - 1 else crelu(features + bias)
    return image + features, seen


def test_residual_block_in_training_is_the_formula_and_moves_the_statistics(residual):
    block, arrays = residual
    image, before, others = random_images((4, 5, 6, 2), 30), stored(block, 1), stored(block, 0)
    found = to_complex(ops.convert_to_numpy(block(image, iteration=1, training=True)))[..., None]
    expected, seen = formula(to_complex(image)[..., None], arrays, None)
    assert relative_difference(found, expected) < 1e-5
    values = 4 * 5 * 6
    for old, new, (mean, variance) in zip(before, stored(block, 1), seen, strict=True):
        np.testing.assert_allclose(new[0], 0.95 * old[0] + 0.05 * mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(new[1], 0.95 * old[1] + 0.05 * variance * values / (values - 1), rtol=1e-4)
    for old, new in zip(others, stored(block, 0), strict=True):
        np.testing.assert_array_equal(np.concatenate(new), np.concatenate(old))


def test_residual_block_in_inference_uses_what_is_stored_and_keeps_it(residual):
    block, arrays = residual
    image, before = random_images((2, 5, 6, 2), 30), stored(block, 1)
    found = to_complex(ops.convert_to_numpy(block(image, iteration=1)))[..., None]
    assert relative_difference(found, formula(to_complex(image)[..., None], arrays, before)[0]) < 1e-5
    for old, new in zip(before, stored(block, 1), strict=True):
        np.testing.assert_array_equal(np.concatenate(new), np.concatenate(old))
