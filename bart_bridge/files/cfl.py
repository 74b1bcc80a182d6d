"""BART's file formats: `.cfl/.hdr` arrays and the multi-array files that hold network weights.

A `.hdr` is text (`# Dimensions`, then one line of integers), the `.cfl` beside it the raw values: little-endian
complex64, first dimension fastest. A multi-cfl has all its arrays one after the other in one `.cfl`, and the sections
`# SizesDimensions` (the ranks) and `# MultiDimensions` (one line of dimensions per array) in its header.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bart_bridge.errors import InputError
from bart_bridge.files import atomic

MAX_RANK = 16
# BART's own headers have hundreds of bytes, with a long history of commands thousands.
_MAX_HEADER_BYTES = 1 << 20
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_DTYPE = np.dtype("<c8")


def stem(path: str | Path) -> Path:
    """Return BART's name of an array: its path without `.cfl` or `.hdr`."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in {".cfl", ".hdr"} else path


def files(path: str | Path) -> tuple[Path, Path]:
    """Return the two files of an array, `.cfl` and `.hdr`."""
    name = stem(path)
    return name.with_name(name.name + ".cfl"), name.with_name(name.name + ".hdr")


def exists(path: str | Path) -> bool:
    """Tell whether both files of an array are there."""
    return all(file.is_file() for file in files(path))


def read_dims(path: str | Path) -> tuple[int, ...]:
    """Read the dimensions of an array from its header, without its values.

    Raises:
        InputError: The header is missing or malformed, or the rank is above 16.
    """
    header = files(path)[1]
    dims = _integers(_sections(header), "Dimensions", header)[0]
    if len(dims) > MAX_RANK:
        raise InputError(f"{header}: at most {MAX_RANK} dimensions are allowed, found {len(dims)}")
    return dims


def read(path: str | Path) -> NDArray[np.complex64]:
    """Open an array, memory-mapped and read-only.

    Args:
        path: Name of the array, with or without `.cfl` or `.hdr`.

    Returns:
        Complex64 array with the dimensions of the header, in Fortran order. Its values are read when they are used.

    Raises:
        InputError: A file is missing, the header is malformed, or the `.cfl` is shorter or longer than it says.
    """
    dims = read_dims(path)
    data = files(path)[0]
    _check_size(data, prod(dims), dims)
    return np.memmap(data, dtype=_DTYPE, mode="r", shape=dims, order="F")


def write(path: str | Path, array: ArrayLike, durable: bool = True) -> None:
    """Write an array so that a reader finds the old one, the new one or none, never half of one.

    Args:
        path: Name of the array, with or without `.cfl` or `.hdr`; its folder must exist.
        array: Any numeric array of rank 1 to 16 without empty dimensions; stored as complex64.
        durable: Whether it must survive a power failure (default); false saves the time for temporary files.

    Raises:
        InputError: The rank is not in 1..16 or a dimension is 0.
        OSError: The folder cannot be written or the disk is full.
    """
    values = np.asarray(array)
    if not 1 <= values.ndim <= MAX_RANK or values.size == 0:
        raise InputError(f"{path}: an array of 1 to {MAX_RANK} non-empty dimensions is needed, received {values.shape}")
    header = f"# Dimensions\n{_line(values.shape)}"
    _write_pair(path, header, lambda file: _dump(values, file), durable)


def link(path: str | Path, source: str | Path, dims: Sequence[int]) -> None:
    """Make an array of the values of another one in other dimensions; its `.cfl` is a link, so nothing is copied.

    Args:
        path: Name of the new array, which does not exist yet.
        source: Name of the array that has the values.
        dims: Dimensions whose product is that of the source.

    Raises:
        OSError: The folder cannot be written.
    """
    data, header = files(path)
    data.symlink_to(files(source)[0].resolve())
    atomic.write_text(header, f"# Dimensions\n{_line(dims)}")


def read_multi(path: str | Path) -> list[NDArray[np.complex64]]:
    """Read all arrays of a multi-cfl into memory, in their order.

    Raises:
        InputError: A file is missing, the header is malformed or contradicts itself, or the `.cfl` has another length.
    """
    data, header = files(path)
    sections = _sections(header)
    dims = _integers(sections, "Dimensions", header)[0]
    if len(dims) > MAX_RANK:
        raise InputError(f"{header}: at most {MAX_RANK} dimensions are allowed, found {len(dims)}")
    total = prod(dims)
    if "SizesDimensions" not in sections:
        raise InputError(f"{header}: not a file of several arrays (no section 'SizesDimensions')")
    ranks = _integers(sections, "SizesDimensions", header)[0]
    all_dims = _integers(sections, "MultiDimensions", header)
    if tuple(len(dims) for dims in all_dims) != ranks:
        shown = str(ranks) if len(ranks) <= MAX_RANK else f"of {len(ranks)} arrays"
        raise InputError(f"{header}: ranks {shown} do not match the {len(all_dims)} lines of dimensions")
    if max(ranks) > MAX_RANK:
        raise InputError(f"{header}: at most {MAX_RANK} dimensions are allowed, found {max(ranks)}")
    if sum(map(prod, all_dims)) != total:
        raise InputError(f"{header}: the arrays hold {sum(map(prod, all_dims))} values, 'Dimensions' says {total}")
    _check_size(data, total, (total,))
    values = np.fromfile(data, dtype=_DTYPE)
    ends = np.cumsum([prod(dims) for dims in all_dims])
    return [flat.reshape(dims, order="F") for flat, dims in zip(np.split(values, ends[:-1]), all_dims, strict=True)]


