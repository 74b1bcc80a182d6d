"""Run the trainings of an experiment under a tracer, apart from the runs that measure time and memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bart_bridge.errors import BartTfError, InputError, ToolError
from bart_bridge.files import atomic
from bart_bridge.tools import process
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.create import create, toolboxes_of
from compare.measuring import machine
from compare.running import locks, records
from compare.running.prepared_data import open_dataset
from compare.running.run_inputs import RunInputs
from compare.running.run_steps import run_steps
from compare.running.runner import check_bart
from compare.running.steps import Step
from compare.settings.engine_names import EngineName
from compare.settings.experiment import Experiment
from compare.trace import cupti, nsys, roofline, summary
from compare.trace.activity import Activity
from compare.trace.gpu_state import GpuState
from compare.trace.summary import Facts, Summary

TracerName = Literal["nsys", "cupti", "auto"]


@dataclass(frozen=True)
class Tracing:
    """What is traced of an experiment, and how.

    Attributes:
        engines: Engines of the experiment to run.
        tracer: What traces; `auto` takes what works here, see `choose`.
        repeats: How often each training is run.
        roofline: Count operations and bytes of a sample of kernels with `ncu`, in one more run of each.
    """

    engines: list[EngineName]
    tracer: TracerName = "auto"
    repeats: int = 1
    roofline: bool = False


@dataclass(frozen=True)
class Tracer:
    """A tracer that works here.

    Attributes:
        name: `nsys` or `cupti`.
        note: Why it is this one.
        library: Of `cupti`.
    """

    name: str
    note: str
    library: Path | None = None

    @contextmanager
    def around(self, folder: Path) -> Iterator[None]:
        """Trace every command that is started within the `with` block into an empty folder."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if self.library is None:
            with process.prefixed(nsys.prefix(folder), nsys.ENVIRONMENT):
                yield
        else:
            with process.prefixed(environment=cupti.environment(self.library, folder)):
                yield

    def read(self, folder: Path) -> tuple[list[Activity], dict[str, str]]:
        """Read the trace: activities, and facts about the tracer."""
        if self.library is None:
            return nsys.read_reports(folder), {"tracer": "nsys"}
        return cupti.read(folder)


def choose(name: TracerName) -> Tracer:
    """Choose a tracer that works here; `auto` takes Nsight Systems where it can make a report, else CUPTI.

    Raises:
        ToolError: There is no NVIDIA GPU, or the tracer does not work here.
    """
    if not machine.gpus():
        raise ToolError("no NVIDIA GPU was found: profile traces one; --from makes the tables of a saved trace")
    reason = nsys.unusable() if name != "cupti" else "CUPTI was asked for"
    if not reason:
        return Tracer("nsys", "")
    if name == "nsys":
        raise ToolError(f"nsys cannot be used: {reason}; --tracer cupti does without")
    return Tracer("cupti", reason, cupti.build(cupti.find()))


def profile(
    experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter, tracer: Tracer, tracing: Tracing
) -> dict[str, str]:
    """Trace the training of every network on every engine; what was traced before with the same settings is kept.

    Args:
        experiment: What is trained; its device must be `gpu`.
        folder: Folder of the experiment. Traces go to `profile` in it, so that no measured run is touched.
        toolbox: The BART to use.
        reporter: Tells a person what happens.
        tracer: What `choose` returned.
        tracing: What to trace.

    Returns:
        What went wrong, by the title of the step.

    Raises:
        InputError: The experiment is not one for a GPU, or its dataset is not usable.
    """
    if experiment.device != "gpu":
        raise InputError(f"device: profile traces the GPU and needs 'gpu', received '{experiment.device}'")
    toolboxes = toolboxes_of(tracing.engines, experiment.bart_binaries, toolbox, experiment.device)
    check_bart(experiment, folder, toolboxes)
    available = [create(name, experiment.device, bart, experiment.threads) for name, bart in toolboxes.items()]
    with locks.held(folder):
        data = open_dataset(experiment, folder, toolbox, reporter)
    root = folder / "profile"
    common = {"machine": machine.label(machine.describe()), "tracer_note": tracer.note}
    failed: dict[str, str] = {}
    for engine in available:
        for network, trained in experiment.networks.items():
            if engine.name not in experiment.engines_of(network):
                continue
            for repeat in range(tracing.repeats):
                run_folder = root / f"{network}-{engine.name}-{tracer.name}-{repeat}"
                step = run_steps(RunInputs(run_folder, experiment, network, engine, data))["train"]
                facts = common | {
                    "network": network,
                    "network_kind": trained.network.kind,
                    "engine": engine.name,
                    "engine_version": engine.version,
                    "optimizer": trained.training.algorithm,
                    "repeat": repeat,
                }
                title = f"{step.title}, traced by {tracer.name}"
                try:
                    _trace(step, title, run_folder, tracer, facts, reporter)
                    if tracing.roofline and repeat == 0:
                        _count(step, f"{step.title}, counted by ncu", run_folder, reporter)
                except BartTfError as error:
                    reporter.say(f"{title}: FAILED: {error}", level=-1)
                    failed[title] = str(error)
    return failed


def _trace(step: Step, title: str, run_folder: Path, tracer: Tracer, facts: Facts, reporter: Reporter) -> None:
    determinants = {"step": step.determinants(), "tracer": tracer.name}
    if records.read(run_folder / "trace.json", determinants):
        reporter.say(f"{title}: done before")
        return
    (run_folder / "trace.json").unlink(missing_ok=True)
    _begin_again(step)
    state = GpuState()
    with reporter.step(title, step.total) as advance, state, tracer.around(run_folder / "trace"):
        details = step.work(advance)
    activities, traced = tracer.read(run_folder / "trace")
    facts = traced | facts | {"wall_s": details["measurement"].elapsed_s, "state": state.summary()}
    summary.write(Summary(activities, facts), run_folder / "summary.parquet")
    records.write(run_folder / "trace.json", determinants)


def _begin_again(step: Step) -> None:
    """Remove the checkpoint of an interrupted training; otherwise only the rest of it would be traced."""
    shutil.rmtree(step.record.parent / "checkpoint", ignore_errors=True)


def _count(step: Step, title: str, run_folder: Path, reporter: Reporter) -> None:
    log = run_folder / roofline.FILE
    if log.exists():
        reporter.say(f"{title}: done before")
        return
    if reason := roofline.unusable():
        raise ToolError(f"no roofline: {reason}")
    _begin_again(step)
    with (
        atomic.new_file(log) as unfinished,
        reporter.step(title, step.total) as advance,
        process.prefixed(roofline.prefix(unfinished)),
    ):
        try:
            step.work(advance)
        except ToolError:
            # What was counted before the command failed is whole launches; without any there is nothing to keep.
            if not unfinished.stat().st_size or not roofline.read(unfinished):
                raise
