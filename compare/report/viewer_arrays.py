"""The planes of BART arrays that the page of `bart-tf view` shows, chosen and packed.

A plane has two dimensions of an array; sliders go through the others. Values are embedded exactly, as single-precision
complex numbers, so a page cannot hold all planes of a large array. It gets evenly spread ones.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files.dims import Dim, describe

# Complex values on a page: 8 bytes each, about 20 MB as text; a single plane of each array may need more.
MOST_VALUES = 2_000_000
_MOST_VALUES_OF_PLANES = 8_000_000
_LONG = 4
# Of Okabe and Ito (Color Universal Design, 2008): visible on light and dark ground. Lines also differ by their dashes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
Complex = NDArray[np.complex64]
# Which positions of a dimension are shown.
Positions = Mapping[Dim, Sequence[int]]


@dataclass(frozen=True)
class ViewedArray:
    """An array on the page.

    Attributes:
        label: Its name there.
        values: BART array of any rank up to 16, complex64; may be memory-mapped.
        plane: The two dimensions that its images show, downwards and to the right.
    """

    label: str
    values: Complex
    plane: tuple[Dim, Dim]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of all 16 dimensions."""
        return self.values.shape + (1,) * (len(Dim) - self.values.ndim)

    @property
    def loops(self) -> list[Dim]:
        """The dimensions beside the plane that are not 1."""
        return [dim for dim in Dim if self.shape[dim] > 1 and dim not in self.plane]

    @property
    def plane_shape(self) -> tuple[int, int]:
        """Rows and columns of its images."""
        return self.shape[self.plane[0]], self.shape[self.plane[1]]

    def image(self, positions: Mapping[Dim, int]) -> Complex:
        """Return the plane `(row, column)` at a position of each dimension in `loops`."""
        index = tuple(slice(None) if dim in self.plane else positions.get(dim, 0) for dim in Dim)
        image: Complex = np.asarray(self.values.reshape(self.shape, order="F")[index])
        return image if self.plane[0] < self.plane[1] else image.T


def default_plane(shape: tuple[int, ...]) -> tuple[Dim, Dim]:
    """Choose the plane of an array: its first two dimensions of 4 or more, which leaves out those of a trajectory.

    An array with fewer of these shows its first two dimensions that are not 1, and then one that is.
    """
    sizes = shape + (1,) * (len(Dim) - len(shape))
    long = [dim for dim in Dim if sizes[dim] >= _LONG]
    others = [dim for dim in Dim if 1 < sizes[dim] < _LONG]
    single = [dim for dim in Dim if sizes[dim] == 1]
    first, second = sorted([*long, *others, *single][:2])
    return first, second


