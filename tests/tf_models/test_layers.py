import numpy as np
import pytest
from keras import ops

from bart_bridge.settings import VarNetSettings
from tests.helper import random_images, relative_difference, to_complex
from tf_models.layers import BatchNorm, VariationalBlock, ZeroMeanUnitNorm


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


def complex_features(features, channels):
    return features[..., :channels] + 1j * features[..., channels:]


def test_batch_norm_in_training():
    features = random_images((4, 5, 6, 6)) * 3 + 1
    norm = BatchNorm(3, iterations=2)
    found = complex_features(ops.convert_to_numpy(norm(features, iteration=1, training=True)), 3)
    x = complex_features(features, 3)
    mean = x.mean(axis=(0, 1, 2))
    variance = np.mean(np.abs(x - mean) ** 2, axis=(0, 1, 2))
    assert relative_difference(found, (x - mean) / np.sqrt(variance + 1e-3)) < 1e-5
    stored = complex_features(ops.convert_to_numpy(norm.mean[1]), 3)
    np.testing.assert_allclose(stored, 0.05 * mean, rtol=1e-4)
    np.testing.assert_allclose(norm.variance[1], 0.05 * variance * 120 / 119, rtol=1e-4)
    assert not ops.convert_to_numpy(norm.mean[0]).any()


def test_batch_norm_in_inference_uses_what_is_stored():
    norm = BatchNorm(1, iterations=1)
    norm.mean[0].assign([1.0, 2.0])
    norm.variance[0].assign([4.0])
    features = random_images((2, 3, 3, 2))
    expected = (features - [1, 2]) / np.sqrt(4.001)
    np.testing.assert_allclose(ops.convert_to_numpy(norm(features, iteration=0)), expected, rtol=1e-5)
