"""Notice from the output of `bart reconet --train` that a training has diverged: BART itself goes on to the end."""

from __future__ import annotations

import math
from collections.abc import Callable

from bart_bridge.errors import DivergedError
from bart_bridge.reconet.history import Progress, parse_progress

# What conjugate gradients say of a right-hand side whose norm is not finite. They return zeros then, so that the loss
# may be finite though weights are not. Of a right-hand side of zeros they say "data empty".
_CORRUPTED = "Warning: data corrupted"


class DivergenceWatch:
    """Read a training's output line by line, up to the first value that is not finite.

    Args:
        on_progress: Called with each update.
        updates: Number of updates of this stage.
        earlier_updates: Number of updates of the stages before.
    """

    def __init__(self, on_progress: Callable[[Progress], None], updates: int, earlier_updates: int = 0) -> None:
        self._on_progress = on_progress
        self._updates, self._earlier = updates, earlier_updates
        self._last = 0
        self._loss = self._warned = ""

    def __call__(self, line: str) -> bool:
        """Take a line, and say whether the training has diverged and should be ended."""
        progress = parse_progress(line)
        if progress and not self._loss:
            self._on_progress(progress)
            self._last = (progress.epoch - 1) * progress.batches + progress.batch
            if not math.isfinite(progress.loss):
                self._loss = f"the loss is {progress.loss}"
        if _CORRUPTED in line:
            self._warned = "BART warned of values that are not finite ('data corrupted') at this update or before"
        return bool(self._loss or self._warned)

    def check(self) -> None:
        """Judge the training after its end.

        Raises:
            DivergedError: It diverged.
        """
        if self._loss:
            raise DivergedError(self._earlier + self._last, self._loss)
        if self._warned:
            # BART warns while it computes the update after the last one that it told of.
            raise DivergedError(self._earlier + min(self._last + 1, self._updates), self._warned)
