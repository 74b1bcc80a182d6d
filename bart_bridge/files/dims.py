"""BART's 16 dimensions by name, and the conversion to the arrays that networks use.

In BART the first dimension is the fastest in memory, in numpy by default the last. So a BART array `[x, y, 1, coil,
..., batch]` and a network's array `(batch, coil, y, x)` are the same bytes, and nothing is copied. With several sets of
coil sensitivities, called maps (soft SENSE), coils are `(batch, map, coil, y, x)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from math import prod

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError

# Limits of what an import reads at once.
MAX_SLICES = 2**17
MAX_SLICE_BYTES = 2**29


class Dim(IntEnum):
    """The dimensions of a BART array by their meaning."""

    X = 0
    Y = 1
    Z = 2
    COIL = 3
    MAPS = 4
    TE = 5
    COEFF = 6
    COEFF2 = 7
    ITERATION = 8
    CSHIFT = 9
    TIME = 10
    TIME2 = 11
    LEVEL = 12
    SLICE = 13
    AVERAGE = 14
    BATCH = 15


# reconet treats these three as one batch; slices are the fastest of them.
_BATCH = (Dim.SLICE, Dim.AVERAGE, Dim.BATCH)
_PIXELS = (Dim.X, Dim.Y, *_BATCH)


def describe(shape: tuple[int, ...]) -> str:
    """List the dimensions of a shape that are not 1 with their names: `x 48, y 48, coil 4`."""
    named = [f"{Dim(dim).name.lower()} {size}" for dim, size in enumerate(shape) if size != 1]
    return ", ".join(named) or "a single value"


def check_axes(name: str, axes: Mapping[str, int], readout: int | None = None) -> None:
    """Refuse k-space whose axes do not have the order of its file format, or sizes as in `check_limits`.

    Args:
        name: The file or array, for the message.
        axes: Size of each axis by its meaning, in the order of the file: `coil`, optionally `slice`, the readout, and
            optionally the phase encoding; the last two under any name.
        readout: Samples of a readout, if a header gives it.

    Raises:
        InputError: There are more coils than pixels along an axis, or another axis has the size of the readout; the
            message gives an order that fits.
    """
    sizes = {meaning: size for meaning, size in axes.items() if meaning != "slice"}
    check_limits(name, axes.get("slice", 1), sizes.values())
    x, *others = (meaning for meaning in sizes if meaning != "coil")
    if sizes["coil"] > min(sizes[meaning] for meaning in (x, *others)):
        fault = "there are more coils than pixels along an axis"
    elif readout is not None and sizes[x] != readout and readout in sizes.values():
        fault = f"its header has a readout of {readout}"
    else:
        return
    # The readout is the axis with the size in the header, otherwise the longest one; coils are the shortest axis.
    free = sorted(sizes, key=sizes.__getitem__)
    longest = next((axis for axis in free if sizes[axis] == readout), free[-1])
    free.remove(longest)
    fitting = {longest: x, free[0]: "coil", **dict(zip(free[1:], others, strict=False))}
    order = ", ".join(f"{fitting.get(axis, axis)} {size}" for axis, size in axes.items())
    read_as = ", ".join(f"{axis} {size}" for axis, size in axes.items())
    raise InputError(f"{name}: read as ({read_as}), {fault}; its axes would fit as ({order})")


def check_limits(name: str, slices: int, sizes: Iterable[int]) -> None:
    """Refuse k-space that is empty or larger than any that is measured: a small file can declare such sizes.

    Args:
        name: The file and array, for the message.
        slices: Number of slices.
        sizes: Sizes of one slice, such as coil, y and x.

    Raises:
        InputError: A size is 0, there are more than 131072 slices, or one needs more than 512 MiB as complex64.
    """
    described = " x ".join(map(str, sizes := list(sizes)))
    if min(slices, *sizes) < 1:
        raise InputError(f"{name} must not be empty, found {slices} slices of {described}")
    if slices > MAX_SLICES:
        raise InputError(f"{name} can have {MAX_SLICES} slices at most, found {slices}")
    if prod(sizes) * np.dtype(np.complex64).itemsize > MAX_SLICE_BYTES:
        raise InputError(f"{name} can need {MAX_SLICE_BYTES >> 20} MiB for a slice at most, found {described} values")


def to_batch_map_coil_yx(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View a BART array as `(batch, map, coil, y, x)`; slices, averages and batch become one batch.

    Args:
        array: BART array of any rank up to 16.

    Raises:
        InputError: A dimension other than x, y, coil, maps, slice, average and batch is not 1.
    """
    return _to_batch(array, (*_PIXELS, Dim.COIL, Dim.MAPS))


