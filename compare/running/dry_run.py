"""What `--dry-run` says: each step, its time and memory where earlier runs tell, and the sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from bart_bridge.wording import counted
from compare.console import duration
from compare.running.earlier_runs import NO_EARLIER_RUN
from compare.running.schedule import DONE, MISSING, PlannedStep, TimeLeft

_UNKNOWN = "unknown"
_WIDTH = 12


def lines(parts: Mapping[str, Sequence[PlannedStep]], gpu: bool, notes: Sequence[str] = ()) -> list[str]:
    """Return a line for each step, then notes, then the sums of all parts.

    Args:
        parts: The steps of each part by its heading, which is a line of its own unless it is empty.
        gpu: Whether the steps use a GPU, whose memory has a column then.
        notes: What else there is to say (default nothing).
    """
    plan = [step for steps in parts.values() for step in steps]
    headings = ["time", "memory", "GPU memory"] if gpu else ["time", "memory"]
    table, numbers = [_row(headings, "step")], count(1)
    for heading, steps in parts.items():
        table += [f"{heading}:"] if heading else []
        table += [_line(step, f"[{next(numbers)}/{len(plan)}] {step.title}", len(headings)) for step in steps]
    # The usual reason for having no number is said once.
    usual = any(step.estimate and step.estimate.reason == NO_EARLIER_RUN and step.state == MISSING for step in plan)
    return [*table, *[f"{_UNKNOWN} without a reason: {NO_EARLIER_RUN}"] * usual, *notes, *_sums(plan)]


def _row(cells: list[str], last: str) -> str:
    return "".join(f"{cell:>{_WIDTH}}" for cell in cells) + f"  {last}"


def _line(step: PlannedStep, title: str, columns: int) -> str:
    if step.estimate is None:
        return _row([DONE, *[""] * (columns - 1)], title if step.state == DONE else f"{title}: {step.state}")
    estimate = step.estimate
    cells = [
        _UNKNOWN if estimate.seconds is None else duration(estimate.seconds),
        _gib(estimate.peak_bytes),
        _gib(estimate.gpu_bytes),
    ]
    state = "" if step.state == MISSING else step.state
    reason = "" if estimate.reason == NO_EARLIER_RUN else estimate.reason
    notes = "; ".join(filter(None, [state, reason]))
    return _row(cells[:columns], f"{title}: {notes}" if notes else title)


def _sums(plan: list[PlannedStep]) -> list[str]:
    estimates = [step.estimate for step in plan if step.estimate]
    left = TimeLeft.of([estimate.seconds for estimate in estimates])
    counts = f"{counted(len(plan), 'step')}: {len(plan) - left.steps} done, {left.steps} to do"
    if not left.steps:
        return [counts]
    known = left.steps - left.unknown
    return [
        counts,
        f"time: {_UNKNOWN}"
        if not known
        else f"time: {duration(left.seconds)} without the report"
        + (f", for {counted(known, 'step')}; for {left.unknown} it is {_UNKNOWN}" if left.unknown else ""),
        *_largest("memory", [estimate.peak_bytes for estimate in estimates]),
        *_largest("GPU memory", [estimate.gpu_bytes for estimate in estimates]),
    ]


def _largest(name: str, sizes: list[int | None]) -> list[str]:
    known = [size for size in sizes if size is not None]
    some = f" of the {counted(len(known), 'step')} where it is known" if len(known) < len(sizes) else ""
    return [f"largest {name}: {_gib(max(known))}{some}"] if known else []


def _gib(size: int | None) -> str:
    return _UNKNOWN if size is None else f"{size / 2**30:.2f} GiB"
