"""Records of finished steps: what lets an experiment that was interrupted go on with what is missing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from bart_bridge.errors import InputError
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
    """Return a record if it is there, readable, and of a result that depends on the same."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    same = isinstance(record, dict) and record.get("determinants") == _as_json(determinants)
    return record if same else None


def load(path: Path, *needed: str) -> Record:
    """Read a record, whatever its result depends on.

    Args:
        path: The record.
        needed: Keys of which it must have one.

    Raises:
        InputError: It cannot be read, or has none of the keys.
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as the record of a step ({error})") from None
    if not isinstance(record, dict) or not any(name in record for name in needed):
        raise InputError(f"{path}: cannot be read as the record of a step (it has no {' or '.join(needed)})")
    return record


def write(path: Path, determinants: Determinants, measurement: Measurement | None = None, **details: object) -> Record:
    """Write the record of a finished step; do it last, after everything else of the step.

    The curve of a measurement goes to the `.npz` beside it. What lies beside the record is on the disk before it.

    Args:
        path: The record.
        determinants: All that the result depends on; what can be written as JSON.
        measurement: What the step used.
        details: What else belongs into the record.
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
    """Say in what the result of a record differs from one with these determinants; empty without a record."""
    if not path.exists():
        return ""
    try:
        return differences(json.loads(path.read_text())["determinants"], determinants)
    except (OSError, ValueError):
        return "its record cannot be read"
    except (KeyError, TypeError):
        return "its record is of an earlier version of bart-tf, which did not say what a result depends on"


def differences(before: Determinants, after: Determinants) -> str:
    """Name what changed, from what to what, in one line; empty if nothing did."""
    old, new = _flat(_as_json(before)), _flat(_as_json(after))
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    sentences = [
        f"{name} changed from {old.get(name, 'nothing')} to {new.get(name, 'nothing')}" for name in names[:_SHOWN]
    ]
    return "; ".join(sentences) + (f"; and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


class Older:
    """Where results go that are about to be replaced: `older/<date and time>`, with the layout of the experiment.

    Args:
        root: Folder of the experiment.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder: Path | None = None

    def keep(self, paths: Iterable[Path]) -> Path:
        """Move files or folders of the experiment there, records last, and return the folder.

        What has the name of something that was moved before stays.
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
