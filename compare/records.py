"""Records of finished steps: what lets an experiment that was interrupted go on with what is missing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bart_bridge.cfl import write_arrays_atomically, write_text_atomically
from compare.monitor import Measurement

Record = dict[str, Any]


def fingerprint(**determinants: Any) -> str:
    """Hash everything that a result depends on; a record with another fingerprint belongs to another result."""
    text = json.dumps(determinants, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read(path: Path, expected: str) -> Record | None:
    """Return a record if it is there, readable and has the expected fingerprint."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("fingerprint") == expected else None


def write(path: Path, identity: str, measurement: Measurement | None = None, **details: Any) -> Record:
    """Write the record of a finished step; do it last, after everything else of the step is on disk.

    The curve of a measurement goes to the `.npz` beside it.
    """
    record: Record = {"fingerprint": identity, **details}
    path.parent.mkdir(parents=True, exist_ok=True)
    if measurement:
        values = asdict(measurement)
        write_arrays_atomically(path.with_suffix(".npz"), values.pop("curve"), compressed=True)
        record["measurement"] = values
    write_text_atomically(path, json.dumps(record, indent=1) + "\n")
    return record
