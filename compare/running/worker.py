"""Do steps, one after the other, beside other processes that do the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bart_bridge.errors import BartTfError, ToolError, why_unreadable
from bart_bridge.files import atomic
from bart_bridge.wording import counted
from compare.console import Reporter
from compare.measuring.machine import Description
from compare.measuring.monitor import MeasuredError
from compare.running import locks, records
from compare.running.records import DIVERGED, Determinants
from compare.running.run_files import failure_record
from compare.running.schedule import Schedule
from compare.running.steps import NOT_RUN, Step


@dataclass(frozen=True)
class Outcome:
    """How running an experiment went.

    Attributes:
        computed: Titles of the steps that were run.
        reused: Titles of the steps that were complete before.
        failed: What went wrong, by title.
        not_run: Titles of the steps that would have used the output of a step that failed.
        left: Titles of the steps that were left to other processes.
    """

    computed: list[str]
    reused: list[str]
    failed: dict[str, str]
    not_run: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Worker:
    """Does the steps of an experiment, one after the other.

    Args:
        folder: Of the experiment.
        reporter: Tells a person what happens.
        made_on: Describes the machine and its software.
        check: Raises where another process changed what the steps depend on.
        schedule: Knows what is left.
    """

    def __init__(
        self,
        folder: Path,
        reporter: Reporter,
        made_on: Callable[[], Description],
        check: Callable[[], None],
        schedule: Schedule,
    ) -> None:
        self._schedule = schedule
        self._folder, self._reporter, self._made_on, self._check = folder, reporter, made_on, check
        self._outcome = Outcome([], [], {})
        self._older = records.Older(folder)

    def work(self, steps: list[Step], wait: bool = True) -> Outcome:
        """Do the steps.

        Args:
            steps: The steps.
            wait: Whether those of runs that another process works on come last, and wait for it (default), or are
                left to it.
        """
        with self._reporter.whole(self._schedule.describe, self._schedule.time_left):
            later = self._work(steps)
            for title, locked, step in later if wait else []:
                with locks.held(locked):
                    self._check()
                    self._do(step, title)
        if not wait:
            self._outcome.left.extend(step.title for _, _, step in later)
        return self._outcome

    def _work(self, steps: list[Step]) -> list[tuple[str, Path, Step]]:
        """Do the steps that need no run of another process; return title, locked folder and step of the others."""
        busy: set[Path] = set()
        later: list[tuple[str, Path, Step]] = []
        for number, step in enumerate(steps, start=1):
            title, locked = f"[{number}/{len(steps)}] {step.title}", self._locked_folder(step)
            # What it needs may be of another run, as with weights of another engine.
            needed = {locked} if step.after is None else {locked, self._locked_folder(step.after)}
            if needed & busy:
                later.append((title, locked, step))
            elif self._is_done(step, title):
                continue
            else:
                try:
                    with locks.held(locked, wait=False):
                        self._check()
                        self._do(step, title)
                except locks.BusyError:
                    self._reporter.say(f"{title}: another process works on this run, it is looked at again later")
                    busy.add(locked)
                    later.append((title, locked, step))
        return later

    def _locked_folder(self, step: Step) -> Path:
        """Return the folder with the lock of a step: that of the run, which its repeats share."""
        top, name, *_ = step.record.relative_to(self._folder).parts
        return self._folder / top / name if top == "runs" else self._folder / top

    def _is_done(self, step: Step, title: str) -> bool:
        if reason := step.divergence():
            self._reporter.say(f"{title}: not tried again, it {reason}")
            self._outcome.failed[step.title] = reason
            self._schedule.finish(step)
            return True
        record = step.kept()
        if record is None:
            return False
        threads = record.get("machine", {}).get("threads", step.threads)
        note = (
            "" if threads == step.threads else f", with {counted(threads, 'thread')} (now it would be {step.threads})"
        )
        self._reporter.say(f"{title}: done before{note}")
        self._outcome.reused.append(step.title)
        self._schedule.finish(step)
        return True

    def _do(self, step: Step, title: str) -> None:
        """Do a step unless that was done meanwhile; the lock must be held."""
        if self._is_done(step, title):
            return
        determinants = step.determinants()
        self._make_room(step, title, determinants)
        origin: records.Record = {"engine_version": step.version, "machine": self._made_on()}
        # A record of other settings must not describe the files that this step is about to replace.
        for path in (step.record, failure_record(step.record)):
            path.unlink(missing_ok=True)
            path.with_suffix(".npz").unlink(missing_ok=True)
        if step.after and records.read(step.after.record, step.after.determinants()) is None:
            reason = f"{NOT_RUN}: it needs what '{step.after.title}' leaves, which is not there"
            self._reporter.say(f"{title}: {reason}", level=-1)
            self._outcome.not_run.append(step.title)
            self._schedule.finish(step)
            records.write(failure_record(step.record), determinants, **origin, failed=reason)
            return
        started_s = time.perf_counter()
        self._schedule.start(step)
        try:
            with self._reporter.step(title, step.total) as advance:
                details = step.work(advance)
        except (BartTfError, OSError) as error:
            reason = _reason(error)
            self._reporter.say(f"{title}: FAILED: {reason}", level=-1)
            self._outcome.failed[step.title] = reason
            self._schedule.finish(step)
            measurement = error.measurement if isinstance(error, MeasuredError) else None
            update = error.diverged_at_update if isinstance(error, ToolError) else None
            details = {} if update is None else {DIVERGED: update}
            records.write(failure_record(step.record), determinants, measurement, **origin, failed=reason, **details)
            return
        record = records.write(step.record, determinants, **details, **origin, step_s=time.perf_counter() - started_s)
        self._schedule.finish(step, record)
        self._outcome.computed.append(step.title)

    def _make_room(self, step: Step, title: str, determinants: Determinants) -> None:
        """Move the results that a step is about to replace, and remove what an interrupted one left."""
        folder = step.record.parent
        atomic.remove_leftovers(folder)
        if step.record.exists():
            changed = records.changes(step.record, determinants) or step.damage()
            kept = self._older.keep({path for pattern in step.files for path in folder.glob(pattern)})
            self._reporter.say(f"{title}: done again, {changed}; the old results are in {kept}")


def _reason(error: BartTfError | OSError) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {why_unreadable(error)}"
    return str(error)
