"""A source of measured data: named slices that are read on demand, and what importers need to read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import SPLITS
from bart_bridge.errors import InputError, why_unreadable
from bart_bridge.importers.partial_fourier import READOUT
from bart_bridge.importers.selection import select
from bart_bridge.wording import counted

Complex = NDArray[np.complex64]
APPLE_DOUBLE = "._"
_LONGEST_NAME = 40
_LONGEST_MESSAGE = 900

# Integer samples at the edge of k-space may be 0 in all coils by chance.
_ZERO_BY_CHANCE = 0.2


@dataclass(frozen=True)
class Slice:
    """One slice. The centred unitary DFT relates its k-space to the image.

    Attributes:
        kspace: Measured k-space without readout oversampling, `(coil, y, x)` complex64.
        fully_sampled: Whether all of k-space was measured; zero-padded edges count as measured.
        pattern: Sampling pattern of the data, `(y, x)`; required unless `fully_sampled`.
        coils: Coil sensitivities of the source, `(coil, y, x)` or `(map, coil, y, x)`, if it has any.
        reference: Reference image of the source, `(y, x)` or `(map, y, x)`, if it has one.
        calibration: K-space for `ecalib`, `(coil, y, x)`, if lines were measured for calibration alone; otherwise
            `ecalib` uses `kspace`.
        left_out: Counts of what the importer left out of this slice, by description.
        limits: Where drawn patterns may sample, `(y, x)`, if `fully_sampled` k-space has parts that were never
            measured (default: everywhere).
        axes: What y and x encode (default: the readout is along x).
        notes: Facts about this slice that the user should see (default: none).
        trajectory: Positions kx, ky and kz = 0 of non-Cartesian samples, `(3, spoke, sample)` in units of 1 / field of
            view. `kspace` is then `(coil, spoke, sample)` and `pattern` `(spoke, sample)`.
        pixels: Size `(y, x)` of the image of non-Cartesian samples.
        frame: Its time frame, counted from 0, and how many the data have; None (default) if they are no time series.
    """

    kspace: Complex
    fully_sampled: bool
    pattern: NDArray[Any] | None = None
    coils: Complex | None = None
    reference: Complex | None = None
    calibration: Complex | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    limits: NDArray[np.bool_] | None = None
    axes: tuple[str, str] = ("phase encoding", READOUT)
    notes: tuple[str, ...] = ()
    trajectory: NDArray[np.float32] | None = None
    pixels: tuple[int, int] | None = None
    frame: tuple[int, int] | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape `(coil, y, x)` of the coil images."""
        coil, y, x = self.kspace.shape
        return (coil, *(self.pixels or (y, x)))


@dataclass(frozen=True)
class Entry:
    """A slice that has not been read yet.

    Attributes:
        name: Its name in the source.
        load: Reads it.
    """

    name: str
    load: Callable[[], Slice]


