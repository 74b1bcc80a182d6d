"""Which steps of an experiment are still to be done, and how long that takes."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bart_bridge.wording import counted
from compare.console import duration
from compare.running import records
from compare.running.earlier_runs import EarlierRuns, Estimate
from compare.running.records import DIVERGED, Record
from compare.running.run_files import failure_record
from compare.running.steps import NOT_RUN, Step

CHECKPOINT = "checkpoint"
MISSING = "missing"
DONE = "done"


@dataclass(frozen=True)
class PlannedStep:
    """A step before anything is run.

    Attributes:
        title: Its title in the output.
        state: `done`, or why a step is over that is not tried again; or `missing`, `again` with what changed since it
            was done, `missing, its training has a checkpoint`, or how the last try ended, such as
            `diverged at update 3: ...`, and what a run does.
        estimate: What it will take; None if it is over.
    """

    title: str
    state: str
    estimate: Estimate | None


@dataclass(frozen=True)
class TimeLeft:
    """What the steps that are left will take.

    Attributes:
        steps: Number of steps that are left.
        seconds: Wall seconds of those with an estimate.
        unknown: Number of steps without one.
    """

    steps: int
    seconds: float
    unknown: int

    @classmethod
    def of(cls, steps: Collection[float | None]) -> TimeLeft:
        """Add the seconds of steps that are left; None where they are unknown."""
        known = [seconds for seconds in steps if seconds is not None]
        return cls(len(steps), sum(known), len(steps) - len(known))

    def __str__(self) -> str:
        """Return `about 3.5 min left and 2 steps of unknown time`, or `time left unknown`."""
        if self.unknown == self.steps:
            return "time left unknown"
        more = f" and {counted(self.unknown, 'step')} of unknown time" if self.unknown else ""
        return f"about {duration(self.seconds)} left".replace("about <", "<") + more


class Schedule:
    """The steps of an experiment that are left, with an estimate for each.

    Attributes:
        steps: All steps, in their order.

    Args:
        steps: The attribute.
        earlier: Records to estimate from.
    """

    def __init__(self, steps: Sequence[Step], earlier: EarlierRuns) -> None:
        self.steps, self._earlier = steps, earlier
        self._left: list[Step] = []
        for step in steps:
            # A training that is repeated moves what was computed with its weights.
            is_missing = step.kept() is None and not step.divergence()
            if is_missing or any(step.after and step.after.record == other.record for other in self._left):
                self._left.append(step)
        self._started: tuple[Step, float] | None = None
        self._estimate()

    def plan(self) -> list[PlannedStep]:
        """List all steps."""
        left = {id(step) for step in self._left}
        return [
            PlannedStep(step.title, _state(step), self._estimates[id(step)])
            if id(step) in left
            else PlannedStep(step.title, _over(step), None)
            for step in self.steps
        ]

    def start(self, step: Step) -> None:
        """Note that a step begins."""
        self._started = (step, time.perf_counter())

    def finish(self, step: Step, record: Record | None = None) -> None:
        """Note that a step is over, with its record if it was done just now."""
        self._left = [other for other in self._left if other is not step]
        self._started = None
        if record:
            self._earlier.add(step.record, record)
            self._estimate()

    def describe(self) -> str:
        """Say which step of how many runs, and what is left; another thread may call it meanwhile."""
        left, started = self.time_left(), self._started
        if not left.steps:
            return "all steps are over"
        number = len(self.steps) - left.steps + 1
        if started:
            number = next(number for number, step in enumerate(self.steps, start=1) if step is started[0])
        return f"step {number} of {len(self.steps)}, {left}"

    def time_left(self) -> TimeLeft:
        """Return what is left at this moment; a step that takes longer than expected counts as over."""
        # `finish` replaces the list before the estimates, so that every step of the list has an estimate here.
        by_step, started = self._estimates, self._started
        estimates = {id(step): by_step[id(step)].seconds for step in self._left}
        if started and (expected := estimates.get(id(started[0]))) is not None:
            estimates[id(started[0])] = max(0.0, expected - (time.perf_counter() - started[1]))
        return TimeLeft.of(estimates.values())

    def _estimate(self) -> None:
        self._estimates = {id(step): self._earlier.estimate(step) for step in self._left}


def _over(step: Step) -> str:
    reason = step.divergence()
    return f"{reason}; a run does not try again" if reason else DONE


def _state(step: Step) -> str:
    if step.record.exists():
        determinants = step.determinants()
        if not all(determinants["data"].values()):
            return "again: its dataset is simulated anew"
        return f"again: {records.changes(step.record, determinants) or step.damage() or 'its training is done again'}"
    if failure := records.read(failure_record(step.record), step.determinants()):
        reason = str(failure.get("failed", "failed"))
        if DIVERGED in failure:
            from_where = " from its checkpoint" if (step.record.parent / CHECKPOINT).exists() else ""
            return f"{reason}; a run trains again{from_where}"
        return reason if reason.startswith(NOT_RUN) else f"failed: {reason}; a run tries again"
    if step.record.stem == "train" and (step.record.parent / CHECKPOINT).exists():
        return "missing, its training has a checkpoint"
    return MISSING
