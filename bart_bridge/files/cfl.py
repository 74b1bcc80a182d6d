"""BART's array files `.cfl` and `.hdr`.

The `.hdr` is text: a line `# Dimensions`, then one line of integers. The `.cfl` beside it holds the raw values:
little-endian complex64, first dimension fastest. `multi_cfl` reads and writes files of several arrays.
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

from bart_bridge.errors import InputError, why_unreadable
from bart_bridge.files import atomic

MAX_RANK = 16
DTYPE = np.dtype("<c8")
# BART's own headers have hundreds of bytes, or thousands with a long history of commands.
_MAX_HEADER_BYTES = 1 << 20
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


def stem(path: str | Path) -> Path:
    """Return BART's name of an array: its path without `.cfl` or `.hdr`."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in {".cfl", ".hdr"} else path


def files(path: str | Path) -> tuple[Path, Path]:
    """Return the two files of an array, `.cfl` and `.hdr`."""
    # As text: `.` and `/`, which a user may give, have no name that a suffix could be added to.
    name = stem(path)
    return Path(f"{name}.cfl"), Path(f"{name}.hdr")


def exists(path: str | Path) -> bool:
    """Tell whether both files of an array exist."""
    return all(file.is_file() for file in files(path))


def read_dims(path: str | Path) -> tuple[int, ...]:
    """Read the dimensions of an array from its header, without its values.

    Raises:
        InputError: The header is missing or malformed, or the rank is above 16.
    """
    header = files(path)[1]
    return dimensions(header_sections(header), header)


def read(path: str | Path) -> NDArray[np.complex64]:
    """Open an array, memory-mapped and read-only.

    Args:
        path: Name of the array, with or without `.cfl` or `.hdr`.

    Returns:
        Complex64 array with the dimensions of the header, in Fortran order. Its values are read from the disk when
        they are used.

    Raises:
        InputError: A file is missing, the header is malformed, or the `.cfl` is shorter or longer than it says.
    """
    dims = read_dims(path)
    data = files(path)[0]
    check_size(data, dims)
    return np.memmap(data, dtype=DTYPE, mode="r", shape=dims, order="F")


def write(path: str | Path, array: ArrayLike, durable: bool = True) -> None:
    """Write an array so that a reader finds the old one, the new one or none, never half of one.

    Args:
        path: Name of the array, with or without `.cfl` or `.hdr`; its folder must exist.
        array: Any numeric array of rank 1 to 16 without empty dimensions; stored as complex64.
        durable: Whether it must survive a power failure (default); false saves time for temporary files.

    Raises:
        InputError: The rank is not in 1..16, or a dimension is 0.
        OSError: The folder cannot be written, or the disk is full.
    """
    values = np.asarray(array)
    if not is_writable(values):
        raise InputError(f"{path}: an array of 1 to {MAX_RANK} non-empty dimensions is needed, received {values.shape}")
    write_pair(path, header_text(values.shape), lambda file: dump(values, file), durable)


def link(path: str | Path, source: str | Path, dims: Sequence[int]) -> None:
    """Give the values of an array other dimensions under another name; its `.cfl` is a link, so nothing is copied.

    Args:
        path: Name of the new array, which must not exist yet.
        source: Name of the array that holds the values.
        dims: Dimensions whose product is that of the source.

    Raises:
        OSError: The folder cannot be written.
    """
    data, header = files(path)
    data.symlink_to(files(source)[0].resolve())
    atomic.write_text(header, header_text(dims))


# What `multi_cfl` shares


def header_text(dims: Iterable[int]) -> str:
    """Return a header of one section, `# Dimensions`."""
    return f"# Dimensions\n{header_line(dims)}"


def header_line(numbers: Iterable[int]) -> str:
    """Write integers as BART does, with a space after each."""
    return " ".join(str(number) for number in numbers) + " \n"


