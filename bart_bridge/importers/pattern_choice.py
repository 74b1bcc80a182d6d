"""Sampling patterns of imported data: the one that it comes with, a drawn one, or one from a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bart_bridge.data.dataset import SPLITS
from bart_bridge.data.patterns import sampling_pattern
from bart_bridge.errors import InputError
from bart_bridge.importers import cfl_files, matlab
from bart_bridge.importers.source import Complex, Slice, as_complex, reading
from bart_bridge.wording import counted


@dataclass(frozen=True)
class PatternChoice:
    """Which sampling pattern the imported data gets.

    Attributes:
        kind: `source` (the pattern of the data, default), `regular`, `random`, or the path of a `.cfl`, `.mat` or
            `.npy` file.
        acceleration: Undersampling factor from 1 to 1000, see `bart_bridge.data.patterns.sampling_pattern` (default 4).
        reference_size: Width of the fully sampled centre in pixels (default 24).
        seed: Seed of the random patterns; each slice gets another one (default 0).
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


def pattern_of(choice: PatternChoice, total: int) -> Callable[[Slice, str, int, int], Complex]:
    """Return the function that computes the pattern of a slice.

    Args:
        choice: Which pattern.
        total: Number of slices in the whole source.

    Returns:
        Function of a slice, the name of its split, its number in that split, and its position in the source. It returns
        the pattern `(y, x)` complex64, and raises InputError if the slice cannot have it.

    Raises:
        InputError: The pattern file cannot be read, or has neither 1 nor `total` patterns.
    """
    if choice.kind == "source":
        return lambda item, *_: _source_pattern(item)
    if choice.kind in {"regular", "random"}:
        return lambda item, split, number, _: _draw(choice, item, split, number)
    cfl_files.check_there(Path(choice.kind), "--pattern", "source, regular, random")
    patterns = _open_patterns(Path(choice.kind))
    if patterns.each == "slice" and patterns.count not in {1, total}:
        raise InputError(
            f"{choice.kind}: 1 pattern or one for each of {total} slices is needed, found {patterns.count}"
        )
    return lambda item, _, __, position: _checked(patterns.of(item, position, choice.kind), item, choice.kind)


@dataclass(frozen=True)
class _Patterns:
    """The patterns of a file.

    Attributes:
        count: How many there are.
        read: Reads one of them, `(y, x)`.
        each: What each pattern is for: a `slice`, a time `frame`, or slices that take them in `turn`.
    """

    count: int
    read: Callable[[int], Complex]
    each: str = "slice"

    def of(self, item: Slice, position: int, name: str) -> Complex:
        """Return the pattern of a slice at a position in the source.

        Raises:
            InputError: Patterns are for time frames, and the slice is not one of so many.
        """
        if self.each != "frame":
            return self.read(position % self.count)
        frame, frames = item.frame or (0, 0)
        if frames != self.count:
            found = f"time frames: {frames}" if frames else "no time frames"
            raise InputError(
                f"{name}: a mask of three dimensions has one pattern for each time frame, found {self.count} patterns; "
                f"the data have {found}"
            )
        return self.read(frame)


def _open_patterns(path: Path) -> _Patterns:
    """Open the patterns of a file.

    A BART array has one pattern or several. A MATLAB file has one in its only variable `mask...`, or with a third
    dimension one for each time frame. A NumPy file `(y, x)` or `(pattern, y, x)` has patterns that slices take in turn.

    Raises:
        InputError: The file is missing or damaged, or holds something else.
    """
    if path.suffix == ".mat":
        mask = matlab.read_mask(path)
        if mask.ndim == 2:
            return _Patterns(1, lambda _: mask.T.astype(np.complex64))
        if mask.ndim == 3:
            return _Patterns(mask.shape[2], lambda frame: mask[:, :, frame].T.astype(np.complex64), "frame")
        raise InputError(f"{path}: the mask must have dimensions x, y and perhaps time frame, found {mask.shape}")
    if path.suffix == ".npy":
        return _numpy_patterns(path)
    count, coil, _, _ = cfl_files.item_shape(path)
    if coil != 1:
        raise InputError(f"{path}: a pattern must have one coil, found {coil}")
    return _Patterns(count, lambda number: cfl_files.read_item(path, number)[0])


def _numpy_patterns(path: Path) -> _Patterns:
    with reading(path, "a NumPy file"):
        patterns = np.load(path, mmap_mode="r", allow_pickle=False)
    if patterns.ndim not in {2, 3} or not patterns.size:
        raise InputError(f"{path}: patterns must have dimensions y, x or pattern, y, x, found {patterns.shape}")
    stack = patterns.reshape(-1, *patterns.shape[-2:])
    return _Patterns(len(stack), lambda number: as_complex(stack[number], path, "pattern"), "turn")


def _source_pattern(item: Slice) -> Complex:
    if item.pattern is None:
        return np.ones(item.kspace.shape[1:], np.complex64)
    return item.pattern.astype(np.complex64)


def _draw(choice: PatternChoice, item: Slice, split: str, number: int) -> Complex:
    if not item.fully_sampled:
        raise InputError(
            f"--pattern {choice.kind} needs fully sampled k-space, at most with zero-padded edges of equal width"
        )
    _, y, x = item.kspace.shape
    generator = np.random.default_rng([choice.seed, SPLITS.index(split), number])
    pattern = sampling_pattern(x, y, choice.kind, choice.acceleration, choice.reference_size, generator)
    return (pattern if item.limits is None else pattern * item.limits).astype(np.complex64)


def _checked(pattern: Complex, item: Slice, name: str) -> Complex:
    """Return the pattern of a file if it fits the slice; the oversampled readout of a MATLAB mask is shortened."""
    _, y, x = item.kspace.shape
    if pattern.shape[0] == y and pattern.shape[1] != x and np.all(pattern == pattern[:, :1]):
        pattern = np.repeat(pattern[:, :1], x, axis=1)
    if pattern.shape != (y, x):
        raise InputError(f"{name}: the pattern must be {x} x {y}, found {pattern.shape[1]} x {pattern.shape[0]}")
    if not np.isfinite(pattern).all() or not pattern.any():
        raise InputError(f"{name}: a pattern must be finite and sample something")
    measured = item.limits if item.fully_sampled else item.pattern
    if measured is not None:
        missing = int(np.count_nonzero((pattern != 0) & (measured == 0)))
        if missing:
            raise InputError(f"{name}: the pattern samples {counted(missing, 'position')} not measured")
    return pattern
