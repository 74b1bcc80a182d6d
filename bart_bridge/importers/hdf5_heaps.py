"""Arrays with members of variable length, which HDF5 keeps in its global heaps.

HDF5 1.14 reads a damaged heap for ever if an object of it has no length. The layout is that of the HDF5 File Format
Specification, version 3.0, section III.E. h5py's `fields` reads all members, and never frees those of variable length.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError

_ELEMENTS = 32
_SIGNATURE = b"GCOL"
_HEADER = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HHIQ")
# In a file, an array of variable length is its length, the address of its heap, and its number there.
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])


def check_heaps(dataset: h5py.Dataset, path: Path) -> None:
    """Check the heaps of an array with elements, or members of elements, of variable length.

    Compressed arrays are not checked.

    Raises:
        InputError: A heap is damaged.
    """
    base = dataset.file.userblock_size
    with path.open("rb") as file:
        for address in _addresses(dataset, file, base).tolist():
            if not is_sound(file, address + base):
                raise InputError(
                    f"{path}: '{dataset.name}' is damaged, the heap at {address} has an object of no length"
                )


def read_fixed(dataset: h5py.Dataset, name: str) -> NDArray[Any]:
    """Read a member of fixed length of all elements; the others are in memory for a few elements at a time."""
    # Without a copy each part would keep its elements in memory.
    parts = [dataset[first : first + _ELEMENTS][name].copy() for first in range(0, dataset.size, _ELEMENTS)]
    return np.concatenate(parts) if parts else dataset[:0][name]


def is_sound(file: BinaryIO, position: int) -> bool:
    """Tell whether each object of the heap at a position has a length; HDF5 itself finds other faults."""
    file.seek(position)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return True
    signature, _, size = _HEADER.unpack(header)
    end, position = position + size, position + _HEADER.size
    while signature == _SIGNATURE and position + _OBJECT.size <= end:
        file.seek(position)
        head = file.read(_OBJECT.size)
        if len(head) < _OBJECT.size:
            break
        index, _, _, length = _OBJECT.unpack(head)
        # The free space, which has the number 0, counts its head.
        step = _OBJECT.size + -(-length // 8) * 8 if index else length
        if step == 0:
            return False
        position += step
    return True


def _addresses(dataset: h5py.Dataset, file: BinaryIO, base: int) -> NDArray[np.uint64]:
    """Return the addresses of all heaps to which the elements refer."""
    stored = dataset.id.get_type()
    size, members = stored.get_size(), _members(stored)
    if members == [0]:
        size = _REFERENCE.itemsize  # HDF5 tells the size of a text in memory
    if not members or dataset.id.get_create_plist().get_nfilters():
        return np.zeros(0, np.uint64)
    places: list[tuple[int, int]] = []
    if dataset.chunks:
        dataset.id.chunk_iter(lambda chunk: places.append((chunk.byte_offset, chunk.size)))
    elif dataset.id.get_offset() is not None:
        places = [(dataset.id.get_offset(), dataset.id.get_storage_size())]
    found = [np.zeros(0, np.uint64)]
    for offset, length in places:
        file.seek(offset)
        content = file.read(min(length, dataset.size * size if not dataset.chunks else length))
        rows = np.frombuffer(content, np.uint8)[: len(content) // size * size].reshape(-1, size)
        for member in members:
            part = np.ascontiguousarray(rows[:, member : member + _REFERENCE.itemsize]).view(_REFERENCE)
            found.append(part["address"][part["length"] > 0])
    return np.unique(np.concatenate(found))


def _members(stored: Any) -> list[int]:
    """Return where the arrays of variable length are in an element of a type."""

    def is_variable(kind: Any) -> bool:
        text = isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
        return text or isinstance(kind, h5py.h5t.TypeVlenID)

    if isinstance(stored, h5py.h5t.TypeCompoundID):
        members = range(stored.get_nmembers())
        return [stored.get_member_offset(number) for number in members if is_variable(stored.get_member_type(number))]
    return [0] if is_variable(stored) else []
