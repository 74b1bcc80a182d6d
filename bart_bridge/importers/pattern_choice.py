"""Sampling patterns of imported data: its own, drawn, or from a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import SPLITS
from bart_bridge.data.simulation import sampling_pattern
from bart_bridge.errors import InputError
from bart_bridge.importers.source import Complex, Slice

# Samples of integers at the edge of k-space, of few coils, may all be 0.
_ZERO_BY_CHANCE = 0.2


@dataclass(frozen=True)
class PatternChoice:
    """Which pattern data is to be sampled with.

    Attributes:
        kind: `source` (what the data comes with), `regular`, `random`, or the path of a file: `.cfl` or `.mat`.
        acceleration: See `bart_bridge.data.simulation.sampling_pattern` (default 4).
        reference_size: The same (default 24).
        seed: Seed of the random patterns, each slice has its own (default 0).
    """

    kind: str = "source"
    acceleration: float = 4.0
    reference_size: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.acceleration <= 1000:
            raise InputError(f"--acceleration must be from 1 to 1000, received {self.acceleration:g}")
        if self.reference_size < 0:
            raise InputError(f"--reference-size must not be negative, received {self.reference_size}")
        if self.seed < 0:
            raise InputError(f"--seed must not be negative, received {self.seed}")

    @property
    def shared(self) -> bool:
        """Whether one pattern serves all slices."""
        return self.kind == "regular"


def fully_sampled(measured: NDArray[np.bool_]) -> bool:
    """Tell whether all of k-space `(y, x)` was measured, but for edges of equal width, which may be zero-padded."""
    if not measured.any():
        return False
    box = []
    for axis, size in enumerate(measured.shape):
        found = np.flatnonzero(measured.any(axis=1 - axis))
        if abs((size // 2 - found[0]) - (found[-1] - size // 2)) > 1:
            return False
        box.append(slice(found[0], found[-1] + 1))
    return bool(measured[tuple(box)].all())


def measured_in(kspace: Complex, pixels: int, name: str) -> NDArray[np.bool_]:
    """Tell where k-space was measured: where any coil has a signal.

    Args:
        kspace: With readout oversampling, `(coil, y, x)`; 0 where nothing was measured.
        pixels: Its readout without; if that is as long, single positions are told apart, else only whole lines.
        name: What it is called, for the message.

    Returns:
        `(y, pixels)`.

    Raises:
        InputError: Readouts are oversampled and not complete, but for edges of equal width.
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
    """Check that a mask of lines `(y,)` samples what was measured `(y, x)`, or edges beyond it, which may be padded.

    Raises:
        InputError: It samples lines between measured ones that hold no signal.
    """
    signal = np.asarray(measured.any(axis=1))
    inside = np.logical_or.accumulate(signal) & np.logical_or.accumulate(signal[::-1])[::-1]
    missing = int(np.count_nonzero(lines & ~signal & inside))
    if missing:
        raise InputError(f"{name} samples {missing} lines in which k-space is zero")


def pattern_of(choice: PatternChoice, total: int) -> Callable[[Slice, str, int, int], Complex]:
    """Return what gives a slice its pattern.

    Args:
        choice: Which pattern.
        total: Number of slices of the whole source.

    Returns:
        Function of a slice, the name of its split, its number in it, and its position in the source; it returns the
        pattern `(y, x)` and raises InputError where the slice cannot have it.

    Raises:
        InputError: The file of the pattern cannot be read, or has another number of slices.
    """
    if choice.kind == "source":
        return lambda item, *_: _own(item)
    if choice.kind in {"regular", "random"}:
        return lambda item, split, number, _: _drawn(choice, item, split, number)
    count, read = open_patterns(Path(choice.kind))
    if count not in {1, total}:
        raise InputError(f"{choice.kind}: 1 pattern or one for each of {total} slices is needed, found {count}")
    return lambda item, _, __, position: _from_file(choice.kind, read(position if count > 1 else 0), item)


def open_patterns(path: Path) -> tuple[int, Callable[[int], Complex]]:
    """Open the patterns of a BART file, or the one in the variable `mask` of a MATLAB file.

    Returns:
        Their number, and what reads one of them, `(y, x)`.

    Raises:
        InputError: The file is missing or damaged, or holds something else.
    """
    from bart_bridge.importers import cfl_files, matlab

    if path.suffix == ".mat":
        mask = matlab.read(path, ["mask"])["mask"]
        if mask.ndim != 2:
            raise InputError(f"{path}: 'mask' must have two dimensions, found {mask.shape}")
        return 1, lambda _: mask.T.astype(np.complex64)
    count, coil, _, _ = cfl_files.item_shape(path)
    if coil != 1:
        raise InputError(f"{path}: a pattern must have one coil, found {coil}")
    return count, lambda number: cfl_files.read_item(path, number)[0]


def _own(item: Slice) -> Complex:
    if item.pattern is None:
        return np.ones(item.kspace.shape[1:], np.complex64)
    return item.pattern.astype(np.complex64)


def _drawn(choice: PatternChoice, item: Slice, split: str, number: int) -> Complex:
    if not item.fully_sampled:
        raise InputError(
            f"--pattern {choice.kind} needs fully sampled k-space, at most with zero-padded edges of equal width"
        )
    _, y, x = item.kspace.shape
    generator = np.random.default_rng([choice.seed, SPLITS.index(split), number])
    drawn = sampling_pattern(x, y, choice.kind, choice.acceleration, choice.reference_size, generator)
    return drawn.astype(np.complex64)


def _from_file(name: str, pattern: Complex, item: Slice) -> Complex:
    """Check a pattern against the slice; a MATLAB mask may still have the oversampled readout."""
    _, y, x = item.kspace.shape
    if pattern.shape[0] == y and pattern.shape[1] != x and np.all(pattern == pattern[:, :1]):
        pattern = np.repeat(pattern[:, :1], x, axis=1)
    if pattern.shape != (y, x):
        raise InputError(f"{name}: the pattern must be {x} x {y}, found {pattern.shape[1]} x {pattern.shape[0]}")
    if not np.isfinite(pattern).all() or not pattern.any():
        raise InputError(f"{name}: a pattern must be finite and sample something")
    if not item.fully_sampled and item.pattern is not None:
        missing = int(np.count_nonzero((pattern != 0) & (item.pattern == 0)))
        if missing:
            raise InputError(f"{name}: the pattern samples {missing} positions that were not measured")
    return pattern
