"""HDF5 files that are opened for reading.

A check comes first: HDF5 crashes or never returns on some damages, and follows links to other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from bart_bridge.importers.hdf5_attributes import check_attributes
from bart_bridge.importers.hdf5_heaps import check_heaps
from bart_bridge.importers.hdf5_places import check_links, check_storage
from bart_bridge.importers.source import reading


@contextmanager
def opened(path: Path, form: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, and turn what goes wrong in the block into a one-line error, as `reading` does.

    Args:
        path: The file.
        form: The expected format, for the message.

    Raises:
        InputError: The path is no HDF5 file, a heap in it is damaged, it refers to another file, or the block raised an
            exception.
    """
    with reading(path, form):
        if not h5py.is_hdf5(path):
            with path.open("rb") as content:
                start = content.read(8)
            raise ValueError(f"it is no HDF5 file, it begins with {start!r}" if start else "it is an empty file")
        state = path.stat()
        _check(path, state.st_ino, state.st_mtime_ns, state.st_size)
        with h5py.File(path, "r") as file:
            yield file


# Importers open a file again for each slice.
@lru_cache(maxsize=256)
def _check(path: Path, *state: int) -> None:
    """Check the links, types and heaps of a file, once for each state of the file."""

    def check(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset | h5py.Group):
            check_attributes(item, path)
        if isinstance(item, h5py.Dataset):
            check_storage(item, path)
            check_heaps(item, path)

    with h5py.File(path, "r") as file:
        check_links(file, path)
        check("/", file)
        file.visititems(check)
