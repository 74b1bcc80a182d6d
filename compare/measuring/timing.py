"""Split the time of a training into its parts, from the history that every engine writes."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

DEFINITIONS = {
    "setup": "wall seconds of the processes outside of epochs: start, reading, building, writing",
    "compilation": "what the first batch of each stage took longer than the median of its others: tracing, planning",
    "training": "wall seconds of all epochs, all stages, without compilation",
    "epoch": "wall seconds of the median epoch of the last stage, without compilation",
}


def continued(ending: str) -> str:
    """Return why a training that continued after an interruption has no times; empty if it was not interrupted.

    The times of several processes, each with its own start and compilation, are not those of one training.

    Args:
        ending: How its measurement ended, see `compare.measuring.monitor.Measurement`.
    """
    continuation = re.search(r"continued after \d+ updates", ending)
    return f"n/a: {continuation[0]}" if continuation else ""


def training_seconds(histories: list[dict[str, NDArray[np.float64]]], elapsed_s: float) -> dict[str, float | None]:
    """Split the time of a training.

    Args:
        histories: `seconds` since the start of the epoch after each batch, `(epoch, batch)`, of each stage.
        elapsed_s: Wall seconds of the processes.

    Returns:
        `compilation`: what the first batch of each stage took longer than the median of its others, None where a stage
        has no others; `training`: all epochs without it; `setup`: everything outside of epochs; `epoch`: the
        median epoch of the last stage, without the compilation.
    """
    compilation: float | None = 0.0
    for history in histories:
        durations = np.diff(history["seconds"], prepend=0.0, axis=1)
        others = durations.ravel()[1:]
        first = max(0.0, float(durations[0, 0] - np.median(others))) if len(others) else None
        compilation = None if compilation is None or first is None else compilation + first
    epochs = [history["seconds"][:, -1].copy() for history in histories]
    total_s = float(sum(seconds.sum() for seconds in epochs))
    if compilation is None:
        return {"setup": elapsed_s - total_s, "compilation": None, "training": total_s, "epoch": None}
    epochs[-1][0] -= first
    return {
        "setup": elapsed_s - total_s,
        "compilation": compilation,
        "training": total_s - compilation,
        "epoch": float(np.median(epochs[-1])),
    }
