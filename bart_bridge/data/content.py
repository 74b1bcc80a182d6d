"""What the arrays of a split hold: the hash of each, computed once while its file does not change.

`.bart-tf-content.json`, beside the arrays or in the split's `cache`, remembers the hash of each array by size and time
of change of its file, and which content was validated. Nothing is lost without that file but time.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import bart_bridge
from bart_bridge.data.dataset import Split
from bart_bridge.files import atomic, cfl

NAME = ".bart-tf-content.json"
_DIGITS = 16


def digests(split: Split) -> dict[str, str]:
    """Hash dimensions and values of every array of a split.

    Returns:
        16 hexadecimal digits of SHA-256 by the name of the array, such as `kspace`.

    Raises:
        InputError: A file is missing or damaged.
    """
    return {name: digest(path, split.cache) for name, path in split.paths().items()}


def digest(path: Path, cache: Path | None = None) -> str:
    """Hash dimensions and values of an array, as `digests` does.

    Args:
        path: Name of the array.
        cache: Folder that remembers the hash; default that of the array.

    Raises:
        InputError: A file is missing or damaged.
    """
    dims = cfl.read(path).shape  # opened, so that a missing or short file is named
    file = cfl.files(path)[0]
    state = file.stat()
    values = _values_digest(file, (state.st_size, state.st_mtime_ns, state.st_ctime_ns), (cache or path.parent) / NAME)
    return hashlib.sha256(f"{dims} {values}".encode()).hexdigest()[:_DIGITS]


def file_digest(path: Path) -> str:
    """Hash a whole file, as `digests` does, without remembering it.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def validate_once(split: Split) -> None:
    """Validate a split, unless this version validated the same content before.

    Raises:
        InputError: As for `Split.validate`.
    """
    memory = (split.cache or split.kspace.parent) / NAME
    content = {"version": bart_bridge.__version__, **digests(split)}
    if _read(memory).get("validated") == content:
        return
    split.validate()
    _remember(memory, "validated", content)


@lru_cache(maxsize=64)
def _values_digest(file: Path, state: tuple[int, ...], memory: Path) -> str:
    """Hash a file, or return what is remembered of it; `state` is its size and its times of change."""
    key = os.path.relpath(file, memory.parent)
    known = _read(memory).get(key)
    if isinstance(known, dict) and known.get("state") == list(state):
        return str(known["sha256"])
    hashed = file_digest(file)
    _remember(memory, key, {"state": state, "sha256": hashed})
    return hashed


def _read(memory: Path) -> dict[str, Any]:
    try:
        content = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(memory: Path, key: str, value: Any) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(memory, json.dumps(_read(memory) | {key: value}, indent=1) + "\n")
    except OSError:
        pass  # it is hashed again the next time
