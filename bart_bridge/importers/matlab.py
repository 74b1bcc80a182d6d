"""Variables of MATLAB files, version 5 (scipy) and version 7.3 (HDF5)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_limits
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.matlab_tags import check_version_5
from bart_bridge.importers.source import reading

_FORM = "a MATLAB file"


def read(path: Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
    """Read numeric variables, with their dimensions in MATLAB's order.

    Args:
        path: The file.
        names: Required variables.
        optional: Variables that may be missing (default: none).

    Returns:
        The variables by name.

    Raises:
        InputError: The file is missing or damaged, or a variable is missing or not a numeric array.
    """
    with reading(path, _FORM):
        variables = _read_hdf5(path, [*names, *optional]) if h5py.is_hdf5(path) else _read_5(path, [*names, *optional])
    for name in names:
        if name not in variables:
            raise InputError(f"{path}: no variable '{name}'")
    for name, values in variables.items():
        if values.dtype.kind not in "biufc":
            raise InputError(f"{path}: '{name}' must be a numeric array, found type {values.dtype}")
    return variables


def read_mask(path: Path) -> NDArray[Any]:
    """Read the only variable whose name starts with `mask`, such as `mask` or `mask04`.

    Raises:
        InputError: The file is missing or damaged, or has none or several of them.
    """
    with reading(path, _FORM):
        if h5py.is_hdf5(path):
            with opened(path, _FORM) as file:
                present = list(file)
        else:
            from scipy.io import whosmat

            check_version_5(path)
            present = [name for name, _, _ in whosmat(path)]
    names = [name for name in present if name.startswith("mask")]
    if len(names) != 1:
        raise InputError(f"{path}: one variable 'mask...' is needed, found {', '.join(present[:8]) or 'nothing'}")
    return read(path, names)[names[0]]


def _read_5(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat

    check_version_5(path)
    content = loadmat(path, variable_names=names)
    return {name: np.asarray(content[name]) for name in names if name in content}


def _read_hdf5(path: Path, names: list[str]) -> dict[str, NDArray[Any]]:
    variables = {}
    with opened(path, _FORM) as file:
        for name in names:
            if name in file:
                if not isinstance(file[name], h5py.Dataset):
                    raise InputError(f"{path}: '{name}' must be a numeric array, found a struct")
                check_limits(f"{path}: '{name}'", 1, (*file[name].shape, 1))
                values = np.asarray(file[name][()])
                if values.dtype.names == ("real", "imag"):
                    values = values["real"] + 1j * values["imag"]
                variables[name] = values.T  # HDF5 reverses MATLAB's dimensions
    return variables
