"""Simulated non-Cartesian acquisitions: where they sample, and how densely."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.noncartesian import forward
from bart_bridge.files.dims import (
    from_batch_coil_samples,
    from_batch_coil_yx,
    from_batch_positions,
    to_batch_coil_samples,
)
from bart_bridge.tools.toolbox import Toolbox

Kind = Literal["radial", "golden-angle", "spiral"]
KINDS = get_args(Kind)
# With so many arms, neighbouring turns of a spiral are one unit of 1 / field of view apart.
_FULL_ARMS = 16


def trajectory(kind: str, size: int, spokes: int, toolbox: Toolbox) -> NDArray[np.float32]:
    """Make a trajectory of spokes, or of spiral arms, that reaches half the number of pixels in each direction.

    Args:
        kind: One of `KINDS`. `radial` spokes are spread evenly over 180 degrees, like the 44 in figure 6 of Blumenthal
            et al. (2022), doi 10.1002/mrm.29485. `golden-angle` spokes follow each other at 111.25 degrees (Winkelmann
            et al. 2007, doi 10.1109/TMI.2006.885337). A `spiral` has Archimedean arms, each rotated by 360 degrees /
            `spokes` from the one before; 16 arms sample k-space fully.
        size: Pixels along x and y, and samples of a spoke.
        spokes: Number of spokes or arms.
        toolbox: The BART whose `traj` makes spokes.

    Returns:
        kx, ky and kz = 0 in units of 1 / field of view, `(3, spokes, samples)`.
    """
    if kind == "spiral":
        return _spiral(size, spokes)
    golden = ["-G"] if kind == "golden-angle" else []
    return to_batch_coil_samples(toolbox.compute("traj", "-r", *golden, "-x", size, "-y", spokes))[0].real


def sample(
    images: NDArray[np.complex64],
    coils: NDArray[np.complex64],
    positions: NDArray[np.floating],
    toolbox: Toolbox | None,
) -> NDArray[np.complex64]:
    """Sample the k-space of coil images with BART's nufft or finufft.

    Args:
        images: `(batch, 1, y, x)`.
        coils: `(1, coil, y, x)`.
        positions: `(batch or 1, 3, spokes, samples)`.
        toolbox: The BART to use; None for finufft.

    Returns:
        A BART array `[1, samples, spokes, coil, ..., batch]`.
    """
    kspace = []
    for number, image in enumerate(images):
        if toolbox is None:
            kspace.append(forward((image * coils)[0], positions[number % len(positions)]).astype(np.complex64))
            continue
        points = from_batch_positions(positions[[number % len(positions)]])
        kspace.append(to_batch_coil_samples(toolbox.compute("nufft", points, from_batch_coil_yx(image * coils)))[0])
    return from_batch_coil_samples(np.stack(kspace))


def density_compensation(positions: NDArray[np.floating], size: int) -> NDArray[np.float32]:
    """Compute weights of samples that make A^H A nearly the identity; data and model are both multiplied with them.

    The square of a weight is the area of k-space around its sample. It is proportional to |k| for spokes and for
    Archimedean arms, with |k| at least 0.25, and all areas together are pi / 4 times the number of pixels.

    Args:
        positions: `(3, spokes, samples)`.
        size: Pixels along x and y.

    Returns:
        `(spokes, samples)`.
    """
    area = np.maximum(np.hypot(positions[0], positions[1]), 0.25)
    return np.sqrt(area * (np.pi / 4 * size**2 / area.sum())).astype(np.float32)


def _spiral(size: int, arms: int) -> NDArray[np.float32]:
    turns = size / 2 / _FULL_ARMS
    # Equal steps of time: at its end, where the arm is fastest, samples are one unit apart.
    samples = round(np.pi * size * turns)
    time = (np.arange(samples) + 0.5) / samples
    rotation = 2 * np.pi * np.arange(arms)[:, None] / arms
    k = size / 2 * time * np.exp(1j * (2 * np.pi * turns * time + rotation))
    return np.stack([k.real, k.imag, np.zeros_like(k.real)]).astype(np.float32)
