"""Detect a diverged training in the output of `bart reconet --train`; BART itself would continue to the last epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

from bart_bridge.errors import DivergedError
from bart_bridge.reconet.history import Progress, parse_progress

# BART's conjugate gradients print this if the norm of the right-hand side is not finite. They then return zeros, so the
# loss may be finite although the weights are not. For a right-hand side of zeros they print "data empty".
# They also warn of validation slices, whose images may overflow while the training goes well, as at the start of a
# second stage.
_CORRUPTED = "Warning: data corrupted"


class DivergenceWatch:
    """Reads the output of a training line by line, up to the first value that is not finite.

    Args:
        on_progress: Called after each update.
        updates: Number of updates in this stage.
        earlier_updates: Number of updates in earlier stages (default 0).
        validated: Whether validation slices are measured after each epoch (default false). Then a warning may be of
            these, so it does not count.
    """

    def __init__(
        self,
        on_progress: Callable[[Progress], None],
        updates: int,
        earlier_updates: int = 0,
        validated: bool = False,
    ) -> None:
        self._on_progress = on_progress
        self._updates, self._earlier, self._validated = updates, earlier_updates, validated
        self._last = 0
        self._loss = self._warned = ""

    def __call__(self, line: str) -> bool:
        """Read a line, and return whether the training has diverged and should be stopped."""
        progress = parse_progress(line)
        if progress and not self._loss:
            self._on_progress(progress)
            self._last = (progress.epoch - 1) * progress.batches + progress.batch
            if not math.isfinite(progress.loss):
                self._loss = f"the loss is {progress.loss}"
        if _CORRUPTED in line and not self._validated:
            self._warned = "BART warned of values that are not finite ('data corrupted') at this update or before"
        return bool(self._loss or self._warned)

    def check(self) -> None:
        """Check the training after it has ended.

        Raises:
            DivergedError: The training diverged.
        """
        if self._loss:
            raise DivergedError(self._earlier + self._last, self._loss)
        if self._warned:
            # BART prints the warning during the update after the last reported one.
            raise DivergedError(self._earlier + min(self._last + 1, self._updates), self._warned)