def to_batch_coil_yx(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View a BART array of one map as `(batch, coil, y, x)`, as `to_batch_map_coil_yx`."""
    return _to_batch(array, (*_PIXELS, Dim.COIL))[:, 0]


def to_batch_coil_zyx(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View a BART array of volumes as `(batch, coil, z, y, x)`, as `to_batch_coil_yx`."""
    return _to_batch(array, (*_PIXELS, Dim.Z, Dim.COIL))[:, 0]


def to_batch_map_yx(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View a BART array without coils, the images of each map, as `(batch, map, y, x)`, as `to_batch_map_coil_yx`."""
    return _to_batch(array, (*_PIXELS, Dim.MAPS))[:, :, 0]


def _to_batch(array: NDArray[np.complex64], used: tuple[Dim, ...]) -> NDArray[np.complex64]:
    """View a BART array as `(batch, map, coil, z, y, x)`, without z unless it is used."""
    shape = array.shape + (1,) * (len(Dim) - array.ndim)
    if any(size != 1 and dim not in used for dim, size in enumerate(shape)):
        names = ", ".join(Dim(dim).name.lower() for dim in sorted(used)[:-1])
        raise InputError(f"dimensions other than {names} and batch must be 1, found {describe(shape)}")
    batch = shape[Dim.SLICE] * shape[Dim.AVERAGE] * shape[Dim.BATCH]
    z = shape[Dim.Z : Dim.COIL] if Dim.Z in used else ()
    sizes = (*shape[:2], *z, *shape[Dim.COIL : Dim.TE], batch)
    return array.reshape(sizes, order="F").transpose(*reversed(range(len(sizes))))


def from_batch_map_coil_yx(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View an array `(batch, map, coil, y, x)` as a BART array of 16 dimensions."""
    batch, maps, coil, y, x = array.shape
    shape = (x, y, 1, coil, maps, *(1,) * (Dim.BATCH - Dim.TE), batch)
    return array.transpose(4, 3, 2, 1, 0).reshape(shape, order="F")


def from_batch_map_yx(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View images `(batch, map, y, x)` as a BART array of 16 dimensions."""
    return from_batch_map_coil_yx(array[:, :, None])


def from_batch_coil_yx(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View an array `(batch, coil, y, x)` as a BART array of 16 dimensions."""
    return from_batch_map_coil_yx(array[:, None])


def to_batch_coil_samples(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """View non-Cartesian k-space `[1, samples, spokes, coil, ..., batch]` as `(batch, coil, spokes, samples)`.

    A trajectory `[3, samples, spokes, 1, ..., batch]` becomes `(batch, 3, spokes, samples)`.

    Raises:
        InputError: The first dimension is neither 1 nor, without coils, 3; or as in `to_batch_coil_yx`.
    """
    shape = array.shape + (1,) * (len(Dim) - array.ndim)
    positions = shape[Dim.X] == 3 and shape[Dim.COIL] == 1
    if shape[Dim.X] != 1 and not positions:
        raise InputError(
            "dimensions of samples must be 1, samples, spokes, coils, of a trajectory 3, samples, spokes, 1, "
            f"found {', '.join(map(str, shape[:4]))}"
        )
    # The unused dimension goes to the place of z.
    component, unused = (Dim.X, Dim.COIL) if positions else (Dim.COIL, Dim.X)
    order = (Dim.Y, Dim.Z, unused, component, *range(Dim.MAPS, len(Dim)))
    return to_batch_coil_yx(array.reshape(shape, order="F").transpose(order))


def from_batch_coil_samples(array: NDArray[np.generic]) -> NDArray[np.complex64]:
    """Turn `(batch, coil, spokes, samples)` into a BART array of 16 dimensions."""
    batch, coil, spokes, samples = array.shape
    shape = (1, samples, spokes, coil, *(1,) * (Dim.BATCH - Dim.MAPS), batch)
    return array.transpose(3, 2, 1, 0).astype(np.complex64).reshape(shape, order="F")


def from_batch_positions(array: NDArray[np.generic]) -> NDArray[np.complex64]:
    """Turn positions `(batch, 3, spokes, samples)` into a BART trajectory of 16 dimensions."""
    batch, components, spokes, samples = array.shape
    shape = (components, samples, spokes, *(1,) * (Dim.BATCH - Dim.COIL), batch)
    return array.transpose(1, 3, 2, 0).astype(np.complex64).reshape(shape, order="F")
