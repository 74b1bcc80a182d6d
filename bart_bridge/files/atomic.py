"""Files and folders that appear complete or not at all, even after a power failure.

They are written beside their final path, under a temporary name that begins with `PREFIX`. When they are complete,
their content is flushed to the disk (fsync), they are renamed, and the new name is flushed, too. A killed process
leaves the temporary name behind; `remove_leftovers` removes such names and nothing else.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bart_bridge.errors import InputError

PREFIX = ".bart-tf-unfinished-"
# Errors of file systems without fsync, for example for folders.
_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def new_file(path: Path, durable: bool = True) -> Iterator[Path]:
    """Replace `path` by a file that the `with` block writes, if the block ends without an error.

    Args:
        path: The file; its folder must exist.
        durable: Whether the file must survive a power failure (default); false saves time for temporary files.

    Yields:
        The temporary name, an empty file with the same suffix.

    Raises:
        OSError: The folder cannot be written, or the disk is full; the error names `path`.
    """
    temporary = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=PREFIX, suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        if durable:
            sync(temporary)
        temporary.replace(path)
        if durable:
            sync(path.parent)
    except BaseException as error:
        if temporary:
            temporary.unlink(missing_ok=True)
        _name_in(error, path)
        raise


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Create the folder `path` with the files that the `with` block writes, if the block ends without an error.

    Yields:
        The temporary folder.

    Raises:
        OSError: `path` is a file or a folder that is not empty, its parent cannot be written, or the disk is full; the
            error names `path`.
    """
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=PREFIX))
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        for folder, _, names in os.walk(temporary):
            for name in names:
                sync(Path(folder, name))
            sync(Path(folder))
        temporary.rename(path)
        sync(path.parent)
    except BaseException as error:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        _name_in(error, path)
        raise


@contextmanager
def new_parents(path: Path) -> Iterator[None]:
    """Make the folders above `path` that are missing, and remove them again if the `with` block fails.

    Raises:
        InputError: One of them is a file.
        OSError: A folder cannot be made.
    """
    _check_no_file_above(path)
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # somebody else wrote into it
                folder.rmdir()
        raise


def check_new_file(path: Path) -> None:
    """Check that a file can be put at `path`, before work whose result it will be.

    Raises:
        InputError: There is no folder for it, or `path` itself is a folder.
    """
    check_parent(path)
    if path.is_dir():
        raise InputError(f"{path}: must be a file to write, it is a folder")


def check_parent(path: Path) -> None:
    """Check that the folder exists in which a new file or folder will be.

    Raises:
        InputError: It does not, or it is a file.
    """
    _check_no_file_above(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: must be in a folder that exists, there is no folder {path.parent}")


def _check_no_file_above(path: Path) -> None:
    for folder in path.parents:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{path}: must be in a folder, {folder} is a file")


def write_text(path: Path, text: str) -> None:
    """Replace a text file, UTF-8."""
    with new_file(path) as temporary:
        temporary.write_bytes(text.encode())


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike], compressed: bool = False) -> None:
    """Replace an `.npz` file of arrays, none of which needs `pickle`.

    Args:
        path: The file; its folder must exist.
        arrays: The arrays by their names in the file.
        compressed: Whether to compress them (default: no).
    """
    save = np.savez_compressed if compressed else np.savez
    with new_file(path) as temporary, temporary.open("wb") as file:
        save(file, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an `.npz` file.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It holds something else, or arrays that need `pickle`.
        zipfile.BadZipFile: It is damaged.
    """
    # Opened here because NumPy never closes a damaged file that it opened itself.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove_leftovers(*folders: Path) -> None:
    """Remove unfinished files of killed processes from folders in which nobody else is writing."""
    for folder in folders:
        for path in folder.glob(f"{PREFIX}*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _name_in(error: BaseException, path: Path) -> None:
    """Let an error name the final path: a full disk names none, and nobody knows the temporary one."""
    if isinstance(error, OSError) and (error.filename is None or PREFIX in str(error.filename)):
        error.filename, error.filename2 = str(path), None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
