import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset, Split
from tests.helper import relative_difference, to_complex, to_real
from tf_models.backend.channels import channels_to_complex, complex_to_channels
from tf_models.training.network_inputs import network_inputs, network_reference


@pytest.fixture
def split(dataset_folder):
    return Dataset.open(dataset_folder).split("test")


def bart_adjoint(split, toolbox):
    """Zero-filled images by BART's own tools, `(batch, y, x)`."""
    from bart_bridge.files import cfl
    from bart_bridge.files.dims import to_batch_coil_yx

    sampled = toolbox.compute("fmac", cfl.read(split.kspace), cfl.read(split.pattern))
    coil_images = toolbox.compute("fft", "-iu", 3, sampled)
    return to_batch_coil_yx(toolbox.compute("fmac", "-C", "-s", 8, coil_images, cfl.read(split.coils)))[:, 0]


def test_adjoint_is_the_one_of_bart(split, toolbox):
    inputs = network_inputs(split)
    assert relative_difference(to_complex(inputs["adjoint"]), bart_adjoint(split, toolbox)) < 1e-6


def test_shapes_and_types(split):
    inputs = network_inputs(split)
    shapes = {name: values.shape for name, values in inputs.items()}
    assert shapes == {"adjoint": (2, 24, 24, 2), "coils": (2, 3, 24, 24, 2), "psf": (2, 24, 24)}
    assert {values.dtype for values in inputs.values()} == {np.dtype(np.float32)}


def test_without_a_pattern_sampled_is_where_kspace_is_not_zero(split):
    with_pattern, without = network_inputs(split), network_inputs(Split(split.kspace, split.coils))
    for name, values in with_pattern.items():
        np.testing.assert_array_equal(without[name], values)


def test_one_pattern_serves_all_slices(split, tmp_path):
    from bart_bridge.files import cfl

    cfl.write(tmp_path / "pattern", cfl.read(split.pattern)[..., :1])
    psf = network_inputs(Split(split.kspace, split.coils, tmp_path / "pattern"))["psf"]
    assert psf.shape == (2, 24, 24)
    for found in psf:
        np.testing.assert_array_equal(found, network_inputs(split)["psf"][0])


def test_files_do_not_stay_mapped(split):
    """What is kept for the next epoch is in memory, not in a file that may change."""
    arrays = {**network_inputs(split), "reference": network_reference(split)}
    for array in arrays.values():
        while array is not None:
            assert not isinstance(array, np.memmap)
            array = array.base


def test_complex_numbers_and_back(split):
    images = channels_to_complex(network_reference(split))
    np.testing.assert_array_equal(complex_to_channels(images), network_reference(split))
    np.testing.assert_array_equal(to_complex(to_real(images)), images)
