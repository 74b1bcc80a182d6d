"""Records of finished steps, by which an interrupted experiment knows what is still missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from bart_bridge.errors import InputError, why_unreadable
from bart_bridge.files import atomic
from compare.measuring.monitor import Measurement

OLDER = "older"
# The key, in the record of a failed training, of the update at which it diverged.
DIVERGED = "diverged_at_update"
Record = dict[str, Any]
# All that the result of a step depends on.
Determinants = dict[str, Any]
_SHOWN = 3


def read(path: Path, determinants: Determinants) -> Record | None:
    """Return a record; None if it is missing, unreadable, or of a result with other determinants."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    same = isinstance(record, dict) and record.get("determinants") == _as_json(determinants)
    return record if same else None


def load(path: Path, *needed: str) -> Record:
    """Read a record, whatever its determinants are.

    Args:
        path: The record.
        needed: Keys of which the record must have at least one.

    Raises:
        InputError: The record cannot be read, or has none of the keys.
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as the record of a step ({why_unreadable(error)})") from None
    if not isinstance(record, dict) or not any(name in record for name in needed):
        raise InputError(f"{path}: cannot be read as the record of a step (it has no {' or '.join(needed)})")
    return record


def write(path: Path, determinants: Determinants, measurement: Measurement | None = None, **details: object) -> Record:
    """Write the record of a finished step, as the last thing of the step.

    The curve of a measurement goes to the `.npz` beside the record. All files beside the record are synced to the disk
    before the record itself is written.

    Args:
        path: The record.
        determinants: All that the result depends on; JSON types, or anything with a `str`.
        measurement: What the step used.
        details: Further entries of the record.
    """
    record: Record = {"determinants": _as_json(determinants), **details}
    path.parent.mkdir(parents=True, exist_ok=True)
    if measurement:
        values = asdict(measurement)
        atomic.write_arrays(path.with_suffix(".npz"), values.pop("curve"), compressed=True)
        record["measurement"] = values
    for file in path.parent.iterdir():
        if file.is_file():
            atomic.sync(file)  # BART does not
    atomic.write_text(path, json.dumps(record, indent=1) + "\n")
    return record


def changes(path: Path, determinants: Determinants) -> str:
    """Describe how a record differs from one with these determinants; empty if there is no record."""
    if not path.exists():
        return ""
    try:
        return differences(json.loads(path.read_text())["determinants"], determinants)
    except (OSError, ValueError):
        return "its record cannot be read"
    except (KeyError, TypeError):
        return "its record is of an earlier version of bart-tf, which did not say what a result depends on"


def differences(before: Determinants, after: Determinants) -> str:
    """List the changes in one line, each with the values before and after; empty if there are none."""
    old, new = _flat(_as_json(before)), _flat(_as_json(after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    sentences = [
        f"{name} changed from {old.get(name, 'nothing')} to {new.get(name, 'nothing')}" for name in names[:_SHOWN]
    ]
    return "; ".join(sentences) + (f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


class Older:
    """Keeps results that are about to be replaced in `older/<date and time>`, laid out as in the experiment.

    Args:
        root: Folder of the experiment.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder: Path | None = None

    def keep(self, paths: Iterable[Path]) -> Path:
        """Move files or folders of the experiment there, records last, and return the folder.

        A file stays where it is if one of the same name was moved before.
        """
        folder = self._open()
        for path in sorted(paths, key=lambda path: (path.suffix == ".json", path)):
            target = folder / path.relative_to(self._root)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                shutil.move(path, target)
        return folder

    def _open(self) -> Path:
        if self._folder is None:
            stamp, number = f"{datetime.now():%Y%m%d-%H%M%S}", 0
            while self._folder is None:
                folder = self._root / OLDER / (f"{stamp}-{number}" if number else stamp)
                try:
                    folder.mkdir(parents=True)
                    self._folder = folder
                except FileExistsError:
                    number += 1
            if (self._root / "results.csv").exists():
                shutil.copy2(self._root / "results.csv", self._folder)
        return self._folder


def _as_json(values: Determinants) -> Determinants:
    as_json: Determinants = json.loads(json.dumps(values, sort_keys=True, default=str))
    return as_json


def _flat(values: object, name: str = "") -> dict[str, object]:
    if not isinstance(values, dict):
        return {name: values}
    return {
        key: value
        for part, inner in values.items()
        for key, value in _flat(inner, f"{name}.{part}" if name else part).items()
    }
