"""Hashes of the arrays of a split, each computed once as long as its file does not change.

`.bart-tf-content.json`, beside the arrays or in the split's `cache`, stores the hash of each array together with the
size and the times of change of its file, and the content that was last validated. Deleting it costs nothing but time.
"""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path

import bart_bridge
from bart_bridge.data.dataset import Split
from bart_bridge.files import atomic, cfl

NAME = ".bart-tf-content.json"
_DIGITS = 16


def digests(split: Split, store: bool = True) -> dict[str, str]:
    """Hash dimensions and values of every array of a split.

    Args:
        split: The split.
        store: Whether new hashes are stored (default). Stored ones are used in any case.

    Returns:
        16 hexadecimal digits of SHA-256 by the name of the array, such as `kspace`.

    Raises:
        InputError: A file is missing or damaged.
    """
    return {name: digest(path, split.cache, store) for name, path in split.paths().items()}


def digest(path: Path, cache: Path | None = None, store: bool = True) -> str:
    """Hash dimensions and values of an array, as `digests` does.

    Args:
        path: Name of the array.
        cache: Folder of the stored hashes; by default the folder of the array.
        store: As for `digests`.

    Raises:
        InputError: A file is missing or damaged.
    """
    dims = cfl.read(path).shape  # opened, so that a missing or short file is named
    file = cfl.files(path)[0]
    state = file.stat()
    times = (state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    values = _values_digest(file, times, (cache or path.parent) / NAME, store)
    return hashlib.sha256(f"{dims} {values}".encode()).hexdigest()[:_DIGITS]


def file_digest(path: Path) -> str:
    """Hash a whole file, as `digests` does, without storing the hash.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def validate_once(split: Split, store: bool = True) -> None:
    """Validate a split, unless this version of bart-tf has validated the same content before.

    Args:
        split: The split.
        store: Whether hashes, and that the split is valid, are stored (default).

    Raises:
        InputError: As for `Split.validate`.
    """
    memory = (split.cache or split.kspace.parent) / NAME
    content = {"version": bart_bridge.__version__, **digests(split, store)}
    if _read(memory).get("validated") == content:
        return
    split.validate()
    if store:
        _write(memory, "validated", content)


def validated(folder: Path) -> dict[str, str]:
    """Return the stored hashes of the arrays that were last validated in a folder; empty if there are none.

    Args:
        folder: Of the arrays, or the split's `cache`.
    """
    stored = _read(folder / NAME).get("validated")
    return {name: str(digest) for name, digest in stored.items()} if isinstance(stored, dict) else {}


@lru_cache(maxsize=64)
def _values_digest(file: Path, state: tuple[int, ...], memory: Path, store: bool) -> str:
    """Hash a file, or return its stored hash; `state` is its size and its times of change."""
    key = os.path.relpath(file, memory.parent)
    stored = _read(memory).get(key)
    if isinstance(stored, dict) and stored.get("state") == list(state):
        return str(stored["sha256"])
    digest = file_digest(file)
    if store:
        _write(memory, key, {"state": state, "sha256": digest})
    return digest


def _read(memory: Path) -> dict[str, object]:
    try:
        content = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(memory: Path, key: str, value: object) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(memory, json.dumps(_read(memory) | {key: value}, indent=1) + "\n")
    except OSError:
        pass  # the next process hashes again
