"""ISMRMRD raw data: encodings, counters and flags, from the heads of the acquisitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.importers.encoding import read_header
from bart_bridge.importers.hdf5_heaps import read_fixed
from bart_bridge.inspection.description import Description, Rows, listed, sizes

_COUNTERS = ("average", "contrast", "phase", "repetition", "set", "segment")
# Counters whose values an import must choose from, and their option.
_CHOSEN = {"repetition": "repetition", "contrast": "contrast", "set": "set_", "phase": "phase"}
_NOT_IMAGE = "ACQ_IS_NOISE_MEASUREMENT"


def groups(file: h5py.File) -> list[str]:
    """Return the names of the groups with acquisitions."""
    names = []
    for name in file:
        data = file[name].get("data") if isinstance(file[name], h5py.Group) else None
        if isinstance(data, h5py.Dataset) and data.dtype.names and "head" in data.dtype.names:
            names.append(name)
    return names


def describe(path: Path, file: h5py.File, names: list[str]) -> Description:
    """Describe the raw data of a file; of several groups the first."""
    group = file[names[0]]
    heads = read_fixed(group["data"], "head")
    rows = [("groups", listed(names))] if len(names) > 1 else []
    rows += _encodings(group, path)
    rows.append(("acquisitions", str(heads.size)))
    options = {"group": names[0]} if len(names) > 1 else {}
    if heads.size:
        for name in ("active_channels", "number_of_samples"):
            rows.append((name.replace("_", " "), listed(np.unique(heads[name]))))
        image = heads[~_flagged(heads, _NOT_IMAGE)]
        for name in _COUNTERS:
            values = np.unique(image["idx"][name])
            if values.size > 1:
                rows.append((f"{name}s", f"{values.size} ({values[0]} to {values[-1]})"))
                options |= {_CHOSEN[name]: str(values[0])} if name in _CHOSEN else {}
        rows += _flags(heads)
    return Description(path, "ISMRMRD raw data", rows, "ismrmrd", options)


def _encodings(group: h5py.Group, path: Path) -> Rows:
    if "xml" not in group or not group["xml"].size:
        return [("header", "n/a (no 'xml' in the group)")]
    try:
        header = read_header(group["xml"][0], path)
    except InputError as error:
        return [("header", f"n/a ({str(error).removeprefix(f'{path}: ')})")]
    rows = []
    for number, encoding in enumerate(header.encodings):
        spaces = []
        for name, space in (("encoded", encoding.encodedSpace), ("reconstructed", encoding.reconSpace)):
            matrix, view = space.matrixSize, space.fieldOfView_mm
            spaces.append(f"{name} {sizes((matrix.x, matrix.y, matrix.z))} in {view.x:g} x {view.y:g} x {view.z:g} mm")
        rows.append((f"encoding {number}", f"{encoding.trajectory.value}, {', '.join(spaces)}"))
    return rows


def _flags(heads: NDArray[Any]) -> Rows:
    import ismrmrd

    names = [name for name in dir(ismrmrd) if name.startswith("ACQ_")]
    return [(name, str(int(count))) for name in names if (count := np.count_nonzero(_flagged(heads, name)))]


def _flagged(heads: NDArray[Any], name: str) -> NDArray[np.bool_]:
    import ismrmrd

    # ISMRMRD counts flags from 1.
    bit = int(getattr(ismrmrd, name)) - 1
    return (heads["flags"] & np.uint64(1 << bit)) != 0
