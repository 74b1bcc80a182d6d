"""HDF5 files that are opened for reading, after a check for damages on which HDF5 crashes or never returns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py

from bart_bridge.errors import InputError
from bart_bridge.importers.hdf5_heaps import check_heaps, is_sound
from bart_bridge.importers.source import reading


@contextmanager
def opened(path: Path, form: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, and turn what goes wrong in the block into a one-line error, as `reading` does.

    Args:
        path: The file.
        form: The expected format, for the message.

    Raises:
        InputError: The path is no HDF5 file, a heap in it is damaged, or the block raised an exception.
    """
    with reading(path, form):
        state = path.stat()
        _check(path, state.st_ino, state.st_mtime_ns, state.st_size)
        with h5py.File(path, "r") as file:
            yield file


# Importers open a file again for each slice.
@lru_cache(maxsize=256)
def _check(path: Path, *state: int) -> None:
    """Check the types and heaps of a file, once for each state of the file."""

    def check(_: str, item: Any) -> None:
        for name in item.attrs if isinstance(item, h5py.Dataset | h5py.Group) else ():
            if not is_sound(h5py.h5a.open(item.id, name.encode()).get_type()):
                raise InputError(f"{path}: the attribute '{name}' is damaged, its type is neither a text nor a list")
        if isinstance(item, h5py.Dataset):
            check_heaps(item, path)

    with h5py.File(path, "r") as file:
        check("/", file)
        file.visititems(check)
