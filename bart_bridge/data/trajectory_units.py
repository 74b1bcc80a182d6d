"""Check that a trajectory is in BART's unit, 1 / field of view; other tools use cycles or radians per pixel.

With N pixels along an axis, full resolution reaches N/2 there. A trajectory in another unit gives a wrong image and no
error, so one that reaches too far for the size of the image is refused, and a doubtful one is reported.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError

# BART's nufft moves positions outside of the grid to its edge. This much is rounding.
_BEYOND = 1.001


def check_reach(path: Path, trajectory: NDArray[np.complexfloating], size: tuple[int, int]) -> list[str]:
    """Compare how far a trajectory reaches with the pixels of the image.

    Args:
        path: Its file, for messages.
        trajectory: kx, ky and kz, `(batch or 1, 3, spokes, samples)`, finite.
        size: Pixels `(y, x)`.

    Returns:
        At most two warnings: about the first slice that reaches less than half as far as the size allows, and about
        the first that reaches further than it allows.

    Raises:
        InputError: A slice has |kz| above 0, stays below 1 / field of view, or reaches twice as far as the size allows.
    """
    y, x = size
    warnings: dict[str, str] = {}
    for number, positions in enumerate(trajectory):
        reach = np.abs(positions).max(axis=(1, 2))
        if (reach > (x, y, 0)).any():
            raise InputError(
                f"{path}: |kx|, |ky| and |kz| in units of 1 / field of view must not be above the pixels of the image, "
                f"{x}, {y} and 0, found {', '.join(f'{value:g}' for value in reach)} in slice {number}"
                + (f"; {_fitting_unit(reach, size)}" if reach[2] == 0 else "")
            )
        if reach.max() < 1:
            raise InputError(
                f"{path}: a trajectory must reach 1 / field of view or more, found {reach.max():g} in slice {number}; "
                f"{_fitting_unit(reach, size)}"
            )
        fraction = max(reach[0] / (x / 2), reach[1] / (y / 2))
        if 0.5 <= fraction <= _BEYOND:
            continue
        comparison = "less than half of" if fraction < 0.5 else "more than"
        if comparison not in warnings:
            warnings[comparison] = (
                f"{path}: |kx| and |ky| reach {reach[0]:g} and {reach[1]:g} in slice {number}, {comparison} the "
                f"{x / 2:g} and {y / 2:g} (in 1 / field of view) that {x} x {y} pixels allow; "
                f"{_fitting_unit(reach, size)}"
            )
    return list(warnings.values())


def _fitting_unit(reach: NDArray[np.floating], size: tuple[int, int]) -> str:
    """Name the unit in which a trajectory of this reach would fit the size."""
    y, x = size
    largest, pixels = (reach[0], x) if reach[0] / x >= reach[1] / y else (reach[1], y)
    if largest == 0:
        return "all of it is the centre"
    for limit, unit, x_factor, y_factor in (
        (0.5, "cycles per pixel", f"{x}", f"{y}"),
        (1, "fractions of the largest position", f"{x}/2", f"{y}/2"),
        (np.pi, "radians per pixel", f"{x}/(2 pi)", f"{y}/(2 pi)"),
        (pixels, "1 / (2 fields of view)", "1/2", "1/2"),
        (np.pi * pixels, "radians per field of view", "1/(2 pi)", "1/(2 pi)"),
    ):
        if 0.75 * limit < largest < 1.02 * limit or largest < limit == 0.5:
            return f"it would fit in {unit}: multiply kx by {x_factor} and ky by {y_factor}"
    factor = pixels / 2 / largest
    return f"multiplied by {factor:.3g}, it would reach the edge (positions in 1/m: multiply by the field of view in m)"
