"""Write dataset folders, or images, in formats that other programs read: the way back from `bart_bridge.importers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import Dim

# The function that writes each kind.
KINDS = {
    "fastmri": "fastmri.write_fastmri",
    "ismrmrd": "ismrmrd_raw.write_ismrmrd",
    "nifti": "images.write_nifti",
    "png": "images.write_png",
}
# Kinds that also take the images of a BART array.
IMAGES = ("nifti", "png")
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        summary: One line.
        notes: What the format cannot hold, or what a reader of the file should know.
        arguments: Arguments after `bart-tf import KIND SRC DST` that give the same dataset again; None for images.
    """

    summary: str
    notes: list[str]
    arguments: list[str] | None = None


def export(kind: str, source: Path, target: Path, on_progress: OnProgress | None = None) -> Exported:
    """Write a dataset, or the images in a BART file, in another format; the target appears only when it is complete.

    Args:
        kind: One of `KINDS`.
        source: A dataset folder; for images also a BART array `[x, y, 1, 1, maps, ..., batch]`.
        target: The new folder, or for `ismrmrd` the new file.
        on_progress: Called after each slice with the number of finished slices and of all slices.

    Raises:
        InputError: The kind is unknown, the target exists, or the format has no place for this dataset.
        ToolError: A library is needed and not installed.
    """
    _check_kind(kind)
    if target.exists() and not (target.is_dir() and not any(target.iterdir()) and kind != "ismrmrd"):
        raise InputError(f"{target}: already exists; name a new one or remove it")
    module, function = KINDS[kind].split(".")
    write = getattr(import_module(f"bart_bridge.exporters.{module}"), function)
    with atomic.new_parents(target):
        result: Exported = write(source, target, on_progress or (lambda done, total: None))
    return result


def slice_count(kind: str, source: Path) -> int:
    """Count the slices that `export` will write.

    Raises:
        InputError: The kind is unknown, or the source is missing or damaged, or is not what this kind is made of.
    """
    from bart_bridge.exporters import slices

    _check_kind(kind)
    if source.is_dir() or kind not in IMAGES:
        return sum(split.slice_count for split in slices.open_splits(source).values())
    return prod(cfl.read_dims(source)[Dim.SLICE :])


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"KIND must be one of {', '.join(KINDS)}, received '{kind}'")
