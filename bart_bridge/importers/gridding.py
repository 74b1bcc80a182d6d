"""The centre of Cartesian k-space from non-Cartesian samples, for the estimate of coil sensitivities."""

from __future__ import annotations

import numpy as np

from bart_bridge.data.fourier import centred_fft
from bart_bridge.errors import InputError
from bart_bridge.files.dims import from_batch_coil_samples, from_batch_positions, to_batch_coil_yx
from bart_bridge.importers.source import Complex, Slice
from bart_bridge.tools.toolbox import Toolbox

# Pixels of the grid on which samples are inverted, and how much of it serves as calibration: its edge is not exact.
_GRID, _CENTRE = 64, 48


def cartesian_centre(item: Slice, toolbox: Toolbox) -> Complex:
    """Estimate the centre of Cartesian k-space by the inverse of BART's `nufft`.

    Args:
        item: A slice with a trajectory.
        toolbox: The BART to use.

    Returns:
        K-space `(coil, y, x)`, zero outside of the central 48 x 48 samples.

    Raises:
        InputError: No sample lies in the centre.
        ToolError: BART failed.
    """
    coil, y, x = item.image_shape
    # BART's nufft is right for even sizes; integer positions of k-space are the same on any grid.
    grid_y, grid_x = (min(size + size % 2, _GRID) for size in (y, x))
    assert item.trajectory is not None
    k_x, k_y, _ = item.trajectory
    inside = (np.abs(k_x) < grid_x / 2) & (np.abs(k_y) < grid_y / 2) & np.any(item.kspace != 0, axis=0)
    if not inside.any():
        raise InputError("no sample lies in the centre of k-space, which ecalib needs")
    positions, samples = item.trajectory[:, inside][None, :, None], item.kspace[:, inside][None, :, None]
    files = from_batch_positions(positions), from_batch_coil_samples(samples)
    images = to_batch_coil_yx(toolbox.compute("nufft", "-i", "-d", f"{grid_x}:{grid_y}:1", *files))[0]
    gridded = centred_fft(images)
    kspace = np.zeros((coil, y, x), np.complex64)
    half_y, half_x = (min(_CENTRE, size) // 2 for size in (y, x))
    target, origin = (
        (
            slice(None),
            *(slice(size // 2 - half, size // 2 + half) for size, half in zip(sizes, (half_y, half_x), strict=True)),
        )
        for sizes in ((y, x), (grid_y, grid_x))
    )
    kspace[target] = gridded[origin]
    return kspace
