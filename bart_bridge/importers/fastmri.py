"""Multi-coil HDF5 files of fastMRI, one or a folder of them; `fastmri_file` describes the layout."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bart_bridge.errors import InputError
from bart_bridge.importers import counters, exported, matching
from bart_bridge.importers.fastmri_file import FastmriFile, load, open_file
from bart_bridge.importers.folder_files import files_in
from bart_bridge.importers.source import Entry, Source, number_units

# Splits of a dataset by the names that fastMRI gives them.
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def open_fastmri(path: Path, match: str | None = None, average: str | None = None) -> Source:
    """Open a file, or a folder of `.h5` files.

    Units are the slices of a file, or the files of a folder in alphabetical order, both counted from 0. A folder may
    also have the `split_folders` of a download. Its units are `train0`, ..., `val0`, ... and `test0`, ..., and each
    folder is a split by default.

    Args:
        path: The file or folder.
        match: Facts of the files to take from a folder, such as `size=640x320,coils=16`; `acquisition` and
            `acceleration` are attributes of the files. All by default, which must have one size and number of coils.
        average: For prostate data the average to take, or `average` (default), the mean of all.

    Raises:
        InputError: A file cannot be read or is not a fastMRI multi-coil file, or the files differ.
    """
    files, left_out = open_files(path)
    each = ", or take --match each for one dataset each"
    chosen = matching.select({name: file.facts for name, file in files.items()}, match, path, each)
    left_out["files that --match does not take"] = len(files) - len(chosen)
    return _source(path, [files[name] for name in chosen], left_out, average)


def open_each(path: Path, average: str | None = None) -> dict[str, Source]:
    """Open a folder whose files differ as one source for each size and number of coils.

    Args:
        path: The folder.
        average: As in `open_fastmri`.

    Returns:
        The sources by a name such as `640x320-16-coils`, the one with the most files first.

    Raises:
        InputError: As in `open_fastmri`.
    """
    if not path.is_dir():
        raise InputError(f"{path}: --match each needs a folder")
    files, left_out = open_files(path)
    facts = {name: file.facts for name, file in files.items()}
    sources = {}
    for group in matching.groups(facts):
        chosen = [files[name] for name in matching.select(facts, group, path)]
        name = f"{chosen[0].facts['size']}-{chosen[0].facts['coils']}-coils"
        others = {"files that --match does not take": len(files) - len(chosen)}
        sources[name] = _source(path, chosen, left_out | others, average)
    return sources


def _source(path: Path, files: list[FastmriFile], left_out: dict[str, int], average: str | None) -> Source:
    volumes = {_name(file.path, path): _entries(file, average) for file in files}
    folders = split_folders(path)
    units = _units_of_splits(folders, volumes) if folders else number_units(path, volumes)
    description: dict[str, Any] = {"readout": "oversampling removed: the field of view of the reconstruction"}
    description["files"] = list(volumes)
    for name in ("acquisition", "acceleration"):
        counts = Counter(file.attributes[name] for file in files if name in file.attributes)
        description |= {name: dict(counts)} if counts else {}
    has_coils = all(file.exported for file in files)
    source = Source("fastmri", path, units, has_coils, description=description, left_out=left_out)
    if not folders:
        return source
    chosen = {split: [unit for unit in units if unit.startswith(name)] for name, split in _SPLITS.items()}
    return replace(source, default_split={split: ",".join(names) for split, names in chosen.items() if names})


def split_folders(path: Path) -> dict[str, Path]:
    """Return the folders of a download that has one for each split, by `train`, `val` and `test`; empty for others.

    They are named `train`, `val` and `test`, or end so, as in `multicoil_train`, and hold `.h5` files.

    Raises:
        InputError: Two folders are of one split.
    """
    if not path.is_dir() or next(path.glob("*.h5"), None):
        return {}
    folders: dict[str, Path] = {}
    for folder in sorted({file.parent for file in path.glob("*/*.h5")}):
        name = folder.name.rpartition("_")[2]
        if name in folders:
            raise InputError(
                f"{path}: one folder of the split '{name}' is needed, found {folders[name].name}, {folder.name}"
            )
        if name in _SPLITS:
            folders[name] = folder
    return folders


def _units_of_splits(folders: dict[str, Path], volumes: dict[str, dict[int, Entry]]) -> dict[str, dict[int, Entry]]:
    """Number the volumes of each folder by itself: `train0`, `train1`, ..., `val0`, ..."""
    units: dict[str, dict[int, Entry]] = {}
    for name, folder in folders.items():
        entries = [slices for volume, slices in volumes.items() if volume.startswith(f"{folder.name}/")]
        units |= {f"{name}{number}": slices for number, slices in enumerate(entries)}
    return units


def _name(file: Path, path: Path) -> str:
    return str(file.relative_to(path)) if path.is_dir() else file.name


def open_files(path: Path) -> tuple[dict[str, FastmriFile], dict[str, int]]:
    """Open a file, or all `.h5` files of a folder or of its `split_folders`, by name, and count what is left out.

    Raises:
        InputError: There is no such file, or one cannot be read or is not a fastMRI multi-coil file.
    """
    files: list[Path] = []
    left_out: Counter[str] = Counter()
    for folder in split_folders(path).values() or [path]:
        found, others = files_in(folder, ".h5")
        files += found
        left_out.update(others)
    return {_name(file, path): open_file(file) for file in files}, dict(left_out)


def _entries(file: FastmriFile, average: str | None) -> dict[int, Entry]:
    if average is not None and not file.averages:
        raise InputError(f"{file.path}: --average needs k-space with averages, as prostate data have; it has none")
    averages = counters.choose("average", average, range(file.averages), file.path) if file.averages else []
    entries = {}
    for item in range(file.shape[0]):
        entry = Entry(f"{file.path.name}/{item}", partial(load, file, item, averages))
        entries[item] = exported.completed(entry, item, file.path) if file.exported else entry
    return entries
