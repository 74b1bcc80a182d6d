"""Cartesian sampling patterns."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bart_bridge.errors import InputError


def sampling_pattern(
    size_x: int, size_y: int, kind: str, acceleration: float, reference_size: int, generator: Generator
) -> NDArray[np.float32]:
    """Draw a sampling pattern.

    Args:
        size_x: Pixels along the readout.
        size_y: Pixels along the phase encoding.
        kind: `regular` samples every n-th line along y and `reference_size` lines in the centre, all of them completely
            along x. `random` samples single positions, with a density that falls off as the fourth power of the
            distance from the edge; the centre of `reference_size` squared is full, and exactly 1 / `acceleration` of
            all positions is sampled.
        acceleration: At least 1; rounded to whole lines for `regular`.
        reference_size: Width of the fully sampled centre in pixels.
        generator: Source of randomness; `regular` does not use it.

    Returns:
        Zeros and ones, `(y, x)`, centre at index `floor(n/2)`.

    Raises:
        InputError: The fully sampled centre alone holds more positions than the acceleration allows, or no position
            is sampled at all.
    """
    y, x = np.mgrid[:size_y, :size_x]
    from_centre_y, from_centre_x = y - size_y // 2, x - size_x // 2
    half = reference_size / 2
    in_central_lines = (from_centre_y >= -half) & (from_centre_y < half)
    if kind == "regular":
        return (in_central_lines | (from_centre_y % round(acceleration) == 0)).astype(np.float32)
    centre = in_central_lines & (from_centre_x >= -half) & (from_centre_x < half)
    sample_count = round(size_x * size_y / acceleration) - int(centre.sum())
    if sample_count < 0:
        raise InputError(
            f"reference_size must leave room for other samples: {reference_size} squared is more than 1 of "
            f"{acceleration:g} positions of {size_x} x {size_y}"
        )
    radius = np.hypot(from_centre_y / (size_y / 2), from_centre_x / (size_x / 2))
    density = np.where(centre, 0.0, np.clip(1 - radius / 1.5, 0, None) ** 4 + 1e-3)
    samples = generator.choice(density.size, size=sample_count, replace=False, p=(density / density.sum()).ravel())
    pattern = centre.astype(np.float32)
    pattern.flat[samples] = 1
    if not pattern.any():
        raise InputError(f"acceleration must leave samples: none of {size_x} x {size_y} is left by {acceleration:g}")
    return pattern
