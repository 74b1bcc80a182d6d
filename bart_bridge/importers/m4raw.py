"""M4Raw: low-field brain data with several repetitions of each contrast, each repetition in a file of its own.

Lyu et al. (2023), doi 10.1038/s41597-023-02181-4. A file is named after subject, contrast and repetition, such as
`2022061003_T201.h5`. Its `kspace` (slice, coil, readout, phase encoding) is that of fastMRI without oversampling. 195
of the 256 lines were measured, the others are 0. The header is not one of ISMRMRD, so it is not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers import counters, matching
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.source import (
    APPLE_DOUBLE,
    Entry,
    Slice,
    Source,
    apple_doubles,
    as_complex,
    fully_sampled,
    names_in,
    number_units,
    reading,
)

_FORM = "an M4Raw file"
_NAME = re.compile(r"(?P<subject>\d+)_(?P<contrast>T1|T2|FLAIR|GRE)(?P<repetition>\d\d)\.h5", re.ASCII)
# The published lines reach from -98 to 96, so their zero-padded edges differ by two lines.
_EDGE_LINES = 2
Shape = tuple[int, int, int, int]


def open_m4raw(path: Path, repetition: str | None = None, match: str | None = None) -> Source:
    """Open a file, or a folder of files.

    Units are the scans of a folder in alphabetical order, all repetitions of one contrast of one subject, or the slices
    of a file; both are counted from 0.

    Args:
        path: The file or folder.
        repetition: The repetition to take, or `average` for the mean of k-space over all repetitions of a scan.
            Required if a scan has several.
        match: Facts of the scans to take from a folder, such as `contrast=T2`, also of `subject`, `size` and `coils`.

    Raises:
        InputError: A file cannot be read or has another form, or the scans differ in size.
    """
    files, left_out = _files(path)
    scans: dict[str, dict[int, Path]] = {}
    facts: dict[str, dict[str, str]] = {}
    shapes: dict[str, Shape] = {}
    for file in files:
        name = _NAME.fullmatch(file.name)
        assert name is not None
        scan = f"{name['subject']}_{name['contrast']}"
        shape = _shape(file)
        if shapes.setdefault(scan, shape) != shape:
            raise InputError(f"{file}: the repetitions of a scan must be alike, found {shape} after {shapes[scan]}")
        scans.setdefault(scan, {})[int(name["repetition"])] = file
        size = {"size": f"{shape[2]}x{shape[3]}", "coils": str(shape[1])}
        facts[scan] = {**size, "contrast": name["contrast"], "subject": name["subject"]}
    chosen = matching.select(facts, match, path)
    left_out["scans that --match does not take"] = len(scans) - len(chosen)
    volumes: dict[str, dict[int, Entry]] = {}
    for scan in chosen:
        numbers = counters.choose("repetition", repetition, scans[scan], path)
        taken = [scans[scan][number] for number in numbers]
        left_out["repetitions of these scans"] = left_out.get("repetitions of these scans", 0)
        left_out["repetitions of these scans"] += len(scans[scan]) - len(taken)
        items = range(shapes[scan][0])
        volumes[scan] = {item: Entry(f"{scan}/{item}", partial(_load, taken, item)) for item in items}
    units = number_units(path, volumes)
    description = {"scans": chosen, "repetition": repetition or "the only one"}
    return Source("m4raw", path, units, has_coils=False, description=description, left_out=left_out)


def is_named(path: Path) -> bool:
    """Tell whether a file has the name of one of M4Raw."""
    return _NAME.fullmatch(path.name) is not None


def _files(path: Path) -> tuple[list[Path], dict[str, int]]:
    if not path.is_dir():
        with reading(path, _FORM):
            pass  # a missing file is named before its name is judged
        if not _NAME.fullmatch(path.name):
            raise InputError(f"{path}: files of M4Raw have names such as 2022061003_T201.h5, this one has another")
        return [path], {}
    present = sorted(file for file in path.iterdir() if file.is_file())
    files = [file for file in present if _NAME.fullmatch(file.name)]
    if not files:
        raise InputError(f"{path}: files of M4Raw are needed, such as 2022061003_T201.h5, found none")
    left_out = apple_doubles(present)
    others = sum(not file.name.startswith(APPLE_DOUBLE) for file in present) - len(files)
    return files, left_out | {"files that are not named as those of M4Raw": others}


def _shape(path: Path) -> Shape:
    with opened(path, _FORM) as file:
        if not isinstance(file.get("kspace"), h5py.Dataset):
            raise InputError(f"{path}: no array 'kspace' in it (found: {names_in(file)})")
        shape = file["kspace"].shape
        if len(shape) != 4 or not all(shape):
            raise InputError(f"{path}: 'kspace' must have dimensions slice, coil, readout and phase, found {shape}")
        slices, coils, readout, phase = shape
        axes = {"slice": slices, "coil": coils, "readout": readout, "phase encoding": phase}
        check_axes(f"{path}: 'kspace'", axes)
    return slices, coils, readout, phase


def _load(paths: Sequence[Path], item: int) -> Slice:
    total = None
    for path in paths:
        with opened(path, _FORM) as file:
            kspace = as_complex(file["kspace"][item], path, "kspace").transpose(0, 2, 1)
        if not np.isfinite(kspace).all():
            raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {item} of 'kspace'")
        total = kspace if total is None else total + kspace
    assert total is not None
    measured = np.repeat(np.any(total != 0, axis=(0, 2))[:, None], total.shape[2], axis=1)
    return Slice(total / np.float32(len(paths)), fully_sampled(measured, _EDGE_LINES), measured)
