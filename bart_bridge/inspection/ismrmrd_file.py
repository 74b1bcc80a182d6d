"""ISMRMRD raw data: encodings, counters and flags, from the heads of the acquisitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.importers.encoding import read_header, stored_header
from bart_bridge.importers.hdf5_heaps import read_fixed
from bart_bridge.inspection.description import Description, Rows, listed, sizes

_COUNTERS = ("average", "contrast", "phase", "repetition", "set", "segment")
# Counters whose values an import must choose from, and their option.
_CHOSEN = {"repetition": "repetition", "contrast": "contrast", "set": "set_", "phase": "phase"}
# Groups that are described at full length, and those of which one line is shown.
_DESCRIBED, _LISTED = 4, 32
_NOT_IMAGE = "ACQ_IS_NOISE_MEASUREMENT"


def describe(path: Path, file: h5py.File, names: list[str]) -> Description:
    """Describe the raw data of a file, each group by itself; beyond a few groups, one line each and only the first."""
    what = "ISMRMRD raw data"
    if len(names) == 1:
        return Description(path, what, *_group(path, file[names[0]], {}))
    described = names if len(names) <= _DESCRIBED else names[:1]
    parts = {name: Description(path, what, *_group(path, file[name], {"group": name})) for name in described}
    rows = [("groups", f"{len(names)} ({listed(names)})")]
    if len(names) > len(described):
        rows += [(f"group {name}", _one_line(path, file[name])) for name in names[:_LISTED]]
        rows += [("more groups", str(len(names) - _LISTED))] if len(names) > _LISTED else []
    return Description(path, what, rows, "ismrmrd", {"group": names[0]}, parts=parts)


def _group(path: Path, group: h5py.Group, options: dict[str, str]) -> tuple[Rows, str, dict[str, str]]:
    """Return what the heads and the header of a group say, the importer, and the options that it needs."""
    heads = read_fixed(group["data"], "head")
    rows = [*_encodings(group, path), ("acquisitions", str(heads.size))]
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
    return rows, "ismrmrd", options


def _one_line(path: Path, group: h5py.Group) -> str:
    return "; ".join([f"{group['data'].size} acquisitions", *(text for _, text in _encodings(group, path))])


def _encodings(group: h5py.Group, path: Path) -> Rows:
    try:
        header = read_header(stored_header(group, "xml", path), path)
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