def write_multi(path: str | Path, arrays: Sequence[ArrayLike]) -> None:
    """Write several arrays into one multi-cfl, atomically; see `write` for arguments and errors."""
    values = [np.asarray(array) for array in arrays]
    if not values or any(not 1 <= value.ndim <= MAX_RANK or value.size == 0 for value in values):
        shapes = [value.shape for value in values]
        raise InputError(f"{path}: arrays of 1 to {MAX_RANK} non-empty dimensions are needed, received {shapes}")
    header = (
        f"# Dimensions\n{sum(value.size for value in values)} \n"
        f"# SizesDimensions\n{_line([value.ndim for value in values])}"
        "# MultiDimensions\n" + "".join(_line(value.shape) for value in values)
    )

    def dump(file: BinaryIO) -> None:
        for value in values:
            _dump(value, file)

    _write_pair(path, header, dump)


def _line(numbers: Iterable[int]) -> str:
    return " ".join(str(number) for number in numbers) + " \n"


def _dump(values: NDArray[np.generic], file: BinaryIO) -> None:
    """Write values in Fortran order, one hyperplane of the last dimension at a time to bound the memory."""
    if values.ndim == 1:
        file.write(values.astype(_DTYPE).tobytes())
        return
    for index in range(values.shape[-1]):
        file.write(np.asarray(values[..., index], dtype=_DTYPE).tobytes(order="F"))


def _write_pair(path: str | Path, header: str, dump: Callable[[BinaryIO], object], durable: bool = True) -> None:
    data_file, header_file = files(path)
    # Without its header an array does not exist, so an interrupted overwrite leaves none instead of a mixed one.
    header_file.unlink(missing_ok=True)
    with atomic.new_file(data_file, durable) as temporary, temporary.open("wb") as file:
        dump(file)
    with atomic.new_file(header_file, durable) as temporary:
        temporary.write_text(header)


def _sections(header: Path) -> dict[str, list[str]]:
    """Split a header into its sections; unknown ones (`# Command`, `# Creator`, ...) are kept and ignored."""
    try:
        with header.open("rb") as file:
            content = file.read(_MAX_HEADER_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(header, error) from None
    if len(content) > _MAX_HEADER_BYTES:
        raise InputError(f"{header}: a header cannot be larger than {_MAX_HEADER_BYTES} bytes")
    text = content.decode(errors="replace")
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            lines = sections.setdefault(line[1:].strip(), [])
        elif line.strip():
            lines.append(line)
    return sections


def _integers(sections: dict[str, list[str]], section: str, header: Path) -> list[tuple[int, ...]]:
    lines = sections.get(section)
    if not lines:
        raise InputError(f"{header}: no section '{section}'")
    shown = f"found {' '.join(lines)[:80]!r}"
    words = [line.split() for line in lines]
    # Python's integers may have underscores, foreign digits and any length; those of a header may not.
    if not all(_INTEGER.fullmatch(word) and len(word) < 20 for row in words for word in row):
        raise InputError(f"{header}: section '{section}' must hold integers, {shown}")
    rows = [tuple(map(int, row)) for row in words]
    if any(number < 1 for row in rows for number in row):
        raise InputError(f"{header}: section '{section}' must hold positive integers, {shown}")
    return rows


def _check_size(data: Path, values: int, dims: tuple[int, ...]) -> None:
    expected = values * _DTYPE.itemsize
    try:
        with data.open("rb") as file:
            found = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise _unreadable(data, error) from None
    if found != expected:
        raise InputError(f"{data}: dimensions {' '.join(map(str, dims))} need {expected} bytes, the file has {found}")


def _unreadable(file: Path, error: OSError | ValueError) -> InputError:
    """Say why a file cannot be opened; a name that no file can have is a ValueError."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"{file}: no such file")
    return InputError(f"{file}: cannot be read ({error.strerror if isinstance(error, OSError) else error})")
