"""Run an experiment: find out which steps are done, and do the others one after the other.

Several processes, on several machines that share the folder, may do this at once: each run has a lock, see
`compare.running.locks`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.reconet import commands
from bart_bridge.tools import blas
from bart_bridge.tools.parallel import usable_threads
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.base import Engine
from compare.engines.create import create, toolboxes_of
from compare.measuring import machine
from compare.running import prepared_data
from compare.running.earlier_runs import EarlierRuns, as_before
from compare.running.exchange_steps import exchange_steps
from compare.running.prepared_data import PreparedData
from compare.running.run_files import BASELINES_FOLDER, Run
from compare.running.run_inputs import RunInputs
from compare.running.run_steps import run_steps
from compare.running.schedule import Schedule
from compare.running.steps import PHASES, Step, baseline_names, baseline_steps
from compare.running.worker import Outcome, Worker
from compare.settings.engine_names import EngineName, is_bart
from compare.settings.experiment import Experiment

# A part of an experiment, the work of one process: a network on an engine, or all baselines. A network's repeats belong
# to one part, so that they measure the spread of times on one machine.
Part = tuple[str, str]
BASELINES_PART: Part = ("", "references")


@dataclass(frozen=True)
class Selection:
    """The part of an experiment that is run; by default everything.

    Attributes:
        parts: The parts; default all.
        phases: The phases of every run. Baselines are made with `initial`.
        repeats: Whether repeated measurements are made too (default).
        resume: Whether trainings continue from their checkpoints (default).
        retry_diverged: Whether trainings whose last try diverged are tried again (default).
        wait: Whether runs that other processes work on are waited for (default).
        tensorboard: Whether trainings write their loss for TensorBoard (default false).
    """

    parts: Collection[Part] | None = None
    phases: Collection[str] = PHASES
    repeats: bool = True
    resume: bool = True
    retry_diverged: bool = True
    wait: bool = True
    tensorboard: bool = False

    def parts_of(self, experiment: Experiment) -> Collection[Part]:
        """Return the selected parts."""
        return all_parts(experiment) if self.parts is None else self.parts


EVERYTHING = Selection()


def run(
    experiment: Experiment,
    folder: Path,
    toolbox: Toolbox,
    reporter: Reporter,
    selection: Selection = EVERYTHING,
    settings: Experiment | None = None,
) -> Outcome:
    """Run the missing steps of an experiment. A step that fails is reported, and the others continue.

    Args:
        experiment: What is compared.
        folder: Where everything goes.
        toolbox: The BART that simulates data, computes baselines and is the engine `bart`.
        reporter: Shows progress to a person.
        selection: The part of the experiment that is run.
        settings: The experiment that the folder keeps, if it is another one: for a single training `experiment` may
            have an engine more.

    Raises:
        InputError: The dataset is not usable, an engine cannot use the device, or BART cannot take a path.
        ToolError: A BART that is to train has no `reconet`.
        BusyError: Settings or dataset changed, and another process works with the old ones.
        OSError: The folder cannot be written.
    """
    settings = settings or experiment
    toolboxes = _checked_toolboxes(experiment, folder, toolbox, selection)
    engines = _engines(experiment, toolboxes)
    data = prepared_data.prepare(settings, folder, toolbox, reporter)
    steps = steps_of(folder, experiment, (toolbox, engines), data, selection)
    warn_of_slow_builds(toolbox, toolboxes, reporter)
    made_on = cache(lambda: as_before(folder, description(experiment, toolbox, toolboxes)))

    def check() -> None:
        if changed := prepared_data.changed_settings(settings, folder, since=True):
            raise InputError(f"{folder}: another process gave it other settings ({changed})")
        simulated = settings.dataset.simulate is not None
        if simulated and prepared_data.description(data.dataset.folder) != data.dataset.description:
            raise InputError(f"{data.dataset.folder}: another process made it anew, with other settings")

    schedule = Schedule(steps, EarlierRuns(folder, experiment, made_on()))
    return Worker(folder, reporter, made_on, check, schedule).work(steps, selection.wait)


def plan(
    experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter, selection: Selection = EVERYTHING
) -> Schedule:
    """Return which steps `run` would do and what they will take, without running, writing or locking anything.

    Args:
        experiment: What is compared.
        folder: Where everything goes; it need not exist.
        toolbox: As for `run`.
        reporter: Shows warnings.
        selection: The part of the experiment.

    Raises:
        InputError: As for `run`.
        ToolError: As for `run`.
    """
    toolboxes = _checked_toolboxes(experiment, folder, toolbox, selection)
    data = prepared_data.look(experiment, folder, toolbox, reporter)
    steps = steps_of(folder, experiment, (toolbox, _engines(experiment, toolboxes)), data, selection)
    warn_of_slow_builds(toolbox, toolboxes, reporter)
    here = as_before(folder, description(experiment, toolbox, toolboxes))
    return Schedule(steps, EarlierRuns(folder, experiment, here))


def _checked_toolboxes(
    experiment: Experiment, folder: Path, toolbox: Toolbox, selection: Selection
) -> dict[EngineName, Toolbox]:
    """Return the BART of each selected engine, after `check_bart`."""
    selected = selection.parts_of(experiment)
    names = [name for name in experiment.engines if any(name == engine for _, engine in selected)]
    toolboxes = toolboxes_of(names, experiment.bart_binaries, toolbox, experiment.device)
    check_bart(experiment, folder, toolboxes)
    return toolboxes


def warn_of_slow_builds(toolbox: Toolbox, toolboxes: Mapping[EngineName, Toolbox], reporter: Reporter) -> None:
    """Name the BARTs that compute with the reference BLAS, and say what to do.

    Args:
        toolbox: As for `run`.
        toolboxes: The BART of each engine.
        reporter: Names each BART once.
    """
    barts = [toolbox, *(bart for name, bart in toolboxes.items() if is_bart(name))]
    slow = {f"BART {bart.version_text} at {bart.path}": advice for bart in barts if (advice := blas.slow_build(bart))}
    if slow:
        reporter.warn(next(iter(slow.values())), *slow)


def _engines(experiment: Experiment, toolboxes: Mapping[EngineName, Toolbox]) -> list[Engine]:
    return [create(name, experiment.device, bart, experiment.threads) for name, bart in toolboxes.items()]


def description(
    experiment: Experiment, toolbox: Toolbox, toolboxes: Mapping[EngineName, Toolbox]
) -> machine.Description:
    """Describe this machine and its software, as in a record."""
    binaries = {name: bart for name, bart in toolboxes.items() if is_bart(name)}
    software = machine.software({"bart": toolbox} | binaries)
    return machine.describe() | software | {"threads": experiment.threads or usable_threads()}


def steps_of(
    folder: Path,
    experiment: Experiment,
    programs: tuple[Toolbox, list[Engine]],
    data: PreparedData,
    selection: Selection,
) -> list[Step]:
    """List the selected steps of an experiment: of the baselines, of the networks, of exchanges.

    Args:
        folder: Folder of the experiment.
        experiment: The experiment.
        programs: The BART that computes baselines, and the engines.
        data: The dataset.
        selection: The part of the experiment.
    """
    toolbox, engines = programs
    steps = []
    if BASELINES_PART in selection.parts_of(experiment) and "initial" in selection.phases:
        steps = baseline_steps(folder, experiment, data, toolbox)
    steps += _network_steps(folder, experiment, engines, data, selection)
    if selection.parts is None and "apply" in selection.phases:  # jobs, which have parts, do not wait for one another
        steps += exchange_steps(folder, experiment, engines, data)
    return steps


def _network_steps(
    folder: Path, experiment: Experiment, engines: list[Engine], data: PreparedData, selection: Selection
) -> list[Step]:
    """List the selected steps of the networks; whatever needs a training comes after it."""
    selected = selection.parts_of(experiment)
    steps: list[Step] = []
    first_trainings: dict[Part, Step] = {}
    # Engines take turns, so that a machine that becomes slower or warmer meanwhile is the same to all.
    for repeat in range(experiment.repeats if selection.repeats else 1):
        for name in experiment.networks:
            for engine in engines:
                part = (name, engine.name)
                if part not in selected:
                    continue
                inputs = RunInputs(folder, experiment, name, engine, data, repeat)
                phases = run_steps(inputs, selection.resume, selection.tensorboard)
                phases["train"] = replace(phases["train"], tries_again=selection.retry_diverged)
                training = first_trainings.setdefault(part, phases["train"])
                steps += [
                    step if phase == "initial" or step is training else replace(step, after=training)
                    for phase, step in phases.items()
                    if phase in selection.phases
                ]
    return steps


def check_bart(experiment: Experiment, folder: Path, toolboxes: Mapping[EngineName, Toolbox]) -> None:
    """Fail before any work starts if one of the BART engines in `toolboxes` cannot run in `folder`.

    Raises:
        ToolError: A BART has no `reconet`.
        InputError: `reconet` cannot take the path of the folder, or of validation slices if these are measured.
    """
    for name, toolbox in toolboxes.items():
        if is_bart(name):
            toolbox.require("reconet")
            commands.check_path(folder)
            if experiment.validate_epochs:
                commands.check_path(experiment.dataset.folder or folder)


def all_parts(experiment: Experiment) -> list[Part]:
    """List all parts of an experiment: the baselines first, then each network on each engine."""
    return [BASELINES_PART, *experiment.runs()]


def part_records(experiment: Experiment, folder: Path, part: Part) -> list[Path]:
    """List the records that a part has when it is complete."""
    if part == BASELINES_PART:
        return [folder / BASELINES_FOLDER / f"{name}.json" for name in baseline_names(experiment)]
    first = Run(folder, *part)
    repeats = [Run(folder, *part, repeat) for repeat in range(1, experiment.repeats)]
    return [first.record(phase) for phase in PHASES] + [
        run.record(phase) for run in repeats for phase in ("train", "infer")
    ]
