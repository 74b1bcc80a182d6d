"""Multi-coil HDF5 files of fastMRI, one or a folder of them; `fastmri_file` describes the layout."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from bart_bridge.errors import InputError
from bart_bridge.importers import counters, exported, matching
from bart_bridge.importers.fastmri_file import FastmriFile, load, open_file
from bart_bridge.importers.folder_files import files_in
from bart_bridge.importers.source import Entry, Source, number_units


def open_fastmri(path: Path, match: str | None = None, average: str | None = None) -> Source:
    """Open a file, or a folder of `.h5` files.

    Units are the slices of a file, or the files of a folder in alphabetical order, both counted from 0.

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
    volumes = {file.path.name: _entries(file, average) for file in files}
    units = number_units(path, volumes)
    description: dict[str, Any] = {"readout": "oversampling removed: the field of view of the reconstruction"}
    description["files"] = list(volumes)
    for name in ("acquisition", "acceleration"):
        counts = Counter(file.attributes[name] for file in files if name in file.attributes)
        description |= {name: dict(counts)} if counts else {}
    has_coils = all(file.exported for file in files)
    return Source("fastmri", path, units, has_coils, description=description, left_out=left_out)


def open_files(path: Path) -> tuple[dict[str, FastmriFile], dict[str, int]]:
    """Open a file, or all `.h5` files of a folder by name, and count what is left out of the folder.

    Raises:
        InputError: There is no such file, or one cannot be read or is not a fastMRI multi-coil file.
    """
    files, left_out = files_in(path, ".h5")
    return {file.name: open_file(file) for file in files}, left_out


def _entries(file: FastmriFile, average: str | None) -> dict[int, Entry]:
    if average is not None and not file.averages:
        raise InputError(f"{file.path}: --average needs k-space with averages, as prostate data have; it has none")
    averages = counters.choose("average", average, range(file.averages), file.path) if file.averages else []
    entries = {}
    for item in range(file.shape[0]):
        entry = Entry(f"{file.path.name}/{item}", partial(load, file, item, averages))
        entries[item] = exported.completed(entry, item, file.path) if file.exported else entry
    return entries
