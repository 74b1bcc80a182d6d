"""What a file or folder of the field is: its format, sizes, coils and sampling, and the command that imports it."""

from __future__ import annotations

from pathlib import Path

from bart_bridge.errors import BartTfError, InputError
from bart_bridge.inspection import bart_files, files, folders
from bart_bridge.inspection.description import Description
from bart_bridge.inspection.measured import with_measured


def inspect(path: Path) -> Description:
    """Describe a file or folder. Of raw data one slice is read.

    Args:
        path: A file, a folder, or the name of a BART array with or without `.cfl` or `.hdr`.

    Raises:
        InputError: There is no such file, it is damaged, or it is nothing of the field; the line says what was
            recognised.
    """
    if path.is_dir():
        return with_measured(folders.describe(path))
    if bart_files.is_array(path):
        return with_measured(bart_files.describe(path))
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    return with_measured(files.describe(path))


def other_import(kind: str, path: Path) -> str:
    """Say what a file is that an importer did not take, and the command that imports it; empty if there is no other.

    Args:
        kind: The importer, one of `bart_bridge.importers.KINDS`.
        path: The file or folder.
    """
    try:
        description = inspect(path)
    except (BartTfError, OSError):
        return ""
    commands = [part.command for part in (description, *description.parts.values()) if part.command]
    return f"it is {description.what}: {commands[0]}" if commands and description.kind != kind else ""
