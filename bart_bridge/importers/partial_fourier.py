"""Partial Fourier and asymmetric echo: one side of k-space was not measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

READOUT = "readout"
# A smaller difference between the two sides also comes from undersampling, or from rounding the centre.
_SHARE = 1 / 16


def one_sided_gaps(measured: NDArray[np.bool_], axes: tuple[str, str]) -> list[str]:
    """Describe along which axes one side of k-space is missing.

    Args:
        measured: Where k-space was measured, `(y, x)`.
        axes: Meaning of y and x, such as `("phase encoding", "readout")`.

    Returns:
        One line for each such axis: `partial Fourier along the phase encoding: the last 25 of 170 were not measured`.
    """
    lines = (along_axis(np.any(measured, axis=1 - axis), name) for axis, name in enumerate(axes))
    return [line for line in lines if line]


def along_axis(measured: NDArray[np.bool_], name: str) -> str:
    """Describe the side that is missing along one axis, as `one_sided_gaps`; empty if none is.

    Args:
        measured: Which positions were measured, `(n,)`.
        name: Meaning of the axis.
    """
    positions = np.flatnonzero(measured)
    if not positions.size:
        return ""
    first, last = int(positions[0]), measured.size - 1 - int(positions[-1])
    widest_inside = int(np.diff(positions).max(initial=1))
    if abs(first - last) <= max(2 * widest_inside, _SHARE * measured.size):
        return ""
    side = f"the first {first}" if first > last else f"the last {last}"
    effect = "asymmetric echo" if name == READOUT else f"partial Fourier along the {name}"
    return f"{effect}: {side} of {measured.size} were not measured"
