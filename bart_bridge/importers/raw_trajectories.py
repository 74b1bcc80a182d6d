"""Non-Cartesian raw data, whose lines carry their positions in k-space.

ISMRMRD defines no unit of these positions. They are read as they are, and their unit is the one in which they reach the
edge of k-space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers.raw_lines import RawLines
from bart_bridge.importers.source import Entry, Slice

# The unit of datasets, and of the files that `bart-tf export` writes.
OWN_UNIT = "1 / field of view"
Positions = Callable[[NDArray[np.int64]], Iterator[NDArray[np.float32]]]
# Positions from this part of the edge of k-space to a rounding beyond it.
_REACH = (0.75, 1.02)


@dataclass(frozen=True)
class Field:
    """The reconstructed image of non-Cartesian data, `(x, y)` each.

    Attributes:
        pixels: Its size at the encoded resolution, which need not be a whole number.
        view_mm: Its field of view in mm.
        encoded_view_mm: The encoded field of view in mm, which is larger if the readout is oversampled.
    """

    pixels: tuple[float, float]
    view_mm: tuple[float, float]
    encoded_view_mm: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Size `(y, x)` of the image in whole pixels."""
        return max(1, round(self.pixels[1])), max(1, round(self.pixels[0]))

    def units(self) -> dict[str, NDArray[np.float64]]:
        """Return by the name of each unit the factors that turn kx and ky into 1 / field of view."""
        pixels, view, encoded = map(np.asarray, (self.pixels, self.view_mm, self.encoded_view_mm))
        units = {
            "cycles per pixel": pixels,
            "radians per pixel": pixels / (2 * np.pi),
            OWN_UNIT: np.ones(2),
            "1 / encoded field of view": view / encoded,
            "1/m": view / 1000,
            "rad/m": view / (2000 * np.pi),
        }
        if np.allclose(view, encoded, rtol=1e-3):
            del units["1 / encoded field of view"]
        return units


def noncartesian_units(
    lines: RawLines, read_positions: Positions, field: Field, unit: str = ""
) -> tuple[dict[str, dict[int, Entry]], tuple[str, ...], dict[str, int]]:
    """Sort lines into slices.

    Args:
        lines: The lines; all with the same number of used samples.
        read_positions: Reads the positions of lines, `(sample, 2 or 3)` each.
        field: The image.
        unit: The unit of positions, one of `field.units()`; empty (default) if it is not known.

    Returns:
        The units of a `Source`, notes, and counts of what is left out.

    Raises:
        InputError: Lines have no positions, other numbers of samples, or positions of no known unit.
    """
    lines.require_image()
    heads = lines.image()
    lengths = np.unique(heads["last"] - heads["first"])
    if lengths.size > 1 or lengths[0] < 1:
        raise InputError(f"{lines.path}: lines of one length are supported, found {', '.join(map(str, lengths[:6]))}")
    check_axes(f"{lines.path}: lines", {"coil": int(heads["coils"].max()), "readout": int(lengths[0])})
    numbers = np.flatnonzero(lines.heads["image"])
    reach, weights = _reach(lines, numbers, read_positions)
    unit = unit or _unit(lines, reach, field)
    pixels = field.shape
    notes = [f"positions reach {reach[0]:.4g} and {reach[1]:.4g}, which are taken as {unit}"]
    if any(size % 2 for size in pixels):
        notes.append("an odd number of pixels needs 'nufft: finufft' in dataset.yaml: BART's nufft is for even sizes")
    units = {}
    for position, number in enumerate(np.unique(heads["slice"]).tolist()):
        in_slice = numbers[heads["slice"] == number]
        load = partial(_load, lines, read_positions, in_slice, field.units()[unit], pixels)
        units[str(position)] = {0: Entry(f"{lines.path.name}/{number}", load)}
    left_out = {"weights of samples, the third number of each position (density compensation)": weights}
    return units, tuple(notes), left_out


def _reach(lines: RawLines, numbers: NDArray[np.int64], read_positions: Positions) -> tuple[NDArray[np.float64], int]:
    """Return the largest |kx| and |ky| of all lines, and how many samples have a weight beside them."""
    reach, weights = np.zeros(2), 0
    for number, positions in zip(numbers, read_positions(numbers), strict=True):
        if positions.shape[1] not in (2, 3):
            raise InputError(
                f"{lines.path}: non-Cartesian lines need 2 or 3 coordinates of each sample, line {number} has "
                f"{positions.shape[1]}"
            )
        if not np.isfinite(positions).all():
            raise InputError(f"{lines.path}: positions must be finite, found NaN or infinity in line {number}")
        third = positions[:, 2:]
        if (third < 0).any():
            raise InputError(
                f"{lines.path}: kz of two-dimensional data must be 0, found {third.min():g} in line {number}"
            )
        reach = np.maximum(reach, np.abs(positions[:, :2]).max(axis=0))
        weights += int(np.count_nonzero(third))
    return reach, weights


def _unit(lines: RawLines, reach: NDArray[np.float64], field: Field) -> str:
    parts = {
        name: float(np.max(reach * factors / (np.asarray(field.pixels) / 2))) for name, factors in field.units().items()
    }
    fitting = [name for name, part in parts.items() if _REACH[0] <= part <= _REACH[1]]
    if len(fitting) != 1:
        tried = ", ".join(f"{part:.3g} in {name}" for name, part in parts.items())
        raise InputError(
            f"{lines.path}: the unit of positions is not clear: they reach {reach[0]:g} and {reach[1]:g}, which is "
            f"this part of the way to the edge of k-space: {tried}; one of them must be from {_REACH[0]} to {_REACH[1]}"
        )
    return fitting[0]


def _load(
    lines: RawLines,
    read_positions: Positions,
    numbers: NDArray[np.int64],
    factors: NDArray[np.float64],
    pixels: tuple[int, int],
) -> Slice:
    samples, places = [], []
    pairs = zip(lines.heads[numbers], lines.read(numbers), read_positions(numbers), strict=True)
    for head, values, positions in pairs:
        used = slice(head["first"], head["last"])
        samples.append(values[:, used])
        places.append(positions[used, :2] * factors)
    kspace = np.stack(samples, axis=1)
    if not np.isfinite(kspace).all():
        raise InputError(
            f"{lines.path}: values must be finite, found NaN or infinity in lines {numbers[0]} to {numbers[-1]}"
        )
    trajectory = np.zeros((3, *kspace.shape[1:]), np.float32)
    trajectory[:2] = np.moveaxis(np.stack(places), -1, 0)
    return Slice(kspace, fully_sampled=False, trajectory=trajectory, pixels=pixels)