@dataclass(frozen=True)
class Source:
    """A file or folder of measured data.

    Attributes:
        kind: Name of the importer, one of `bart_bridge.importers.KINDS`.
        path: The file or folder.
        units: Subjects, volumes or single slices by name, each with its slices by number. Splits consist of units.
        has_coils: Whether the source has coil sensitivities.
        default_split: Selection of units for each split (default: all are test data).
        default_slices: Selection of slices of each unit; None (default) takes all.
        description: Further facts for `dataset.yaml`.
        left_out: Counts of what the importer leaves out, by description, such as `{"lines flagged ...": 2}`.
        split_note: Why the default split differs from the published one; empty if it does not.
        slices_note: Why the default slices differ from the published ones; empty if they do not.
        notes: Facts about this source that the user should see before the import, one line each (default none).
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
    notes: tuple[str, ...] = ()

    def split(self, selection: dict[str, str], slices: str | None) -> dict[str, list[Entry]]:
        """List the slices of each split.

        Args:
            selection: Units of each split, such as `{"train": "1-15", "test": "16,18-20"}`. `all` takes all units,
                `0-90/10` every tenth. If empty, the default of the source is used.
            slices: Slices of each unit, counted from 0, in the same form. None takes the default of the source.

        Raises:
            InputError: A split, unit or slice does not exist, or a unit is both in `train` and in another split.
        """
        for split in selection:
            if split not in SPLITS:
                raise InputError(f"--split must name one of {', '.join(SPLITS)}, received '{split}'")
        # An error message must not name an option that the user did not give.
        option = "--split" if selection else "the default split"
        names = {split: select(text, self.units, option) for split, text in (selection or self.default_split).items()}
        for split in ("validation", "test"):
            for name in names.get(split, []):
                if name in names.get("train", []):
                    raise InputError(f"--split must not test on what it trains on: '{name}' is in train and in {split}")
        return {
            split: [entry for unit in units for entry in self._slices(unit, slices)] for split, units in names.items()
        }

    def _slices(self, unit: str, slices: str | None) -> list[Entry]:
        entries = self.units[unit]
        text = slices or self.default_slices
        if text is None:
            return list(entries.values())
        available = {str(number): number for number in entries}
        try:
            option = "--slices" if slices else "the default slices"
            return [entries[available[name]] for name in select(text, available, option)]
        except InputError as error:
            raise InputError(f"{self.path}: '{unit}': {error}") from None


def apple_doubles(paths: Iterable[Path]) -> dict[str, int]:
    """Count the files `._name` that macOS adds on foreign disks, as an entry of `Source.left_out`."""
    return {f"AppleDouble files ({APPLE_DOUBLE}*)": sum(path.name.startswith(APPLE_DOUBLE) for path in paths)}


def names_in(file: Iterable[str]) -> str:
    """List the first names in a file, for a message; a damaged or hostile file can have long ones."""
    names = [name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..." for name in islice(file, 8)]
    return ", ".join(names) or "nothing"


@contextmanager
def reading(path: Path, form: str) -> Iterator[None]:
    """Turn any exception that a library raises on a damaged or foreign file into a one-line error.

    Args:
        path: The file.
        form: The expected format, for the message.

    Raises:
        InputError: The path is not a file, or the block raised an exception.
    """
    if not path.is_file():
        reason = "it is a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {form} is needed, {reason}")
    try:
        yield
    except InputError as error:
        text = str(error)
        if len(text) <= _LONGEST_MESSAGE:
            raise
        # A path, or a text in the file, may be long; the reason is at the end.
        raise InputError(f"{text[: _LONGEST_MESSAGE // 2]} ... {text[-_LONGEST_MESSAGE // 3 :]}") from error
    except Exception as error:
        text = why_unreadable(error)
        if isinstance(error, KeyError):  # its text is the quoted key, or the quoted sentence of h5py
            text = str(error.args[0]) if " " in text else f"no {text} in it"
        reason = " ".join(text.split())[:200] or type(error).__name__
        raise InputError(f"{path}: cannot be read as {form} ({reason})") from error


def as_complex(array: Any, path: Path, name: str) -> Complex:
    """Return a numeric array as complex64.

    Raises:
        InputError: The array is not numeric.
    """
    values = np.asarray(array)
    if values.dtype.kind not in "biufc":
        raise InputError(f"{path}: '{name}' must hold numbers, found type {values.dtype}")
    return values.astype(np.complex64, copy=False)


def number_units(path: Path, volumes: dict[str, dict[int, Entry]]) -> dict[str, dict[int, Entry]]:
    """Return the units of a folder, its volumes, or of a single file, its slices; both are counted from 0.

    Args:
        path: The folder or file.
        volumes: The slices of each volume; a file has one.
    """
    if path.is_dir():
        return {str(number): entries for number, entries in enumerate(volumes.values())}
    (entries,) = volumes.values()
    return {str(number): {0: entry} for number, entry in entries.items()}


def fully_sampled(measured: NDArray[np.bool_], edges_differ_by: int = 1) -> bool:
    """Tell whether all of k-space `(y, x)` was measured, except edges of equal width, which may be zero-padded.

    Args:
        measured: Where k-space was measured.
        edges_differ_by: By how many samples the edges of an axis may differ (default 1, as for even sizes).
    """
    if not measured.any():
        return False
    box = []
    for axis, size in enumerate(measured.shape):
        positions = np.flatnonzero(measured.any(axis=1 - axis))
        if abs((size // 2 - positions[0]) - (positions[-1] - size // 2)) > edges_differ_by:
            return False
        box.append(slice(positions[0], positions[-1] + 1))
    return bool(measured[tuple(box)].all())


def measured_in(kspace: NDArray[Any], pixels: int, name: str) -> NDArray[np.bool_]:
    """Find where k-space was measured, which is where any coil has a signal.

    Args:
        kspace: K-space with readout oversampling, `(coil, y, x)`; 0 where nothing was measured.
        pixels: Length of the readout without oversampling. If it equals x, single samples are told apart, otherwise
            only whole lines.
        name: Name of the data for the error message.

    Returns:
        Mask `(y, pixels)`.

    Raises:
        InputError: Oversampled readouts are incomplete, other than by edges of equal width.
    """
    signal = np.asarray(np.any(kspace != 0, axis=0))
    if pixels == signal.shape[1]:
        return signal
    lines, columns = (np.asarray(signal.any(axis=axis)) for axis in (1, 0))
    complete = fully_sampled(columns[None]) and signal[lines][:, columns].mean() > 1 - _ZERO_BY_CHANCE
    if lines.any() and not complete:
        raise InputError(f"{name}: readouts that are incomplete and oversampled are not supported (partial echo)")
    return np.repeat(lines[:, None], pixels, axis=1)


def check_mask(lines: NDArray[np.bool_], measured: NDArray[np.bool_], name: str) -> None:
    """Check that a mask of lines `(y,)` samples only measured lines of `(y, x)`, or edges, which may be zero-padded.

    Raises:
        InputError: The mask samples lines between the measured ones that hold no signal.
    """
    signal = np.asarray(measured.any(axis=1))
    inside = np.logical_or.accumulate(signal) & np.logical_or.accumulate(signal[::-1])[::-1]
    missing = int(np.count_nonzero(lines & ~signal & inside))
    if missing:
        raise InputError(f"{name} samples {counted(missing, 'line')} whose k-space is zero")
