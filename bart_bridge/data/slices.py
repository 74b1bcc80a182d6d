"""Splits made from other splits: changed, cut to one slice, or with their slices along BART's batch dimension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import Split
from bart_bridge.files import cfl
from bart_bridge.files.dims import Dim


def rewritten(
    split: Split, folder: Path, change: Callable[[str, NDArray[np.complex64]], NDArray[np.complex64]]
) -> Split:
    """Write `change(name, array)` for every array of a split into a folder, as a split of its own.

    Args:
        split: The slices.
        folder: Where the files go; made if it is missing.
        change: Gets the name (`kspace`, `coils`, ...) and the array as `Split.arrays` returns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Any] = {}
    for name, array in split.arrays().items():
        paths[name] = folder / name
        cfl.write(paths[name], split.to_bart(name, np.ascontiguousarray(change(name, array))))
    return replace(split, **paths)


def first_slice(split: Split, folder: Path) -> Split:
    """Write the first slice of a split into a folder, as a split of its own."""
    return rewritten(split, folder, lambda name, array: array[:1])


def along_batch(split: Split, folder: Path) -> Split:
    """Return a split with the same slices, all along dimension 15; their values are not copied.

    `reconet` treats slices along dimension 13 as one volume: they share the scale of `--normalize` and the psf of a
    trajectory. Along dimension 15 every slice stands for itself.

    Args:
        split: The slices.
        folder: Where headers and links to the values go if slices lie along other dimensions; made if needed.
    """
    paths: dict[str, Any] = {}
    for name, path in split.paths().items():
        dims = cfl.read_dims(path)
        if prod(dims[Dim.SLICE : Dim.BATCH]) != 1:
            folder.mkdir(exist_ok=True)
            paths[name] = folder / name
            cfl.link(paths[name], path, (*dims[: Dim.SLICE], 1, 1, prod(dims[Dim.SLICE :])))
    return replace(split, **paths)
