"""Lines of raw data, as a scanner measured them: what each is, where its samples lie, and which of them are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.importers.counters import choose
from bart_bridge.importers.source import Complex

CHOSEN = ("repetition", "average", "contrast", "set", "phase")
# `first` to `last` are the samples to use, `centre` is the sample at k = 0, once a reversed line was turned.
_NUMBERS = ("row", "partition", "slice", "segment", *CHOSEN, "coils", "samples", "first", "last", "centre")
LINE = np.dtype([*((name, np.int64) for name in _NUMBERS), ("reversed", bool), ("image", bool), ("calibration", bool)])


@dataclass(frozen=True)
class RawLines:
    """The lines of a file.

    Attributes:
        path: The file.
        heads: One `LINE` for each line. `image` lines are samples of the image, `calibration` lines serve coil
            sensitivities alone, others are not used.
        read: Reads the samples of lines with rising numbers, `(coil, sample)` complex64 each, in this order.
        left_out: Counts of what is left out, by description.
    """

    path: Path
    heads: NDArray[np.void]
    read: Callable[[NDArray[np.int64]], Iterator[Complex]]
    left_out: dict[str, int]

    def image(self) -> NDArray[np.void]:
        """Return the heads of the image lines."""
        return self.heads[self.heads["image"]]

    def require_image(self) -> None:
        """Check that there are image lines, with the same number of coils.

        Raises:
            InputError: There are none, or coils differ.
        """
        if not self.heads["image"].any():
            left_out = self.left_out | {"calibration lines": int(self.heads["calibration"].sum())}
            counts = ", ".join(f"{name}: {count}" for name, count in left_out.items() if count)
            raise InputError(f"{self.path}: no image lines in it ({counts or 'no lines at all'})")
        for use, what in (("image", "lines"), ("calibration", "calibration lines")):
            coils = np.unique(self.heads["coils"][self.heads[use]])
            if coils.size > 1:
                raise InputError(f"{self.path}: one number of coils is supported, its {what} have several")

    def chosen(self, choices: dict[str, str | None]) -> RawLines:
        """Keep the image lines with the chosen values of counters, and the calibration lines that belong to them.

        Calibration is often measured once, in the first repetition or in a contrast of its own. Where no calibration
        line has a chosen value, those with the lowest value are used.

        Args:
            choices: For each counter in `CHOSEN` a choice, see `bart_bridge.importers.counters.choose`.

        Raises:
            InputError: A choice is not in the file, or one is needed.
        """
        self.require_image()
        heads, left_out = self.heads.copy(), dict(self.left_out)
        for counter in CHOSEN:
            values = heads[counter]
            selected = choose(counter, choices.get(counter), np.unique(values[heads["image"]]).tolist(), self.path)
            other = heads["image"] & ~np.isin(values, selected)
            left_out[f"lines of another {counter}"] = int(other.sum())
            heads["image"] &= ~other
            available = np.unique(values[heads["calibration"]])
            if available.size and not np.isin(available, selected).any():
                selected = available[:1].tolist()
            other = heads["calibration"] & ~np.isin(values, selected)
            left_out[f"calibration lines of another {counter}"] = int(other.sum())
            heads["calibration"] &= ~other
        return replace(self, heads=heads, left_out=left_out)

    def without_calibration(self, excluded: NDArray[np.bool_], reason: str) -> RawLines:
        """Leave out calibration lines, and count them under a reason."""
        heads = self.heads.copy()
        excluded = excluded & heads["calibration"]
        heads["calibration"] &= ~excluded
        return replace(self, heads=heads, left_out=self.left_out | {reason: int(excluded.sum())})

    def counted(self) -> dict[str, int]:
        """Return the counts of what is left out, with what the lines themselves leave out."""
        image = self.image()
        return {
            **self.left_out,
            "lines for calibration alone (no samples, but ecalib uses them)": int(self.heads["calibration"].sum()),
            "samples that their lines say to discard": int((image["samples"] - image["last"] + image["first"]).sum()),
        }

    def placed(self, numbers: NDArray[np.int64], size: int) -> Iterator[tuple[np.void, slice, Complex]]:
        """Read lines, turn those that were read out backwards, and say where they lie in a readout of `size`.

        Yields:
            The head, the place along the readout, and the samples to use, `(coil, sample)`.

        Raises:
            InputError: A line does not fit into the readout.
        """
        heads = self.heads[numbers]
        places = zip(*extents(heads, size), strict=True)
        for number, head, (start, stop), values in zip(numbers, heads, places, self.read(numbers), strict=True):
            if start < 0 or stop > size or stop <= start:
                raise InputError(
                    f"{self.path}: line {number} does not fit into the readout of {size} of its header: its sample "
                    f"{head['centre']} is at k = 0, so that it reaches from {start} to {stop - 1}"
                )
            samples = values[:, head["first"] : head["last"]]
            yield head, slice(start, stop), samples[:, ::-1] if head["reversed"] else samples


def extents(heads: NDArray[np.void], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first position of each line along a readout of `size`, and the position after its last."""
    skipped = np.where(heads["reversed"], heads["samples"] - heads["last"], heads["first"])
    start = size // 2 - heads["centre"] + skipped
    return start, start + heads["last"] - heads["first"]
