"""Run an experiment: what is done already, and then one step after the other.

Several processes, on several machines that share the folder, may do this at once: each run has a lock, see
`compare.running.locks`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from bart_bridge.errors import BartTfError, InputError, ToolError
from bart_bridge.files import atomic
from bart_bridge.reconet import commands
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.create import create, toolbox_of, usable_threads
from compare.measuring import machine
from compare.measuring.monitor import MeasuredError
from compare.results.cost_rows import DIVERGED
from compare.running import locks, prepared_data, records
from compare.running.run_files import Run, failure_record
from compare.running.steps import NOT_RUN, PHASES, Step, reference_steps, references, run_steps
from compare.settings.engine_names import EngineName, is_bart
from compare.settings.experiment import Experiment

# A part of an experiment that one process does: a network on an engine, with all its repeats, so that these say how
# the times of one machine spread; or all reconstructions without a network.
Part = tuple[str, str]
REFERENCES: Part = ("", "references")


@dataclass(frozen=True)
class Outcome:
    """How running an experiment went.

    Attributes:
        computed: Titles of the steps that were run.
        reused: Titles of the steps that were complete before.
        failed: What went wrong, by title.
        not_run: Titles of the steps that would have used the output of a step that failed.
    """

    computed: list[str]
    reused: list[str]
    failed: dict[str, str]
    not_run: list[str] = field(default_factory=list)


def run(
    experiment: Experiment,
    folder: Path,
    toolbox: Toolbox,
    reporter: Reporter,
    only: tuple[str, str] | None = None,
    phases: Collection[str] = PHASES,
    chosen: Collection[Part] | None = None,
    settings: Experiment | None = None,
    resume: bool = True,
) -> Outcome:
    """Do what is missing of an experiment; a step that fails is named and the others go on.

    Args:
        experiment: What is compared.
        folder: Where everything goes.
        toolbox: The BART that makes data and baselines, and is the engine `bart`.
        reporter: Tells a person what happens.
        only: Name of one network and one engine: train only that, and reconstruct nothing.
        phases: What is done of every run; references are made with `initial`.
        chosen: The parts that are done; default all.
        settings: What the folder keeps as its experiment, where that is not this one: `experiment` may have more
            engines, for a training alone.
        resume: Whether the training of `only` continues from its checkpoint (default).

    Raises:
        InputError: The dataset is not usable, an engine cannot use the device, or BART cannot take a path.
        ToolError: A BART that is to train has no `reconet`.
        BusyError: Settings or dataset changed, and another process works with the old ones.
        OSError: The folder cannot be written.
    """
    wanted = [only] if only else parts(experiment) if chosen is None else chosen
    toolboxes = {
        name: toolbox_of(name, experiment.bart_binaries, toolbox)
        for name in experiment.engines
        if any(name == engine for _, engine in wanted)
    }
    check_bart(experiment, folder, toolboxes)
    available = [create(name, experiment.device, of, experiment.threads) for name, of in toolboxes.items()]
    settings = settings or experiment
    dataset, identity = prepared_data.prepare(settings, folder, toolbox, reporter)
    steps = []
    if REFERENCES in wanted and "initial" in phases:
        steps = reference_steps(folder, experiment, dataset, identity, toolbox)
    first_trainings: dict[Part, Step] = {}
    # Engines take turns, so that a machine that becomes slower or warmer meanwhile is the same to all.
    for repeat in range(experiment.repeats):
        for name, trained in experiment.networks.items():
            for engine in available:
                if (name, engine.name) not in wanted:
                    continue
                of_run = run_steps(folder, experiment, name, trained, engine, dataset, identity, repeat, resume)
                training = first_trainings.setdefault((name, engine.name), of_run["train"])
                of_run = {
                    phase: step if phase == "initial" or step is training else replace(step, after=training)
                    for phase, step in of_run.items()
                }
                if only is None:
                    steps += [of_run[phase] for phase in of_run if phase in phases]
                elif not repeat:
                    steps.append(of_run["train"])

    @cache
    def made_on() -> dict[str, Any]:
        own = {name: of for name, of in toolboxes.items() if name in experiment.bart_binaries}
        software = machine.software({"bart": toolbox} | own)
        return machine.describe() | software | {"threads": experiment.threads or usable_threads()}

    def check() -> None:
        if changed := prepared_data.changed_settings(settings, folder, since=True):
            raise InputError(f"{folder}: another process gave it other settings ({changed})")
        if settings.dataset.simulate is not None and prepared_data.description(dataset.folder) != dataset.description:
            raise InputError(f"{dataset.folder}: another process made it anew, with other settings")

    return _work(folder, steps, reporter, made_on, check)


def check_bart(experiment: Experiment, folder: Path, toolboxes: Mapping[EngineName, Toolbox]) -> None:
    """Fail before any work, not in the middle, where a BART engine among those of `toolboxes` cannot run in `folder`.

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


