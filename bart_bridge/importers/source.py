"""What an importer hands over: the named slices of a source, each read when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import SPLITS
from bart_bridge.errors import InputError

Complex = NDArray[np.complex64]
APPLE_DOUBLE = "._"

_ITEM = re.compile(r"([A-Za-z]*)(\d{1,9})(?:-(\d{1,9}))?(?:/([1-9]\d{0,8}))?", re.ASCII)


@dataclass(frozen=True)
class Slice:
    """One slice in our conventions: x is the readout, k-space is that of the centred unitary DFT.

    Attributes:
        kspace: Measured k-space without readout oversampling, `(coil, y, x)` complex64.
        fully_sampled: Whether all of k-space was measured; zero-padded edges count as measured.
        pattern: Sampling that belongs to the data, `(y, x)`; there is one where `fully_sampled` is False.
        coils: Coil sensitivities of the source, `(coil, y, x)`, if it has any.
        reference: Reference image of the source, `(y, x)`, if it has one.
        calibration: What `ecalib` estimates from, `(coil, y, x)`, where lines were measured for calibration alone;
            otherwise that is k-space.
        left_out: How much of the slice the importer leaves out, by what it is.
    """

    kspace: Complex
    fully_sampled: bool
    pattern: NDArray[Any] | None = None
    coils: Complex | None = None
    reference: Complex | None = None
    calibration: Complex | None = None
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A slice that can be read.

    Attributes:
        name: What the source calls it.
        load: Read it.
    """

    name: str
    load: Callable[[], Slice]


@dataclass(frozen=True)
class Source:
    """A file or folder that somebody else wrote.

    Attributes:
        kind: Which importer reads it.
        path: Where it is.
        units: What is split, by name: subjects, volumes or single slices, each with its slices by their number.
        has_coils: Whether it has coil sensitivities.
        default_split: Units of each split where nothing else is said.
        default_slices: Slices of each unit where nothing else is said; None for all.
        description: What else is to be known of it, for `dataset.yaml`.
        left_out: How much the importer leaves out, by what it is, as `{"lines flagged ...": 2}`; may be 0.
        split_note: Why the default split is not the published one, if it is not.
        slices_note: The same of the default slices.
    """

    kind: str
    path: Path
    units: dict[str, dict[int, Entry]]
    has_coils: bool
    default_split: dict[str, str] = field(default_factory=lambda: {"test": "all"})
    default_slices: str | None = None
    description: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    split_note: str = ""
    slices_note: str = ""

    def split(self, chosen: dict[str, str], slices: str | None) -> dict[str, list[Entry]]:
        """List the slices of each split.

        Args:
            chosen: Units by the name of the split, such as `{"train": "1-15", "test": "16,18-20"}`; `all` takes all,
                `0-90/10` every tenth. Empty: the default of the source.
            slices: Slices of each unit, from 0, in the same form. None: the default of the source.

        Raises:
            InputError: A split, unit or slice does not exist, or a unit is both in `train` and in another split.
        """
        # No message names an option that nobody typed.
        option = "--split" if chosen else "the default split"
        names = {split: _select(text, self.units, option) for split, text in (chosen or self.default_split).items()}
        for split in names:
            if split not in SPLITS:
                raise InputError(f"--split must name one of {', '.join(SPLITS)}, received '{split}'")
        for split in ("validation", "test"):
            for name in names.get(split, []):
                if name in names.get("train", []):
                    raise InputError(f"--split must not test on what it trains on: '{name}' is in train and in {split}")
        return {
            split: [entry for unit in found for entry in self._slices(unit, slices)] for split, found in names.items()
        }

    def _slices(self, unit: str, slices: str | None) -> list[Entry]:
        entries = self.units[unit]
        text = slices or self.default_slices
        if text is None:
            return list(entries.values())
        available = {str(number): number for number in entries}
        try:
            option = "--slices" if slices else "the default slices"
            return [entries[available[name]] for name in _select(text, available, option)]
        except InputError as error:
            raise InputError(f"{self.path}: '{unit}': {error}") from None


def _select(text: str, available: Iterable[str], option: str) -> list[str]:
    """Turn `1-3,7,10-20/5` into names, in the order in which they are given."""
    names = dict.fromkeys(available)
    if text == "all":
        return list(names)
    selected: dict[str, None] = {}
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if not match:
            raise InputError(
                f"{option} must be numbers and ranges such as 1-15,17 or 0-90/10, or all; received '{item}'"
            )
        prefix, first, last, step = match.groups()
        numbers = range(int(first), int(last or first) + 1, int(step or 1))
        if not numbers:
            raise InputError(f"{option} must have ranges that rise, received '{item}'")
        for number in numbers:
            name = f"{prefix}{number}"
            if name not in names:
                raise InputError(f"{option} {text}: there is no '{name}' (found: {_shorten(list(names))})")
            selected[name] = None
    return list(selected)


def _shorten(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, ..., {names[-1]}"


def apple_doubles(paths: Iterable[Path]) -> dict[str, int]:
    """Count what macOS leaves beside files on foreign disks, `._name`, as `Source.left_out` has it."""
    return {f"AppleDouble files ({APPLE_DOUBLE}*)": sum(path.name.startswith(APPLE_DOUBLE) for path in paths)}


def parse_split(words: Iterable[str]) -> dict[str, str]:
    """Read `train=1-15`, one word for each split.

    Raises:
        InputError: A word has another form, or a split comes twice.
    """
    split: dict[str, str] = {}
    for word in words:
        name, equals, selection = word.partition("=")
        if not name or not equals or not selection or name in split:
            raise InputError(f"--split must be NAME=SELECTION, once for each split, received '{word}'")
        split[name] = selection
    return split


@contextmanager
def reading(path: Path, form: str) -> Iterator[None]:
    """Turn whatever a library raises on a damaged or foreign file into one line.

    Args:
        path: The file.
        form: What it should be, for the message.

    Raises:
        InputError: It is no file, or something was raised.
    """
    if not path.is_file():
        found = "it is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {form} is needed, {found}")
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: cannot be read as {form} ({reason})") from error


def as_complex(array: Any, path: Path, name: str) -> Complex:
    """Return numbers as complex64.

    Raises:
        InputError: They are no numbers.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "biufc":
        raise InputError(f"{path}: '{name}' must hold numbers, found type {values.dtype}")
    return values.astype(np.complex64, copy=False)
