"""BART's files of several arrays, `.cfl` and `.hdr`, such as the weights of a network.

The `.cfl` holds all arrays one after the other. The header has their total size as `# Dimensions`, their ranks as
`# SizesDimensions`, and one line of dimensions for each under `# MultiDimensions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bart_bridge.errors import InputError
from bart_bridge.files import cfl

_SIZES = "SizesDimensions"


def is_multi(path: str | Path) -> bool:
    """Return whether a file holds several arrays.

    Raises:
        InputError: A file is missing, or the header is malformed.
    """
    return _SIZES in cfl.header_sections(cfl.files(path)[1])


def read(path: str | Path) -> list[NDArray[np.complex64]]:
    """Read all arrays into memory, in the order of the file.

    Args:
        path: Name of the file, with or without `.cfl` or `.hdr`.

    Returns:
        Complex64 arrays in Fortran order, writable.

    Raises:
        InputError: A file is missing, the header is malformed or contradicts itself, or the `.cfl` is shorter or longer
            than it says.
    """
    data, header = cfl.files(path)
    sections = cfl.header_sections(header)
    total = prod(cfl.dimensions(sections, header))
    if _SIZES not in sections:
        raise InputError(f"{header}: not a file of several arrays (no section 'SizesDimensions')")
    ranks = cfl.header_integers(sections, _SIZES, header)[0]
    shapes = cfl.header_integers(sections, "MultiDimensions", header)
    if tuple(len(shape) for shape in shapes) != ranks:
        summary = str(ranks) if len(ranks) <= cfl.MAX_RANK else f"of {len(ranks)} arrays"
        raise InputError(f"{header}: ranks {summary} do not match the {len(shapes)} lines of dimensions")
    cfl.check_rank(max(ranks), header)
    sizes = [prod(shape) for shape in shapes]
    if sum(sizes) != total:
        raise InputError(f"{header}: the arrays hold {sum(sizes)} values, 'Dimensions' says {total}")
    cfl.check_size(data, (total,))
    values = np.split(np.fromfile(data, dtype=cfl.DTYPE), np.cumsum(sizes)[:-1])
    return [flat.reshape(shape, order="F") for flat, shape in zip(values, shapes, strict=True)]


def write(path: str | Path, arrays: Sequence[ArrayLike]) -> None:
    """Write several arrays into one file, atomically as `cfl.write`.

    Args:
        path: Name of the file, with or without `.cfl` or `.hdr`; its folder must exist.
        arrays: One or more arrays, each as for `cfl.write`.

    Raises:
        InputError: There is no array, a rank is not in 1..16, or a dimension is 0.
        OSError: The folder cannot be written, or the disk is full.
    """
    values = [np.asarray(array) for array in arrays]
    if not values or not all(map(cfl.is_writable, values)):
        shapes = [value.shape for value in values]
        raise InputError(f"{path}: arrays of 1 to {cfl.MAX_RANK} non-empty dimensions are needed, received {shapes}")
    header = (
        cfl.header_text([sum(value.size for value in values)])
        + f"# SizesDimensions\n{cfl.header_line(value.ndim for value in values)}"
        + "# MultiDimensions\n"
        + "".join(cfl.header_line(value.shape) for value in values)
    )

    def dump_all(file: BinaryIO) -> None:
        for value in values:
            cfl.dump(value, file)

    cfl.write_pair(path, header, dump_all)
