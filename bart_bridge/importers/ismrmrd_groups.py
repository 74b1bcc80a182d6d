"""The groups of an ISMRMRD file: each is a measurement, with acquisitions in `data` and a header in `xml`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import h5py

from bart_bridge.errors import InputError
from bart_bridge.importers.source import names_in


def raw_groups(file: h5py.File) -> list[str]:
    """Return the names of the groups with acquisitions."""
    return [name for name in file if _has_acquisitions(file.get(name))]


def choose_group(file: h5py.File, group: str | None, path: Path) -> str:
    """Return the name of the group to import.

    Args:
        file: The file.
        group: Its name; None takes the only one.
        path: The path of the file, for messages.

    Raises:
        InputError: There is no such group of acquisitions, or a choice is needed.
    """
    groups = raw_groups(file)
    listed = names_in(groups) + (", ..." if len(groups) > 8 else "")
    if group is None and len(groups) == 1:
        return groups[0]
    if group is None and groups:
        raise InputError(
            f"{path}: it has {len(groups)} groups of raw data ({listed}); choose one by --group, such as "
            f"--group {shlex.quote(groups[0])}"
        )
    if group is None:
        names = names_in(file)
        raise InputError(
            f"{path}: no group with 'data' of acquisitions, such as 'dataset/data', in it (found: {names})"
        )
    if not _has_acquisitions(file.get(group)):
        raise InputError(f"{path}: there is no group '{group}' of raw data (found: {listed if groups else 'none'})")
    return group


def _has_acquisitions(item: Any) -> bool:
    data = item.get("data") if isinstance(item, h5py.Group) else None
    return isinstance(data, h5py.Dataset) and "head" in (data.dtype.names or ())
