"""What tests of the optimizers share."""

import numpy as np
import pytest

from tests.helper import random_images


@pytest.fixture(scope="module")
def batch():
    inputs = {"adjoint": random_images((2, 12, 12, 2)), "coils": random_images((2, 2, 12, 12, 2), 1) * 0.5}
    inputs["psf"] = (np.random.default_rng(2).random((2, 12, 12)) < 0.5).astype(np.float32)
    return inputs, random_images((2, 12, 12, 2), 3)
