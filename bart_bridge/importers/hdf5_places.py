"""Where HDF5 keeps data: also in other files, by links, virtual arrays and external storage, which are refused.

A file that is imported is read alone: what lies beside it may be anything, and may be private.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bart_bridge.errors import InputError

# HDF5 brings a whole chunk of a compressed array into memory.
MAX_CHUNK_BYTES = 2**30
# One byte that gzip compressed becomes 1032 at most (zlib's technical details).
_LARGEST_RATIO = 1032
_PIECE_BYTES = 2**20
_SAME_FILE = "."


def check_links(file: h5py.File, path: Path) -> None:
    """Refuse a file with a link to another file.

    Raises:
        InputError: There is such a link.
    """

    def target(name: str, link: Any) -> tuple[str, str] | None:
        return (name, link.filename) if isinstance(link, h5py.ExternalLink) else None

    # An error raised while HDF5 visits links would not arrive; what is returned does, and ends the visit.
    found = file.visititems_links(target)
    if found:
        raise InputError(_elsewhere(path, found[0], f"is a link to another file, '{found[1]}'"))


def check_storage(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse an array whose values lie in another file, or whose chunks fill the memory.

    Raises:
        InputError: It is such an array.
    """
    if dataset.external:
        raise InputError(_elsewhere(path, dataset.name, f"lies in another file, '{dataset.external[0][0]}'"))
    sources = [source.file_name for source in dataset.virtual_sources()] if dataset.is_virtual else []
    for name in sources:
        if name != _SAME_FILE:
            raise InputError(_elsewhere(path, dataset.name, f"is a virtual array of another file, '{name}'"))
    if dataset.chunks:
        chunk_bytes = int(np.prod(dataset.chunks, dtype=object)) * dataset.dtype.itemsize
        if chunk_bytes > MAX_CHUNK_BYTES:
            raise InputError(
                f"{path}: '{dataset.name}' has chunks of {chunk_bytes / 2**30:.3g} GiB, which need as much memory; "
                f"1 GiB is the limit, h5repack can make them smaller"
            )
        _check_inflated(dataset, chunk_bytes, path)


def _check_inflated(dataset: h5py.Dataset, chunk_bytes: int, path: Path) -> None:
    """Refuse an array of which a chunk inflates to more than its size: HDF5 brings all of it into memory."""
    settings = dataset.id.get_create_plist()
    codes = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
    if h5py.h5z.FILTER_DEFLATE not in codes:
        return
    bit = 1 << codes.index(h5py.h5z.FILTER_DEFLATE)
    suspicious: list[Any] = []

    def visit(chunk: Any) -> None:
        if chunk.size * _LARGEST_RATIO > MAX_CHUNK_BYTES and not chunk.filter_mask & bit:
            suspicious.append(chunk)

    dataset.id.chunk_iter(visit)
    with path.open("rb") as file:
        for chunk in suspicious:
            file.seek(chunk.byte_offset)
            inflater, data, total = zlib.decompressobj(), file.read(chunk.size), 0
            while data and total <= chunk_bytes:
                total += len(inflater.decompress(data, _PIECE_BYTES))
                data = inflater.unconsumed_tail
            if total > chunk_bytes:
                raise InputError(
                    f"{path}: '{dataset.name}' is damaged, a chunk inflates to more than its {chunk_bytes} bytes"
                )


def _elsewhere(path: Path, name: str, what: str) -> str:
    rule = "bart-tf reads only the file that it is given; copy the array into it"
    return f"{path}: '{name}' {_printable(what)}; {rule}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:200]
