"""Arrays with members of variable length, which HDF5 keeps in its global heaps.

HDF5 1.14 crashes or never returns on some damaged files, so types and heaps are checked first. The layout is that of
the HDF5 File Format Specification, version 3.0, section III.E. h5py's `fields` reads all members, and never frees
those of variable length.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError

_ELEMENTS = 32
# Place of the sort of list in the message of a type: 0 is a list, and 1 a text, which h5py tells apart.
_SORT = 3
_SIGNATURE = b"GCOL"
_HEADER = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HHIQ")
# In a file, an array of variable length is its length, the address of its heap, and its number there.
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_PLACE = np.dtype([("address", "<u8"), ("index", "<u8"), ("length", "<u8")])


def check_heaps(dataset: h5py.Dataset, path: Path) -> None:
    """Check the heaps of an array with elements, or members of elements, of variable length.

    Raises:
        InputError: A heap is damaged, or the array is compressed in a way that cannot be checked.
    """
    stored = dataset.id.get_type()
    if not is_sound(stored):
        raise InputError(f"{path}: '{dataset.name}' is damaged, its type is neither a text nor a list")
    if isinstance(stored, h5py.h5t.TypeCompoundID) and not _fits(dataset.dtype):
        raise InputError(f"{path}: '{dataset.name}' is damaged, members of its elements overlap")
    if not has_variable_length(stored):
        return
    size = element_bytes(stored)
    with path.open("rb") as file:
        references = [references_in(content, stored) for content in _contents(dataset, file, size, path)]
        check_references(references, file, dataset, f"'{dataset.name}'", path)


def check_references(
    references: list[NDArray[np.void]], file: BinaryIO, item: h5py.Dataset | h5py.Group, name: str, path: Path
) -> None:
    """Check the heaps to which elements refer, from `references_in`.

    Args:
        references: The references.
        file: The file.
        item: What they belong to.
        name: What they belong to, for messages.
        path: The path of the file, for messages.

    Raises:
        InputError: A heap is damaged.
    """
    found = np.concatenate([np.zeros(0, _PLACE), *references])
    for address in np.unique(found["address"]).tolist():
        lengths = object_lengths(file, address + item.file.userblock_size)
        if lengths is None:
            raise InputError(f"{path}: {name} is damaged, heap {address} has an object of impossible length")
        for number, expected in found[found["address"] == address][["index", "length"]].tolist():
            if number not in lengths:  # HDF5 would bring its length into memory before it looks for it
                raise InputError(f"{path}: {name} is damaged, the heap at {address} has no object {number}")
            if lengths[number] != expected:
                raise InputError(
                    f"{path}: {name} is damaged, object {number} of the heap at {address} has {lengths[number]} bytes "
                    f"instead of {expected}"
                )


def is_sound(kind: Any) -> bool:
    """Tell whether the lists in a type are lists or texts; the format has no other sort."""
    if isinstance(kind, h5py.h5t.TypeCompoundID):
        return all(is_sound(kind.get_member_type(number)) for number in range(kind.get_nmembers()))
    if isinstance(kind, h5py.h5t.TypeVlenID):
        return kind.encode()[_SORT] & 0xF == 0 and is_sound(kind.get_super())
    return not isinstance(kind, h5py.h5t.TypeArrayID) or is_sound(kind.get_super())


def read_fixed(dataset: h5py.Dataset, name: str) -> NDArray[Any]:
    """Read a member of fixed length of all elements; the others are in memory for a few elements at a time."""
    # Without a copy each part would keep its elements in memory.
    parts = [dataset[first : first + _ELEMENTS][name].copy() for first in range(0, dataset.size, _ELEMENTS)]
    return np.concatenate(parts) if parts else dataset[:0][name]


def _fits(kind: np.dtype[Any]) -> bool:
    """Tell whether the members of a type lie side by side, as the format demands."""
    end = 0
    for member, offset, *_ in sorted((kind.fields or {}).values(), key=lambda item: item[1]):
        if offset < end or not _fits(member.base):
            return False
        end = offset + member.itemsize
    return end <= kind.itemsize


def object_lengths(file: BinaryIO, position: int) -> dict[int, int] | None:
    """Return the length in bytes of each object of the heap at a position, or None if a length is impossible.

    Where there is no heap, or one that is cut off, objects are missing.
    """
    lengths: dict[int, int] = {}
    file.seek(position)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return lengths
    signature, _, size = _HEADER.unpack(header)
    end, position = position + size, position + _HEADER.size
    while signature == _SIGNATURE and position + _OBJECT.size <= end:
        file.seek(position)
        head = file.read(_OBJECT.size)
        if len(head) < _OBJECT.size:
            break
        index, _, _, length = _OBJECT.unpack(head)
        lengths[index] = length
        # The free space, which has the number 0, counts its head.
        step = _OBJECT.size + -(-length // 8) * 8 if index else length
        # Each object ends within its heap.
        if step == 0 or position + step > end:
            return None
        position += step
    return lengths


def element_bytes(stored: Any) -> int:
    """Return the size of an element in the file."""
    # HDF5 tells the size of a text in memory.
    return _REFERENCE.itemsize if list(_members(stored)) == [0] else int(stored.get_size())


def references_in(content: bytes, stored: Any) -> NDArray[np.void]:
    """Return heap, number there and length in bytes of all arrays to which elements of a type refer.

    Args:
        content: The elements as they are in the file.
        stored: Their type.
    """
    size = element_bytes(stored)
    rows = np.frombuffer(content, np.uint8)[: len(content) // size * size].reshape(-1, size)
    found = [np.zeros(0, _PLACE)]
    for member, bytes_of_one in _members(stored).items():
        part = np.ascontiguousarray(rows[:, member : member + _REFERENCE.itemsize]).view(_REFERENCE)[:, 0]
        references = np.zeros(len(part), _PLACE)
        references["address"], references["index"] = part["address"], part["index"]
        references["length"] = part["length"].astype(np.uint64) * bytes_of_one
        found.append(references[part["length"] > 0])
    return np.concatenate(found)


def _contents(dataset: h5py.Dataset, file: BinaryIO, size: int, path: Path) -> Iterator[bytes]:
    """Yield the elements of an array as they are in the file, chunk by chunk and uncompressed."""
    if not dataset.chunks:
        if dataset.id.get_offset() is not None:
            file.seek(dataset.id.get_offset())
            yield file.read(dataset.id.get_storage_size())
        return
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    settings = dataset.id.get_create_plist()
    filters = [settings.get_filter(number) for number in range(settings.get_nfilters())]
    limit_bytes = size * prod(dataset.chunks)
    for chunk in chunks:
        file.seek(chunk.byte_offset)
        content = file.read(chunk.size)
        # They were applied in order; a bit of the mask says that one was not.
        for number, (code, _, values, name) in reversed(list(enumerate(filters))):
            if chunk.filter_mask >> number & 1:
                continue
            if code not in _UNFILTER:
                raise InputError(
                    f"{path}: '{dataset.name}' has a variable length and is compressed by "
                    f"'{name.decode(errors='replace')}'; only gzip is supported there"
                )
            content = _UNFILTER[code](content, values, limit_bytes)
        yield content


def _inflated(content: bytes, _: tuple[int, ...], limit_bytes: int) -> bytes:
    return zlib.decompressobj().decompress(content, limit_bytes)


def _unshuffled(content: bytes, values: tuple[int, ...], _: int) -> bytes:
    """Bring the bytes of each element together; the filter stores all first bytes, then all second ones, and so on."""
    size = values[0]
    whole = len(content) // size * size
    return np.frombuffer(content[:whole], np.uint8).reshape(size, -1).T.tobytes() + content[whole:]


_UNFILTER = {
    h5py.h5z.FILTER_DEFLATE: _inflated,
    h5py.h5z.FILTER_SHUFFLE: _unshuffled,
}


def has_variable_length(stored: Any) -> bool:
    """Tell whether elements of a type, or members of them, have a variable length."""
    return bool(_members(stored))


def _members(stored: Any) -> dict[int, int]:
    """Return where arrays of variable length are in an element of a type, with the bytes of each of their elements."""

    def bytes_of_one(kind: Any) -> int:
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
            return 1
        return int(kind.get_super().get_size()) if isinstance(kind, h5py.h5t.TypeVlenID) else 0

    if not isinstance(stored, h5py.h5t.TypeCompoundID):
        return {0: bytes_of_one(stored)} if bytes_of_one(stored) else {}
    numbers = range(stored.get_nmembers())
    members = {stored.get_member_offset(n): bytes_of_one(stored.get_member_type(n)) for n in numbers}
    return {offset: size for offset, size in members.items() if size}
