"""Complex NumPy arrays in the layout of the networks and back; loads no Keras, for programs that only read datasets.

The networks have an axis of 2 * maps at the end: real and imaginary part of each map (set of coil sensitivities) in
turn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def complex_to_channels(array: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    """Copy complex images or coils `(batch, map, ...)` into the networks' layout, `(batch, ..., 2 * maps)`."""
    # A copy even if the order of axes needs none, so that nothing of a file stays mapped.
    return np.array(np.moveaxis(array, 1, -1), np.complex64, order="C").view(np.float32)


def channels_to_complex(array: NDArray[np.floating]) -> NDArray[np.complex64]:
    """Turn the networks' layout `(batch, ..., 2 * maps)` into complex `(batch, map, ...)`."""
    return np.moveaxis(np.ascontiguousarray(array, np.float32).view(np.complex64), -1, 1)
