"""States of the jobs of an experiment; waiting for them and cancelling them."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bart_bridge.errors import ToolError, why_unreadable
from bart_bridge.tools import process
from compare.running.run_files import failure_record
from compare.running.runner import Part, all_parts, part_records
from compare.running.submit import Submitted, part_name, submitted
from compare.settings.experiment import Experiment

_TAIL_LINES = 5
TIMEOUT_S = 60


@dataclass(frozen=True)
class State:
    """How far a part of an experiment is.

    Attributes:
        part: The part.
        state: `done`, `failed`, `stopped` or `not submitted`. While its job is in the queue it is Slurm's state in
            lower case, such as `pending` or `running`.
        steps: Number of complete steps.
        total: Number of all steps.
        job: Its last job, None if there was none.
        detail: Why it failed or stopped, and the last lines of its output; empty otherwise.
    """

    part: Part
    state: str
    steps: int
    total: int
    job: Submitted | None
    detail: list[str]

    @property
    def name(self) -> str:
        """Name of the part, as for `bart-tf jobs resume --only`."""
        return part_name(self.part)

    @property
    def active(self) -> bool:
        """Whether its job waits or runs."""
        return self.state not in {"done", "failed", "stopped", "not submitted"}


def states(experiment: Experiment, folder: Path) -> list[State]:
    """Return the state of each part.

    Raises:
        InputError: `jobs.json` is damaged.
        ToolError: Slurm does not answer.
    """
    jobs = submitted(folder)
    queue = active(jobs)
    last = {part: job for job in jobs for part in job.parts}
    return [_state(experiment, folder, part, last.get(part), queue) for part in all_parts(experiment)]


def active(jobs: list[Submitted]) -> dict[str, str]:
    """Return the state of each job that waits or runs, by its id: Slurm's state, or `running` on this machine."""
    running = {job.job_id: "running" for job in jobs if job.on == "local" and _local_process(job)}
    on_slurm = {job.job_id for job in jobs if job.on == "slurm"}
    if not on_slurm:
        return running
    lines = _slurm("squeue", "--noheader", "--me", "--array", "--format=%i %T")
    queued = dict(line.split()[:2] for line in lines if len(line.split()) > 1)
    return running | {job: state.lower() for job, state in queued.items() if job in on_slurm}


def cancel(folder: Path) -> list[Submitted]:
    """Cancel all jobs that wait or run. Trainings by Keras leave a checkpoint.

    Returns:
        The jobs.

    Raises:
        ToolError: Slurm does not answer.
    """
    jobs = submitted(folder)
    queue = active(jobs)
    ended = [job for job in jobs if job.job_id in queue]
    on_slurm = [job.job_id for job in ended if job.on == "slurm"]
    if on_slurm:
        _slurm("scancel", *on_slurm)
    for job in ended:
        if job.on == "local" and (running := _local_process(job)):
            with suppress(psutil.NoSuchProcess):
                running.send_signal(signal.SIGTERM)
    return ended


def wait(jobs: list[Submitted]) -> None:
    """Wait for jobs on this machine; terminate them if this process is interrupted."""
    try:
        processes = [process for job in jobs if (process := _local_process(job))]
        psutil.wait_procs(processes)
    except KeyboardInterrupt:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        psutil.wait_procs(processes)
        raise


def _state(experiment: Experiment, folder: Path, part: Part, job: Submitted | None, queue: dict[str, str]) -> State:
    paths = part_records(experiment, folder, part)
    complete = [path.exists() for path in paths]
    steps, total = sum(complete), len(paths)
    if job and job.job_id in queue and (job.on == "slurm" or steps < total):
        return State(part, queue[job.job_id], steps, total, job, [])
    if steps == total:
        return State(part, "done", steps, total, job, [])
    failures = [_failure(path) for path in paths if not path.exists() and failure_record(path).exists()]
    if failures:
        return State(part, "failed", steps, total, job, failures)
    if job is None:
        return State(part, "not submitted", steps, total, None, [])
    return _ended(folder, part, job, steps, total)


def _failure(record: Path) -> str:
    try:
        reason = json.loads(failure_record(record).read_text())["failed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{failure_record(record)}: cannot be read ({why_unreadable(error)})"
    return f"{record.stem}: {reason}"


def _ended(folder: Path, part: Part, job: Submitted, steps: int, total: int) -> State:
    """Describe a part whose job ended without a record: it was stopped, or it raised an exception."""
    broke = (folder / "jobs" / f"{job.job_id}_0_result.pkl").exists()
    reason = [_reason(job)] if job.on == "slurm" and not broke else []
    log = folder / "jobs" / f"{job.job_id}_0_log.err"
    with suppress(OSError):
        lines = [line.rstrip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        reason += lines[-_TAIL_LINES:]
    return State(part, "failed" if broke else "stopped", steps, total, job, [*reason, f"log: {log}"])


def _reason(job: Submitted) -> str:
    """Ask Slurm's accounting, if the cluster has one, how a job ended."""
    if shutil.which("sacct"):
        with suppress(ToolError):
            lines = _slurm(
                "sacct", "--noheader", "--allocations", "--parsable2", "--format=State", "--jobs", job.job_id
            )
            if lines:
                return f"Slurm: {lines[0].lower()}"
    return "Slurm does not say how it ended (no accounting)"


def _slurm(*argv: str) -> list[str]:
    lines: list[str] = []  # `Finished` has the last 200 only
    finished = process.run(argv, folder=Path.cwd(), timeout_s=TIMEOUT_S, on_line=lines.append)
    if finished.returncode:
        raise ToolError(f"{argv[0]} {finished.describe()}", argv, finished.returncode, finished.stderr[-3:])
    return lines


def _local_process(job: Submitted) -> psutil.Process | None:
    """Find the process of a job on this machine; its id may meanwhile belong to another process."""
    try:
        candidate = psutil.Process(int(job.job_id))
        ours = any("submitit" in word for word in candidate.cmdline()) and candidate.uids().real == os.getuid()
        return candidate if ours and candidate.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError):
        return None
