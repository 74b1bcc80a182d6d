"""Plain BART files: one k-space array `[x, y, z, coil, ...]` with any number of slices or volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import Dim, check_axes, to_batch_coil_yx, to_batch_coil_zyx
from bart_bridge.importers.source import Complex, Entry, Slice, Source, fully_sampled
from bart_bridge.importers.volume import Piece, Volume

Reorder = Callable[[Complex], Complex]


def open_cfl(path: Path) -> Source:
    """Open k-space in a BART file. A sample counts as measured if any coil has a signal there.

    Without z, units are slices. With z, units are volumes, and their slices the positions along the readout x.

    Raises:
        InputError: The file is missing or damaged, or has dimensions that two-dimensional networks do not support.
    """
    name = cfl.stem(path).name
    if view(path, lambda array: array).shape[Dim.Z : Dim.COIL] not in {(), (1,)}:
        units = {str(number): entries for number, entries in enumerate(_volumes(path, name))}
        return Source("cfl", path, units, has_coils=False)
    count = item_shape(path)[0]
    units = {str(number): {0: Entry(f"{name}/{number}", partial(_load, path, number))} for number in range(count)}
    return Source("cfl", path, units, has_coils=False)


def item_shape(path: Path) -> tuple[int, int, int, int]:
    """Return the shape `(batch, coil, y, x)` of a BART file.

    Raises:
        InputError: The file is missing or damaged, or its axes are in another order.
    """
    batch, coil, y, x = view(path).shape
    check_axes(str(path), {"x": x, "y": y, "coil": coil})
    return batch, coil, y, x


def read_item(path: Path, number: int, reorder: Reorder = to_batch_coil_yx) -> Complex:
    """Read one slice, `(coil, y, x)`, and unmap the file afterwards, so that its pages do not fill the memory."""
    return np.array(view(path, reorder)[number])


def view(path: Path, reorder: Reorder = to_batch_coil_yx) -> Complex:
    """Memory-map a BART file and reorder its dimensions with a function of `bart_bridge.files.dims`.

    Raises:
        InputError: The file is missing or damaged, or has other dimensions; the message names the file.
    """
    try:
        return reorder(cfl.read(path))
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(str(cfl.stem(path))) else f"{path}: {message}") from None


def check_there(path: Path, option: str, words: str) -> None:
    """Reject a mistyped word of an option: what is none of its words is taken for a file.

    Args:
        path: The file, or an array of BART.
        option: Name of the option, for the message.
        words: What else the option takes, for the message.

    Raises:
        InputError: There is no such file.
    """
    if not any(file.exists() for file in (path, *cfl.files(path))):
        raise InputError(f"{option} must be {words} or a file, received '{path}', and there is no such file")


def _load(path: Path, number: int) -> Slice:
    kspace = read_item(path, number)
    measured = np.any(kspace != 0, axis=0)
    return Slice(kspace, fully_sampled(measured), measured)


def _volumes(path: Path, name: str) -> Iterator[dict[int, Entry]]:
    batch, coil, z, y, x = view(path, to_batch_coil_zyx).shape
    check_axes(str(path), {"slice": x, "y": y, "z": z, "coil": coil})
    for number in range(batch):
        label = f"{name}/{number}" if batch > 1 else name
        volume = Volume(f"{path}: x", (coil, z, y), x, partial(_partitions, path, number, z))
        yield {item: Entry(f"{label}/x {item}", partial(volume.load, item)) for item in range(x)}


def _partitions(path: Path, number: int, count: int) -> Iterator[Piece]:
    for z in range(count):
        yield (z, slice(None)), np.array(view(path, to_batch_coil_zyx)[number, :, z])
