"""The files of a folder that an import takes, and counts of the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.importers.source import APPLE_DOUBLE, apple_doubles
from bart_bridge.wording import counted


def files_in(path: Path, suffix: str, below: bool = False) -> tuple[list[Path], dict[str, int]]:
    """List a file, or the files of a folder in alphabetical order, without empty ones and those that macOS adds.

    Args:
        path: The file or folder.
        suffix: Ending of the files, such as `.h5`.
        below: Also list files of folders in the folder (default false).

    Returns:
        The files, and counts of the others as for `Source.left_out`; below, also of folders that cannot be read.

    Raises:
        InputError: The folder has no such file.
        OSError: The folder itself cannot be read.
    """
    if not path.is_dir():
        return [path], {}
    unreadable: list[OSError] = []
    listed = files_below(path, unreadable.append) if below else path.iterdir()
    present = sorted(file for file in listed if file.is_file())
    left_out = apple_doubles(present)
    ending = [file for file in present if file.suffix == suffix and not file.name.startswith(APPLE_DOUBLE)]
    # What a download that was interrupted leaves.
    files = [file for file in ending if file.stat().st_size]
    if not files:
        found = f"only {counted(len(ending), 'empty file')}" if ending else "none"
        raise InputError(f"{path}: a folder with {suffix} files is needed, found {found}")
    left_out[f"files that do not end in {suffix}"] = len(present) - len(ending) - sum(left_out.values())
    left_out[f"empty {suffix} files"] = len(ending) - len(files)
    left_out["folders that cannot be read"] = len(unreadable)
    return files, left_out


def files_below(path: Path, on_unreadable: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """Yield what is in a folder and in the folders below it, except folders, and pass over those that cannot be read.

    Args:
        path: The folder.
        on_unreadable: Called for each folder that cannot be read, or is gone before it is read.
    """
    for folder, _, names in os.walk(path, onerror=on_unreadable):
        yield from (Path(folder, name) for name in names)