def header_sections(header: Path) -> dict[str, list[str]]:
    """Split a header into its sections, the lines of each by its name; `# Command`, `# Creator`, ... are included.

    Raises:
        InputError: The header is missing, unreadable or larger than 1 MiB.
    """
    try:
        with header.open("rb") as file:
            content = file.read(_MAX_HEADER_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(header, error) from None
    if len(content) > _MAX_HEADER_BYTES:
        raise InputError(f"{header}: a header cannot be larger than {_MAX_HEADER_BYTES} bytes")
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in content.decode(errors="replace").splitlines():
        if line.startswith("#"):
            lines = sections.setdefault(line[1:].strip(), [])
        elif line.strip():
            lines.append(line)
    return sections


def header_integers(sections: dict[str, list[str]], section: str, header: Path) -> list[tuple[int, ...]]:
    """Parse a section of positive integers, one tuple a line.

    Args:
        sections: From `header_sections`.
        section: Its name.
        header: The file, for messages.

    Raises:
        InputError: The section is missing or empty, or holds anything else.
    """
    lines = sections.get(section)
    if not lines:
        raise InputError(f"{header}: no section '{section}'")
    excerpt = f"found {' '.join(lines)[:80]!r}"
    rows = [line.split() for line in lines]
    # Python's `int` also takes underscores, foreign digits and any length; a header may have none of these.
    if not all(_INTEGER.fullmatch(digits) and len(digits) < 20 for row in rows for digits in row):
        raise InputError(f"{header}: section '{section}' must hold integers, {excerpt}")
    integers = [tuple(map(int, row)) for row in rows]
    if any(number < 1 for row in integers for number in row):
        raise InputError(f"{header}: section '{section}' must hold positive integers, {excerpt}")
    return integers


def dimensions(sections: dict[str, list[str]], header: Path) -> tuple[int, ...]:
    """Return the dimensions in a header's sections.

    Raises:
        InputError: There are none or more than 16, or they are not positive integers.
    """
    dims = header_integers(sections, "Dimensions", header)[0]
    check_rank(len(dims), header)
    return dims


def check_rank(rank: int, header: Path) -> None:
    """Raise an `InputError` for more dimensions than BART has."""
    if rank > MAX_RANK:
        raise InputError(f"{header}: at most {MAX_RANK} dimensions are allowed, found {rank}")


def check_size(data: Path, dims: tuple[int, ...]) -> None:
    """Raise an `InputError` if a `.cfl` is missing, or does not hold as many values as its dimensions say."""
    expected = prod(dims) * DTYPE.itemsize
    try:
        with data.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise _unreadable(data, error) from None
    if size != expected:
        raise InputError(f"{data}: dimensions {' '.join(map(str, dims))} need {expected} bytes, the file has {size}")


def is_writable(values: NDArray[np.generic]) -> bool:
    """Tell whether BART has arrays of this shape."""
    return 1 <= values.ndim <= MAX_RANK and values.size > 0


def dump(values: NDArray[np.generic], file: BinaryIO) -> None:
    """Write values in Fortran order, one hyperplane of the last dimension at a time to bound the memory."""
    if values.ndim == 1:
        file.write(values.astype(DTYPE).tobytes())
        return
    for index in range(values.shape[-1]):
        file.write(np.asarray(values[..., index], dtype=DTYPE).tobytes(order="F"))


def write_pair(path: str | Path, header: str, write_data: Callable[[BinaryIO], object], durable: bool = True) -> None:
    """Write `.cfl` and `.hdr`, see `write`; `write_data` gets the open `.cfl`."""
    data_file, header_file = files(path)
    # An array without its header does not exist: an interrupted overwrite leaves none, not a mixture of two.
    header_file.unlink(missing_ok=True)
    with atomic.new_file(data_file, durable) as temporary, temporary.open("wb") as file:
        write_data(file)
    with atomic.new_file(header_file, durable) as temporary:
        temporary.write_text(header)


def _unreadable(file: Path, error: OSError | ValueError) -> InputError:
    """Say why a file cannot be opened; a ValueError means that no file can have this name."""
    reason = why_unreadable(error)
    return InputError(f"{file}: {reason if isinstance(error, FileNotFoundError) else f'cannot be read ({reason})'}")
