"""The skeleton of MATLAB files of version 5, checked before scipy reads them.

scipy (1.17) reads files without this check, and some damaged ones end the process. Layout:
The MathWorks, "MAT-File Format" (2023).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from pathlib import Path

from bart_bridge.errors import InputError

_HEADER_BYTES, _TAG_BYTES = 128, 8
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13, _MATRIX, _COMPRESSED, 16, 17, 18}
_CLASSES = range(1, 18)
_FLAGS = 6, 8  # type and size of the first element of a matrix
_MAX_BYTES = 2**31
_MAX_DEPTH = 20


def check_version_5(path: Path) -> None:
    """Check that all elements of a file have types that exist and sizes that fit into each other.

    Raises:
        InputError: They do not, or the file is of another version.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
        if order is None or struct.unpack(f"{order}H", header[124:126]) != (0x0100,):
            raise InputError(f"{path}: a MATLAB file of version 5 or 7.3 is needed")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content, memoryview(content) as view:
            fault = _fault(view[_HEADER_BYTES:], order)
    if fault:
        raise InputError(f"{path}: cannot be read as a MATLAB file ({fault})")


def _fault(content: memoryview, order: str, depth: int = 0) -> str:
    """Describe the first fault in a row of elements; empty if there is none."""
    place = 0
    while place < len(content):
        if len(content) - place < _TAG_BYTES:
            return "it ends within an element"
        kind, size = struct.unpack(f"{order}II", content[place : place + _TAG_BYTES])
        start = place + _TAG_BYTES
        small = kind >> 16
        if small:  # the data are in the tag
            kind, size, start = kind & 0xFFFF, small, place + 4
        if kind not in _TYPES or small > 4:
            return f"an element has type {kind}"
        data = content[start : start + size]
        if len(data) < size:
            return "an element is longer than what contains it"
        fault = _fault_within(kind, data, order, depth)
        if fault:
            return fault
        # Elements are padded to 8 bytes, compressed ones are not.
        place = place + _TAG_BYTES if small else start + size + (-size % 8 if kind != _COMPRESSED else 0)
    return ""


def _fault_within(kind: int, data: memoryview, order: str, depth: int) -> str:
    if depth > _MAX_DEPTH:
        return "its elements are nested too deeply"
    if kind == _COMPRESSED:
        try:
            unpacked = zlib.decompressobj().decompress(data, _MAX_BYTES)
        except zlib.error as error:
            return str(error)
        return "an element has more than 2 GiB" if len(unpacked) == _MAX_BYTES else _fault(memoryview(unpacked), order)
    if kind != _MATRIX or not data:
        return ""
    flags = data[_TAG_BYTES : 2 * _TAG_BYTES]
    if len(flags) < _TAG_BYTES or struct.unpack(f"{order}II", data[:_TAG_BYTES]) != _FLAGS:
        return "an array has no flags"
    if struct.unpack(f"{order}I", flags[:4])[0] & 0xFF not in _CLASSES:
        return "an array has an unknown class"
    return _fault(data, order, depth + 1)
