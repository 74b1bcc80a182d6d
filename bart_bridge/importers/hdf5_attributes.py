"""Attributes of variable length, such as texts: their heaps are checked before HDF5 reads them.

HDF5 has no function that tells where an attribute is stored. Attributes lie in the header of their object, whose layout
is that of the HDF5 File Format Specification, version 3.0, sections IV.A.1 and IV.A.2.m. If they lie elsewhere, as
more than eight of them can, all heaps of the file are checked.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py

from bart_bridge.errors import InputError
from bart_bridge.importers import hdf5_heaps
from bart_bridge.importers.hdf5_heaps import check_references, has_variable_length, is_sound, references_in

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_SHARED = 2
# Blocks of a header: far more than HDF5 writes, and a damaged header may refer to itself.
_BLOCKS = 1024
_HEAP = b"GCOL\x01\0\0\0"


def check_attributes(item: h5py.Group | h5py.Dataset, path: Path) -> None:
    """Check the types and heaps of the attributes of an object.

    Raises:
        InputError: A type or a heap is damaged.
    """
    kinds = {name: h5py.h5a.open(item.id, name.encode()).get_type() for name in item.attrs}
    for name, kind in kinds.items():
        if not is_sound(kind):
            raise InputError(f"{path}: the attribute '{name}' is damaged, its type is neither a text nor a list")
    variable = {name: kind for name, kind in kinds.items() if has_variable_length(kind)}
    if not variable:
        return
    base = item.file.userblock_size
    with path.open("rb") as file:
        stored = dict(_stored(file, base, h5py.h5o.get_info(item.id).addr))
        for name, kind in variable.items():
            if name not in stored:
                _check_all_heaps(path)
                return
            check_references([references_in(stored[name], kind)], file, item, f"the attribute '{name}'", path)


def _stored(file: BinaryIO, base: int, address: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and stored values of the attributes in the header of the object at an address."""
    file.seek(base + address)
    start = file.read(34)
    modern = start[:4] == b"OHDR"
    if modern:
        flags = start[5]
        skipped = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        size_bytes = 1 << (flags & 3)
        blocks = [(address + skipped + size_bytes, int.from_bytes(start[skipped : skipped + size_bytes], "little"))]
        head = struct.Struct("<BHB2x" if flags & 4 else "<BHB")
    elif start[:1] == b"\x01":
        blocks, head = [(address + 16, int.from_bytes(start[8:12], "little"))], struct.Struct("<HHB3x")
    else:
        return
    # A continuation of a modern header has a signature of four bytes, and each block a checksum at its end.
    for place, length in blocks:
        file.seek(base + place)
        block = file.read(length)
        position = 0
        while position + head.size <= len(block):
            kind, size, flags = head.unpack_from(block, position)
            message = block[position + head.size : position + head.size + size]
            position += head.size + size
            if kind == _CONTINUATION and len(message) >= 16 and len(blocks) < _BLOCKS:
                place, length = struct.unpack_from("<QQ", message)
                blocks.append((place + 4, length - 8) if modern and length > 8 else (place, length))
            elif kind == _ATTRIBUTE and not flags & _SHARED and len(message) > 8:
                yield _attribute(message)


def _attribute(message: bytes) -> tuple[str, bytes]:
    """Return name and stored value of an attribute."""
    version, _, *sizes = struct.unpack_from("<BBHHH", message)
    step = 8 if version == 1 else 1
    start = 9 if version == 3 else 8
    name = message[start : start + sizes[0]].split(b"\0")[0].decode(errors="surrogateescape")
    return name, message[start + sum(-(-size // step) * step for size in sizes) :]


def _check_all_heaps(path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = content.find(_HEAP)
        while place >= 0:
            if hdf5_heaps.object_lengths(file, place) is None:
                raise InputError(f"{path}: it is damaged, the heap at {place} has an object of impossible length")
            place = content.find(_HEAP, place + 1)
