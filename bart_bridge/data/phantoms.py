"""Images of numerical phantoms, drawn by BART in k-space, where it knows them exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bart_bridge.data.dataset import SPLITS
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.tools.toolbox import Toolbox

# The three objects of flat shapes that BART has, one for each split.
_GEOMETRY = {"train": 1, "validation": 3, "test": 2}


@dataclass(frozen=True)
class Phantom:
    """One phantom: random tubes, or, every third, an object of flat shapes.

    Attributes:
        split: The split that shows it; no phantom is in two.
        number: Its number in the split, from 0.
        seed: The seed of the dataset.
    """

    split: str
    number: int
    seed: int

    @property
    def bart_seed(self) -> int:
        """The seed of what belongs to the phantom and not to a slice."""
        return bart_seed(self.seed, SPLITS.index(self.split), self.number)

    def image(self, shape: tuple[int, int], generator: Generator, toolbox: Toolbox) -> NDArray[np.complex64]:
        """Draw it at a random angle, with a smooth random phase.

        Args:
            shape: Pixels, `(y, x)`; the field of view is a square.
            generator: Source of the angle and of the phase.
            toolbox: The BART whose `phantom` draws it.

        Returns:
            `(y, x)`, of maximum magnitude 1.
        """
        kspace = self._kspace(_rotated_grid(shape, generator.uniform(0, 2 * np.pi)), toolbox)
        image = to_batch_coil_yx(toolbox.compute("fft", "-iu", 3, kspace))[0, 0]
        y, x = pixel_positions(shape)
        phase = smooth_random(y, x, generator)
        return (image / np.abs(image).max() * np.exp(1j * phase)).astype(np.complex64)

    def _kspace(self, positions: NDArray[np.float64], toolbox: Toolbox) -> NDArray[np.complexfloating]:
        if self.number % 3 == 2:
            return toolbox.compute("phantom", "-G", "-g", _GEOMETRY[self.split], "-k", "-t", positions).squeeze()
        # Shapes and contrast belong to the phantom, not to the slice: all its rotations show the same object.
        seed = self.bart_seed
        contrast = np.random.default_rng(seed).uniform(0.1, 1.0, size=4 + seed % 5)
        contrast[0] = 0.4  # the body around the tubes, so that no single tube outshines the slice
        shapes = toolbox.compute("phantom", "-N", contrast.size, "-r", seed, "-b", "-k", "-t", positions)
        return np.asarray(shapes.squeeze() @ contrast)


def bart_seed(*numbers: int) -> int:
    """Mix numbers into one seed for BART, a different one for every combination of them."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0]) >> 1


def pixel_positions(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return y and x of each pixel in fields of view, from 0 to below 1, each of the given shape `(y, x)`."""
    y, x = np.indices(shape)
    return y / shape[0], x / shape[1]


def _rotated_grid(shape: tuple[int, int], angle: float) -> NDArray[np.float64]:
    """Return the positions of Cartesian k-space, rotated by an angle in radians, as a BART trajectory."""
    y, x = np.indices(shape)
    ky, kx = y - shape[0] // 2, x - shape[1] // 2
    return np.stack(
        [np.cos(angle) * kx - np.sin(angle) * ky, np.sin(angle) * kx + np.cos(angle) * ky, np.zeros(shape)]
    ).transpose(0, 2, 1)


def smooth_random(y: NDArray[np.float64], x: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
    """Sum the lowest spatial frequencies, with random coefficients.

    Args:
        y: Positions in fields of view.
        x: The same along the other axis, of the same shape.
        generator: Source of the coefficients.

    Returns:
        A value for each position; their standard deviation is about 1.5.
    """
    values = np.zeros(y.shape)
    for order_y, order_x in np.ndindex(3, 3):
        offset_y, offset_x = generator.uniform(0, 2 * np.pi, size=2)
        values += generator.normal() * np.cos(np.pi * order_y * y + offset_y) * np.cos(np.pi * order_x * x + offset_x)
    return values
