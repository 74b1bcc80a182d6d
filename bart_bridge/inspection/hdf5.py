"""HDF5 files: raw data in the layouts of the field, MATLAB 7.3, and others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.importers import cmrxrecon, fastmri_file, m4raw
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.ismrmrd_groups import raw_groups
from bart_bridge.inspection import ismrmrd_file
from bart_bridge.inspection.description import Description, Rows, listed, sizes

_MODL = ("trnOrg", "tstOrg")


def describe(path: Path, matlab: bool) -> Description:
    """Describe an HDF5 file.

    Args:
        path: The file.
        matlab: Whether it is one of MATLAB.

    Raises:
        InputError: It is damaged.
    """
    with opened(path, "HDF5") as file:
        groups = raw_groups(file)
        if groups:
            return ismrmrd_file.describe(path, file, groups)
        kspace = file.get("kspace")
        if isinstance(kspace, h5py.Dataset) and not matlab:
            return _kspace(path, file, kspace)
        arrays = arrays_of(file)
        rows = [("arrays", listed(f"{name} {text}" for name, text in arrays.items()))]
        if matlab:
            return describe_matlab(path, "MATLAB 7.3", list(file), rows)
        if any(name in file for name in _MODL):
            return Description(path, "images and coil sensitivities of MoDL", rows, "modl-hdf5")
        if {"layers", "vars"} & set(file) or "model_weights" in file:
            return Description(path, "weights of Keras (HDF5)", rows)
        return Description(path, "HDF5", rows, without_import="n/a (no raw data in a known layout)")


def describe_matlab(path: Path, what: str, names: list[str], rows: Rows) -> Description:
    """Describe a MATLAB file by the names of its variables."""
    if any(cmrxrecon.NAME.fullmatch(name) for name in names) and what.endswith("7.3"):
        return Description(path, f"{what}: k-space of CMRxRecon", rows, "cmrxrecon")
    if {"rawdata", "sensitivities"} & set(names):
        reason = "n/a (one slice of VarNet's knee data: import the folder above its subject by varnet-mat)"
        return Description(path, f"{what}: VarNet's knee data", rows, without_import=reason)
    if any(name.startswith("mask") for name in names):
        return Description(path, f"{what}: a sampling pattern", rows, without_import="n/a (for --pattern)")
    return Description(path, what, rows, without_import="n/a (no variables that bart-tf knows)")


def arrays_of(group: h5py.Group, limit: int = 1000) -> dict[str, str]:
    """Return shape and type of each array of a file by its path, up to `limit`."""
    arrays: dict[str, str] = {}

    def add(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Dataset):
            fields = f"compound ({listed(item.dtype.names)})" if item.dtype.names else str(item.dtype)
            arrays[name] = f"({sizes(item.shape or ())}) {fields}"
        return True if len(arrays) >= limit else None

    group.visititems(add)
    return arrays


def _kspace(path: Path, file: h5py.File, kspace: h5py.Dataset) -> Description:
    """Tell the layouts with an array `kspace` apart."""
    rows = [("arrays", listed(f"{name} {text}" for name, text in arrays_of(file).items()))]
    rows += [(f"attribute {name}", " ".join(str(value).split())[:80]) for name, value in list(file.attrs.items())[:8]]
    if kspace.ndim == 5 and kspace.dtype.kind == "f" and kspace.shape[0] == 2:
        return Description(path, "breast data of fastMRI", rows, "fastmri-breast")
    try:
        fastmri_file.refuse_relatives(file, path)
    except InputError as error:
        return Description(path, "fastMRI", rows, without_import=f"n/a ({str(error).removeprefix(f'{path}: ')})")
    if {"maps", "target"} <= set(file):
        return Description(path, "raw data of SKM-TEA", rows, "skm-tea", {"contrast": "0"})
    if m4raw.is_named(path):
        return Description(path, "M4Raw, one repetition", rows, "m4raw")
    if "ismrmrd_header" in file:
        lines = file.get("mask")
        if isinstance(lines, h5py.Dataset) and lines.dtype.kind in "biuf" and (lines.size or 0) <= kspace.shape[-1]:
            mask = np.asarray(file["mask"])
            rows.append(("mask", f"{np.count_nonzero(mask)} of {mask.size} lines"))
        what = "fastMRI, prostate T2 with averages" if kspace.ndim == 5 else "fastMRI, multi-coil"
        return Description(path, what, rows, "fastmri")
    if kspace.ndim == 4 and kspace.dtype.kind == "f" and kspace.shape[-1] % 2 == 0:
        return Description(path, "Calgary-Campinas", rows, "calgary-campinas")
    return Description(path, "HDF5 with k-space", rows, without_import="n/a (no layout that bart-tf knows)")