def choose_positions(arrays: Sequence[ViewedArray], wanted: Positions) -> dict[Dim, list[int]]:
    """Choose the positions of each dimension that sliders go through, evenly spread and the same for all arrays.

    Args:
        arrays: What is shown.
        wanted: Positions that a user chose; they are all taken.

    Raises:
        InputError: No array has one of the positions that are wanted, or those need more than `MOST_VALUES`.
    """
    sizes = _sizes(arrays)
    for dim, numbers in wanted.items():
        if dim not in sizes or max(numbers) >= sizes[dim]:
            name = dim.name.lower()
            rule = (
                f"the positions of {name} are 0 to {sizes[dim] - 1}" if dim in sizes else f"{name} has no slider here"
            )
            raise InputError(f"--at {name}={max(numbers)}: {rule}")
    counts = {dim: len(wanted.get(dim, range(size))) for dim, size in sizes.items()}
    if sum(prod(array.plane_shape) for array in arrays) > _MOST_VALUES_OF_PLANES:
        raise InputError(
            f"a plane of each array must have at most {_MOST_VALUES_OF_PLANES} values together, received "
            + ", ".join(f"{array.label} {' x '.join(map(str, array.plane_shape))}" for array in arrays)
        )
    while _values(arrays, counts) > MOST_VALUES:
        free = [dim for dim in counts if dim not in wanted and counts[dim] > 1]
        if not free:
            break
        longest = max(free, key=counts.__getitem__)
        counts[longest] -= 1 + counts[longest] // 8
    if wanted and _values(arrays, counts) > max(MOST_VALUES, _values(arrays, dict.fromkeys(counts, 1))):
        raise InputError(f"--at: a page holds {MOST_VALUES} values, received {_values(arrays, counts)}")
    positions = {dim: list(wanted.get(dim, _spread(sizes[dim], counts[dim]))) for dim in sizes}
    for dim in positions.keys() - wanted.keys():
        # An array that is shorter than the others has a plane, too.
        shortest = min(array.shape[dim] for array in arrays if dim in array.loops)
        positions[dim][0] = min(positions[dim][0], shortest // 2)
    return positions


def pack(arrays: Sequence[ViewedArray], positions: Positions) -> dict[str, Any]:
    """Pack arrays for the page.

    Args:
        arrays: What is shown.
        positions: From `choose_positions`.

    Returns:
        What `templates/view.js` reads, made of JSON types only.
    """
    return {
        "loops": [
            {"name": dim.name.lower(), "size": _sizes(arrays)[dim], "numbers": list(numbers)}
            for dim, numbers in positions.items()
        ],
        "arrays": [
            {
                "label": array.label,
                "colour": _COLOURS[number % len(_COLOURS)],
                "dims": describe(array.shape),
                "plane": [dim.name.lower() for dim in array.plane],
                "rows": array.plane_shape[0],
                "columns": array.plane_shape[1],
                "loops": [dim.name.lower() for dim in array.loops],
                "planes": {",".join(map(str, key)): encode(image) for key, image in _planes(array, positions)},
                **summary(array.values),
            }
            for number, array in enumerate(arrays)
        ],
    }


def left_out(arrays: Sequence[ViewedArray], positions: Positions) -> list[str]:
    """Say which planes of which array are not on the page; a sentence each."""
    sentences = []
    for array in arrays:
        total = prod(array.shape[dim] for dim in array.loops)
        numbers = {dim: [n for n in positions[dim] if n < array.shape[dim]] for dim in array.loops}
        shown = prod(map(len, numbers.values()))
        if not shown:
            ends = (f"{dim.name.lower()} ends at {array.shape[dim] - 1}" for dim in numbers if not numbers[dim])
            sentences.append(f"{array.label}: none of its {total} planes is on the page, because {', '.join(ends)}")
        elif shown < total:
            chosen = "; ".join(
                f"{dim.name.lower()} {', '.join(map(str, kept))}"
                for dim, kept in numbers.items()
                if len(kept) < array.shape[dim]
            )
            sentences.append(f"{array.label}: {shown} of {total} planes are on the page, at {chosen}")
    return sentences


def summary(values: Complex) -> dict[str, Any]:
    """Return the largest and the smallest finite magnitude of an array, and how many values are NaN or infinite."""
    largest, smallest, nan, infinite = 0.0, np.inf, 0, 0
    flat = values.reshape(-1, order="F")
    for start in range(0, flat.size, MOST_VALUES):
        part = np.asarray(flat[start : start + MOST_VALUES])
        # In double precision, in which no square of a single-precision number overflows.
        magnitude = np.abs(part.astype(np.complex128))
        is_nan = np.isnan(part)
        finite = magnitude[np.isfinite(magnitude)]
        largest = max(largest, float(finite.max(initial=0.0)))
        smallest = min(smallest, float(finite.min(initial=np.inf)))
        nan += int(is_nan.sum())
        infinite += int((~np.isfinite(magnitude) & ~is_nan).sum())
    return {"largest": largest, "smallest": None if np.isinf(smallest) else smallest, "nan": nan, "infinite": infinite}


def encode(image: Complex) -> str:
    """Compress a plane: byte 0 of all numbers, then byte 1, ..., which is smaller than number after number."""
    numbers = np.ascontiguousarray(image, np.dtype("<c8")).view(np.uint8).reshape(-1, 8)
    return base64.b64encode(zlib.compress(numbers.T.tobytes(), 6)).decode()


def _sizes(arrays: Sequence[ViewedArray]) -> dict[Dim, int]:
    """Return the largest size of each dimension that has a slider."""
    by_dim = {dim: [array.shape[dim] for array in arrays if dim in array.loops] for dim in Dim}
    return {dim: max(sizes) for dim, sizes in by_dim.items() if sizes}


def _planes(array: ViewedArray, positions: Positions) -> Iterator[tuple[tuple[int, ...], Complex]]:
    for key in _keys(array, positions):
        yield key, array.image(dict(zip(array.loops, key, strict=True)))


def _keys(array: ViewedArray, positions: Positions) -> list[tuple[int, ...]]:
    """List the positions of the planes of an array that are on the page, along each of its loops."""
    return list(product(*([n for n in positions[dim] if n < array.shape[dim]] for dim in array.loops)))


def _values(arrays: Sequence[ViewedArray], counts: Mapping[Dim, int]) -> int:
    return sum(
        prod(array.plane_shape) * prod(min(counts[dim], array.shape[dim]) for dim in array.loops) for array in arrays
    )


def _spread(size: int, count: int) -> list[int]:
    """Return positions in the middle of equal parts."""
    return [(2 * number + 1) * size // (2 * count) for number in range(count)]
