"""Which sizes the Triton kernels take, which no GPU is needed for."""

import keras
import numpy as np
import pytest

from tests.helper import random_images
from tf_models.kernels import field_of_experts, triton_tiles


@pytest.mark.parametrize(
    ("slices", "filters", "fits"), [(300, 24, True), (500, 24, False), (120, 64, True), (180, 64, False)]
)
def test_a_field_of_experts_fits_while_its_features_can_be_counted(slices, filters, fits):
    assert triton_tiles.experts_fit((slices, 640, 320, 2), (11, 11, 2, filters)) == fits
    # The features of the padded image.
    assert fits == (slices * 650 * 330 * filters < 2**31)


@pytest.mark.parametrize("basis", [2, 3, 5, 6, 7, 13, 31, 64])
def test_gaussians_of_polynomials_are_about_as_many_in_each(basis):
    block = triton_tiles.block(basis)
    count = -(-basis // block)
    assert 2 <= block <= triton_tiles.MOST_TERMS
    assert count == -(-basis // triton_tiles.MOST_TERMS)
    assert block * count - basis < count


def test_a_field_of_experts_that_does_not_fit_is_computed_without_the_kernels(monkeypatch):
    image, kernel, weights = (
        keras.ops.convert_to_tensor(random_images(shape)) for shape in ((1, 6, 7, 2), (3, 3, 2, 4), (5, 4))
    )
    expected = field_of_experts.field_of_experts(image, kernel, weights)
    monkeypatch.setattr(field_of_experts, "runs_as_triton_kernels", lambda *_: True)
    monkeypatch.setattr(triton_tiles, "LARGEST_INDEX", 1000)
    np.testing.assert_array_equal(field_of_experts.field_of_experts(image, kernel, weights), expected)
