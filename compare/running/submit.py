"""The runs of an experiment as jobs of submitit: on a Slurm cluster, or several at once on this machine.

A job calls `compare.running.runner.run` for its parts. All state of an experiment is in its folder, whoever computed
it, so a job that is started again, by Slurm or by a person, continues with what is missing. `jobs/` in that folder has
submitit's files and logs, and `jobs.json`, the list of submitted jobs.
"""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bart_bridge.errors import InputError, ToolError, why_unreadable
from bart_bridge.files import atomic
from bart_bridge.tools import process
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.measuring import nvidia
from compare.running import locks, prepared_data
from compare.running.prepared_data import Identity
from compare.running.runner import Part, Selection, all_parts, part_records, run
from compare.running.worker import Outcome
from compare.settings.experiment import Experiment
from compare.settings.slurm import Slurm

if TYPE_CHECKING:
    import submitit

Place = Literal["local", "slurm"]
_YEAR_MIN = 365 * 24 * 60  # submitit wants a limit
_GRACE_S = 25  # Slurm kills 30 s after SIGTERM, by default


@dataclass
class Work:
    """The work of a job; submitit pickles it and calls it.

    Attributes:
        experiment: The experiment.
        folder: Its folder.
        parts: The parts that this job computes.
        bart: BART binary or its folder; default the one that is found where the job runs.
        grace_s: Seconds that a training may take for its checkpoint when the job's time is over.
    """

    experiment: Experiment
    folder: Path
    parts: list[Part]
    bart: Path | None = None
    grace_s: int = _GRACE_S

    def __call__(self) -> Outcome:
        """Compute what is missing of the parts."""
        signal.signal(signal.SIGTERM, _end)
        if changed := prepared_data.changed_settings(self.experiment, self.folder, since=True):
            raise InputError(f"{self.folder}: other settings than when this job was submitted ({changed})")
        toolbox = Toolbox.find(self.bart)
        return run(self.experiment, self.folder, toolbox, Reporter(), Selection(parts=self.parts))

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Stop because the time is over or the job is preempted; return what submitit calls later."""
        import submitit

        process.end_running(self.grace_s)
        return submitit.helpers.DelayedSubmission(self)


def _end(number: int, frame: object) -> None:
    """Terminate on a signal (cancelled, preempted), and leave a checkpoint of the running training."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process.end_running(_GRACE_S)
    sys.exit(128 + number)


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted.

    Attributes:
        on: Where it runs.
        job_id: Its id in Slurm; on this machine its process id.
        parts: The parts that it computes.
        at: Time of submission, UTC.
        bart: The BART that was given, if any.
    """

    on: Place
    job_id: str
    parts: list[Part]
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    bart: str | None = None


def part_name(part: Part) -> str:
    """Return the name of a part, which is that of its folder, such as `modl-bart`."""
    return "-".join(name for name in part if name)


def submit(
    experiment: Experiment,
    folder: Path,
    parts: Sequence[Part],
    on: Place,
    bart: Path | None = None,
    at_once: int | None = None,
) -> list[Submitted]:
    """Submit jobs for parts of an experiment: an array on Slurm, or processes that share the parts on this machine.

    Prepare the dataset first (`prepared_data.prepare`); otherwise one job prepares it while the others wait.

    Args:
        experiment: The experiment, with the resources of its jobs.
        folder: Its folder, which must have the same path on all nodes.
        parts: The parts to compute.
        on: Where the jobs run.
        bart: BART binary or its folder.
        at_once: Number of jobs at the same time; default all on Slurm, one on this machine.

    Raises:
        ToolError: Slurm refused the jobs.
    """
    import submitit

    jobs_folder = folder / "jobs"
    jobs_folder.mkdir(parents=True, exist_ok=True)
    if on == "slurm":
        loads = [Work(experiment, folder, [part], bart, _grace_s(experiment.slurm)) for part in parts]
    else:
        # Every process has all parts: locks share them out.
        loads = [Work(experiment, folder, list(parts), bart) for _ in range(min(at_once or 1, len(parts)))]
    jobs: list[submitit.Job[Outcome]] = []
    try:
        if on == "slurm":
            cluster = submitit.AutoExecutor(jobs_folder, "slurm", slurm_max_num_timeout=experiment.slurm.timeouts)
            cluster.update_parameters(**_parameters(experiment, at_once))
            with cluster.batch():
                jobs = [cluster.submit(load) for load in loads]
        else:
            for number, load in enumerate(loads):
                local = submitit.LocalExecutor(jobs_folder)
                local.update_parameters(timeout_min=_YEAR_MIN, **_local_gpu(number))
                jobs.append(local.submit(load))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ToolError(f"Slurm did not take the jobs: {lines[-1] if lines else 'it does not say why'}") from None
    entries = [
        Submitted(on, job.job_id, load.parts, bart=str(bart) if bart else None)
        for job, load in zip(jobs, loads, strict=True)
    ]
    with locks.held(jobs_folder):
        content = [asdict(entry) for entry in [*submitted(folder), *entries]]
        atomic.write_text(jobs_folder / "jobs.json", json.dumps(content, indent=1) + "\n")
    return entries


def submitted(folder: Path) -> list[Submitted]:
    """List all jobs of a folder, the oldest first.

    Raises:
        InputError: `jobs.json` is damaged.
    """
    path = folder / "jobs" / "jobs.json"
    if not path.exists():
        return []
    try:
        entries = [Submitted(**entry) for entry in json.loads(path.read_text())]
        return [replace(entry, parts=[(name, engine) for name, engine in entry.parts]) for entry in entries]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({why_unreadable(error)})") from None


def for_place(experiment: Experiment, on: Place) -> Experiment:
    """Return the experiment of the jobs, whose threads are the cores of a job, because results depend on them.

    Raises:
        InputError: There is no Slurm.
    """
    if on == "slurm" and not shutil.which("sbatch"):
        raise InputError("--on slurm: there is no Slurm here ('sbatch' is not on PATH)")
    if on == "local" or experiment.threads or not experiment.slurm.cpus:
        return experiment
    return experiment.model_copy(update={"threads": experiment.slurm.cpus})


def _grace_s(slurm: Slurm) -> int:
    return max(1, slurm.warning_s - 10)


def _parameters(experiment: Experiment, at_once: int | None) -> dict[str, Any]:
    slurm = experiment.slurm
    gpus = slurm.gpus if slurm.gpus is not None else experiment.devices * (experiment.device == "gpu")
    cpus = slurm.cpus or experiment.threads
    setup = [*(f"module load {name}" for name in slurm.modules), *slurm.setup]
    parameters = {
        "name": experiment.name,
        "timeout_min": slurm.time_min,
        "gpus_per_node": gpus or None,
        "cpus_per_task": cpus,
        "mem_gb": slurm.memory_gib,
        "slurm_partition": slurm.partition,
        "slurm_account": slurm.account,
        "slurm_qos": slurm.qos,
        "slurm_constraint": slurm.constraint,
        "slurm_signal_delay_s": slurm.warning_s,
        "slurm_setup": setup or None,
        "slurm_array_parallelism": at_once,
        # Since Slurm 22.05, srun does not take this from sbatch.
        "slurm_srun_args": [f"--cpus-per-task={cpus}"] if cpus else None,
        "slurm_additional_parameters": {"requeue": True, **slurm.options},
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _local_gpu(number: int) -> dict[str, Any]:
    """Give each process its own GPU, in turn; without this submitit hides all GPUs."""
    gpus = nvidia.Gpus().numbers
    return {"gpus_per_node": 1, "visible_gpus": [gpus[number % len(gpus)]]} if gpus else {}


def outdated(experiment: Experiment, folder: Path, changed: str | None, identity: Identity) -> list[Part]:
    """List the parts that may have something to do: those that are not complete, or all after a change of settings.

    Args:
        experiment: The experiment.
        folder: Its folder.
        changed: What `prepared_data.changed_settings` said before the settings were accepted.
        identity: What the dataset holds; parts with results of other data are among those listed.
    """
    if changed != "":
        return all_parts(experiment)
    unfinished = missing(experiment, folder)
    return [
        part
        for part in all_parts(experiment)
        if part in unfinished
        or any(_is_of_other_data(path, identity) for path in part_records(experiment, folder, part))
    ]


def _is_of_other_data(record: Path, identity: Identity) -> bool:
    try:
        data = json.loads(record.read_text())["determinants"]["data"]
        return any(not digests.items() <= identity[split].items() for split, digests in data.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True


def missing(experiment: Experiment, folder: Path) -> list[Part]:
    """List the parts that are not complete."""
    return [
        part
        for part in all_parts(experiment)
        if not all(path.exists() for path in part_records(experiment, folder, part))
    ]


def find_part(experiment: Experiment, name: str) -> Part:
    """Find a part by its name.

    Raises:
        InputError: There is none.
    """
    by_name = {part_name(part): part for part in all_parts(experiment)}
    if name not in by_name:
        raise InputError(f"no run '{name}' (found: {', '.join(by_name)})")
    return by_name[name]
