"""Folders: a dataset, or files that an importer takes together."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.importers import calgary_campinas, cmrxrecon, fastmri, m4raw, matching
from bart_bridge.importers.folder_files import files_below
from bart_bridge.importers.source import APPLE_DOUBLE
from bart_bridge.inspection import bart_files, files
from bart_bridge.inspection.description import Description, Rows, listed
from bart_bridge.wording import counted

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
    folders = sum(file.is_dir() for file in present)
    if folders:
        counts["folder" if folders == 1 else "folders"] = folders
    rows: Rows = [("files", listed(f"{count} {suffix}" for suffix, count in counts.most_common()))]
    if any(file.name.startswith(("ksp_", "rawdata")) for file in [*present, *path.glob("*/rawdata1.mat")]):
        return Description(path, "VarNet's knee data", rows, "varnet-mat")
    # The importers leave empty ones out, too.
    hdf5 = [file for file in present if file.suffix == ".h5" and file.is_file() and file.stat().st_size]
    if any(m4raw.is_named(file) for file in hdf5):
        return Description(path, "M4Raw", rows, "m4raw", {"repetition": "average"})
    if hdf5:
        return _volumes(path, hdf5, rows)
    if fastmri.split_folders(path):
        return _with_sizes(Description(path, "fastMRI, a folder for each split", rows, "fastmri"))
    if any(file.suffix == ".mat" for file in files_below(path)):
        return _with_sizes(Description(path, "MATLAB files, taken as CMRxRecon", rows, "cmrxrecon"))
    arrays = [file.stem for file in present if file.suffix == ".cfl"]
    if arrays:
        return Description(
            path, "arrays of BART", [*rows, ("arrays", listed(arrays))], without_import="n/a (name one array)"
        )
    dicom = sum(_is_dicom(file) for file in present if file.is_file())
    if dicom:
        rows.append(("DICOM", counted(dicom, "file")))
        return Description(path, "DICOM", rows, without_import="n/a (images, not k-space; bart-tf does not read them)")
    raise InputError(f"{path}: nothing that bart-tf knows in this folder ({rows[0][1]})")


def _volumes(path: Path, present: list[Path], rows: Rows) -> Description:
    """Describe a folder by its first file, and by the sizes in it."""
    first = files.describe(present[0])
    if first.kind != "fastmri":
        kind = first.kind if first.kind in {"skm-tea", "calgary-campinas"} else ""
        reason = f"n/a (import one file, such as {present[0].name})" if first.kind else first.without_import
        return _with_sizes(Description(path, f"{first.what} (its first file)", rows, kind, first.options, reason))
    return _with_sizes(Description(path, "fastMRI", rows, "fastmri"))


def _with_sizes(folder: Description) -> Description:
    """Add the sizes of the files in a folder, and the option that chooses the most frequent one if there are several.

    An importer whose files cannot be opened says so later.
    """
    if folder.kind not in _FACTS:
        return folder
    with suppress(InputError):
        groups = matching.groups(_FACTS[folder.kind](folder.path))
        sizes = [("size", f"{group}: {counted(count, 'file')}") for group, count in groups.items()]
        options = {"match": next(iter(groups))} if len(groups) > 1 else {}
        return replace(folder, rows=[*folder.rows, *sizes], options=folder.options | options)
    return folder


def _fastmri_facts(path: Path) -> dict[str, matching.Facts]:
    return {name: file.facts for name, file in fastmri.open_files(path)[0].items()}


def _cmrxrecon_facts(path: Path) -> dict[str, matching.Facts]:
    return {name: file.facts for name, file in cmrxrecon.open_files(path)[0].items()}


def _calgary_facts(path: Path) -> dict[str, matching.Facts]:
    return {name: calgary_campinas.file_facts(shape) for name, shape in calgary_campinas.open_files(path)[0].items()}


# What is known of the files in a folder, by kind.
_FACTS = {"fastmri": _fastmri_facts, "cmrxrecon": _cmrxrecon_facts, "calgary-campinas": _calgary_facts}


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(_FIRST_BYTES)[128:] == b"DICM"
    except OSError:  # one that cannot be read hides no others
        return False
