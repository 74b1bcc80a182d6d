"""Folders: a dataset, or files that an importer takes together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.importers import fastmri, m4raw, matching
from bart_bridge.importers.source import APPLE_DOUBLE
from bart_bridge.inspection import bart_files, files
from bart_bridge.inspection.description import Description, Rows, listed

_FIRST_BYTES = 132


def describe(path: Path) -> Description:
    """Describe a folder by its `dataset.yaml`, or by the files in it.

    Raises:
        InputError: There is nothing of the field in it.
    """
    if (path / "dataset.yaml").exists():
        return bart_files.describe_dataset(path)
    present = sorted(file for file in path.iterdir() if not file.name.startswith(APPLE_DOUBLE))
    counts = Counter(file.suffix or "no suffix" for file in present if file.is_file())
    rows: Rows = [("files", listed(f"{count} {suffix}" for suffix, count in counts.most_common()))]
    if any(file.name.startswith(("ksp_", "rawdata")) for file in [*present, *path.glob("*/rawdata1.mat")]):
        return Description(path, "VarNet's knee data", rows, "varnet-mat")
    hdf5 = [file for file in present if file.suffix == ".h5"]
    if any(m4raw.is_named(file) for file in hdf5):
        return Description(path, "M4Raw", rows, "m4raw", {"repetition": "average"})
    if hdf5:
        return _volumes(path, hdf5, rows)
    if next(path.glob("**/*.mat"), None):
        return Description(path, "MATLAB files, taken as CMRxRecon", rows, "cmrxrecon")
    arrays = [file.stem for file in present if file.suffix == ".cfl"]
    if arrays:
        return Description(
            path, "arrays of BART", [*rows, ("arrays", listed(arrays))], without_import="n/a (name one array)"
        )
    dicom = sum(_is_dicom(file) for file in present if file.is_file())
    if dicom:
        rows.append(("DICOM", f"{dicom} files"))
        return Description(path, "DICOM", rows, without_import="n/a (images, not k-space; bart-tf does not read them)")
    raise InputError(f"{path}: nothing that bart-tf knows in this folder ({rows[0][1]})")


def _volumes(path: Path, present: list[Path], rows: Rows) -> Description:
    """Describe a folder by its first file; one of fastMRI also by the sizes in it."""
    first = files.describe(present[0])
    if first.kind != "fastmri":
        kind = first.kind if first.kind in {"skm-tea", "calgary-campinas"} else ""
        reason = f"n/a (import one file, such as {present[0].name})" if first.kind else first.without_import
        return Description(path, f"{first.what} (its first file)", rows, kind, first.options, reason)
    opened = fastmri.open_files(path)[0]
    groups = matching.groups({name: file.facts for name, file in opened.items()})
    rows = [
        *rows,
        *(("size", f"{group}: {count} {'file' if count == 1 else 'files'}") for group, count in groups.items()),
    ]
    options = {"match": next(iter(groups))} if len(groups) > 1 else {}
    return Description(path, "fastMRI", rows, "fastmri", options)


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(_FIRST_BYTES)[128:] == b"DICM"