def parts(experiment: Experiment) -> list[Part]:
    """List what can be done by a process each: the references first, then each network on each engine."""
    return [REFERENCES, *((name, engine) for name in experiment.networks for engine in experiment.engines)]


def part_records(experiment: Experiment, folder: Path, part: Part) -> list[Path]:
    """List the records that a part has when it is complete."""
    if part == REFERENCES:
        return [folder / "references" / f"{name}.json" for name in references(experiment)]
    first = Run(folder, *part)
    repeats = [Run(folder, *part, repeat) for repeat in range(1, experiment.repeats)]
    return [first.record(phase) for phase in PHASES] + [
        run.record(phase) for run in repeats for phase in ("train", "infer")
    ]


def _work(
    folder: Path,
    steps: list[Step],
    reporter: Reporter,
    made_on: Callable[[], dict[str, Any]],
    check: Callable[[], None],
) -> Outcome:
    """Do the steps; those of runs that another process works on come last, and wait for it."""
    outcome = Outcome([], [], {})
    older = records.Older(folder)
    busy: set[Path] = set()
    later: list[tuple[str, Path, Step]] = []
    numbered = [(f"[{number}/{len(steps)}] {step.title}", step) for number, step in enumerate(steps, start=1)]
    for title, step in numbered:
        place = _place(folder, step)
        if place in busy:
            later.append((title, place, step))
        elif _done(step, title, outcome, reporter):
            continue
        else:
            try:
                with locks.held(place, wait=False):
                    check()
                    _do(step, title, outcome, reporter, made_on, older)
            except locks.BusyError:
                reporter.say(f"{title}: another process works on this run, it is looked at again at the end")
                busy.add(place)
                later.append((title, place, step))
    for title, place, step in later:
        with locks.held(place):
            check()
            _do(step, title, outcome, reporter, made_on, older)
    return outcome


def _place(folder: Path, step: Step) -> Path:
    """Return the folder with the lock of a step: that of the run, which its repeats share."""
    kind, name, *_ = step.record.relative_to(folder).parts
    return folder / kind / name if kind == "runs" else folder / kind


def _done(step: Step, title: str, outcome: Outcome, reporter: Reporter) -> bool:
    record = records.read(step.record, step.determinants())
    if record is None or step.damage():
        return False
    threads = record.get("machine", {}).get("threads", step.threads)
    note = "" if threads == step.threads else f", with {threads} threads (now it would be {step.threads})"
    reporter.say(f"{title}: done before{note}")
    outcome.reused.append(step.title)
    return True


def _do(
    step: Step,
    title: str,
    outcome: Outcome,
    reporter: Reporter,
    made_on: Callable[[], dict[str, Any]],
    older: records.Older,
) -> None:
    """Do a step unless that was done meanwhile; the lock must be held."""
    if _done(step, title, outcome, reporter):
        return
    place, determinants = step.record.parent, step.determinants()
    atomic.remove_leftovers(place)
    if step.record.exists():
        changed = records.changes(step.record, determinants) or step.damage()
        kept = older.keep({path for pattern in step.files for path in place.glob(pattern)})
        reporter.say(f"{title}: done again, {changed}; the old results are in {kept}")
    origin: records.Record = {"engine_version": step.version, "machine": made_on()}
    # A record of other settings must not describe the files that this step is about to replace.
    for path in (step.record, failure_record(step.record)):
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink(missing_ok=True)
    if step.after and records.read(step.after.record, step.after.determinants()) is None:
        reason = f"{NOT_RUN}: it needs what '{step.after.title}' leaves, which is not there"
        reporter.say(f"{title}: {reason}", level=-1)
        outcome.not_run.append(step.title)
        records.write(failure_record(step.record), determinants, **origin, failed=reason)
        return
    try:
        with reporter.step(title, step.total) as advance:
            details = step.work(advance)
    except (BartTfError, OSError) as error:
        reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        reporter.say(f"{title}: FAILED: {reason}", level=-1)
        outcome.failed[step.title] = reason
        measurement = error.measurement if isinstance(error, MeasuredError) else None
        update = error.diverged_at_update if isinstance(error, ToolError) else None
        details = {} if update is None else {DIVERGED: update}
        records.write(failure_record(step.record), determinants, measurement, **origin, failed=reason, **details)
        return
    records.write(step.record, determinants, **details, **origin)
    outcome.computed.append(step.title)
