"""Run an experiment: what is done already, and then one step after the other.

Several processes, on several machines that share the folder, may do this at once: each run has a lock, see
`compare.locks`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from bart_bridge import cfl, gridding
from bart_bridge.dataset import SPLITS, Dataset, check_filters
from bart_bridge.errors import BartTfError, InputError
from bart_bridge.simulate import Simulation, simulate
from bart_bridge.toolbox import Toolbox
from compare import engines, locks, machine, records
from compare.config import Experiment
from compare.console import Reporter
from compare.monitor import MeasuredError
from compare.steps import PHASES, Run, Step, failure_record, reference_steps, references, run_steps

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
    """

    computed: list[str]
    reused: list[str]
    failed: dict[str, str]


def run(
    experiment: Experiment,
    folder: Path,
    toolbox: Toolbox,
    reporter: Reporter,
    only: tuple[str, str] | None = None,
    phases: Collection[str] = PHASES,
    chosen: Collection[Part] | None = None,
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

    Raises:
        InputError: The dataset is not usable, or an engine cannot use the device.
        BusyError: The dataset changed, and another process works with the old one.
        OSError: The folder cannot be written.
    """
    wanted = parts(experiment) if chosen is None else chosen
    toolboxes = {
        name: engines.toolbox_of(name, experiment.bart_binaries, toolbox)
        for name in experiment.engines
        if any(name == engine for _, engine in wanted)
    }
    available = [engines.create(name, experiment.device, of, experiment.threads) for name, of in toolboxes.items()]
    dataset, identity = prepare(experiment, folder, toolbox, reporter)
    steps = []
    if REFERENCES in wanted and not only and "initial" in phases:
        steps = reference_steps(folder, experiment, dataset, identity, toolbox)
    # Engines take turns, so that a machine that becomes slower or warmer meanwhile is the same to all.
    for repeat in range(experiment.repeats):
        for name, trained in experiment.networks.items():
            for engine in available:
                if (name, engine.name) not in wanted:
                    continue
                of_run = run_steps(folder, experiment, name, trained, engine, dataset, identity, repeat)
                if only is None:
                    steps += [of_run[phase] for phase in of_run if phase in phases]
                elif only == (name, engine.name) and not repeat:
                    steps.append(of_run["train"])

    @cache
    def made_on() -> dict[str, Any]:
        own = {name: of for name, of in toolboxes.items() if name in experiment.bart_binaries}
        software = machine.software({"bart": toolbox} | own)
        return machine.describe() | software | {"threads": experiment.threads or engines.usable_threads()}

    def check() -> None:
        if experiment.dataset.simulate is not None and _description(folder / "dataset") != identity:
            raise InputError(f"{folder / 'dataset'}: another process made it anew, with other settings")

    return _work(folder, steps, reporter, made_on, check)


def parts(experiment: Experiment) -> list[Part]:
    """List what can be done by a process each: the references first, then each network on each engine."""
    return [REFERENCES, *((name, engine) for name in experiment.networks for engine in experiment.engines)]


def part_folder(folder: Path, part: Part) -> Path:
    """Return where a part is, and its lock."""
    return folder / "references" if part == REFERENCES else Run(folder, *part).folder


def part_records(experiment: Experiment, folder: Path, part: Part) -> list[Path]:
    """List the records that a part has when it is complete."""
    if part == REFERENCES:
        return [folder / "references" / f"{name}.json" for name in references(experiment)]
    first = Run(folder, *part)
    repeats = [Run(folder, *part, repeat) for repeat in range(1, experiment.repeats)]
    return [first.record(phase) for phase in PHASES] + [
        run.record(phase) for run in repeats for phase in ("train", "infer")
    ]


def prepare(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> tuple[Dataset, Any]:
    """Write `experiment.yaml` and open the dataset as `open_dataset` does, one process at a time."""
    with locks.held(folder):
        remove_leftovers(folder, folder / "tables", folder / "figures")
        settings = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
        cfl.write_text_atomically(folder / "experiment.yaml", settings)
        return open_dataset(experiment, folder, toolbox, reporter)


def remove_leftovers(*folders: Path) -> None:
    """Remove temporary files and folders of processes that were killed; the lock of the folders must be held."""
    for folder in folders:
        for pattern in (".*.*", "one-slice-*", "baseline-*"):
            for path in folder.glob(pattern):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _work(
    folder: Path,
    steps: list[Step],
    reporter: Reporter,
    made_on: Callable[[], dict[str, Any]],
    check: Callable[[], None],
) -> Outcome:
    """Do the steps; those of runs that another process works on come last, and wait for it."""
    outcome = Outcome([], [], {})
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
                    _do(step, title, outcome, reporter, made_on)
            except locks.BusyError:
                reporter.say(f"{title}: another process works on this run, it is looked at again at the end")
                busy.add(place)
                later.append((title, place, step))
    for title, place, step in later:
        with locks.held(place):
            check()
            _do(step, title, outcome, reporter, made_on)
    return outcome


def _place(folder: Path, step: Step) -> Path:
    """Return the folder with the lock of a step: that of the run, which its repeats share."""
    kind, name, *_ = step.record.relative_to(folder).parts
    return folder / kind / name if kind == "runs" else folder / kind


def open_dataset(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> tuple[Dataset, Any]:
    """Open the dataset of an experiment, simulated first where it is missing, and say what it is for fingerprints.

    Raises:
        InputError: The dataset is not usable.
    """
    dataset = _dataset(experiment, folder, toolbox, reporter)
    return dataset, _identity(experiment, dataset)


def _done(step: Step, title: str, outcome: Outcome, reporter: Reporter) -> bool:
    if records.read(step.record, step.identity) is None:
        return False
    reporter.say(f"{title}: done before")
    outcome.reused.append(step.title)
    return True


def _do(step: Step, title: str, outcome: Outcome, reporter: Reporter, made_on: Callable[[], dict[str, Any]]) -> None:
    """Do a step unless that was done meanwhile; the lock must be held."""
    if _done(step, title, outcome, reporter):
        return
    remove_leftovers(step.record.parent)
    origin: records.Record = {"engine_version": step.version, "machine": made_on()}
    # A record of other settings must not describe the files that this step is about to replace.
    for path in (step.record, failure_record(step.record)):
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink(missing_ok=True)
    try:
        with reporter.step(title, step.total) as advance:
            details = step.work(advance)
    except BartTfError as error:
        reporter.say(f"{title}: FAILED: {error}", level=-1)
        outcome.failed[step.title] = str(error)
        measurement = error.measurement if isinstance(error, MeasuredError) else None
        records.write(failure_record(step.record), step.identity, measurement, **origin, failed=str(error))
        return
    records.write(step.record, step.identity, **details, **origin)
    outcome.computed.append(step.title)


def _dataset(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> Dataset:
    """Open the dataset, simulated first where it is missing or was made with other settings."""
    choice = experiment.dataset
    if choice.simulate is not None:
        _simulate(choice.simulate, folder / "dataset", toolbox, reporter)
    dataset = Dataset.open(choice.folder or folder / "dataset")
    for name in SPLITS:
        split = dataset.split(name)
        split.validate()
        for trained in experiment.networks.values():
            check_filters(trained.network, split)
        if split.reference is None:
            raise InputError(f"{dataset.folder / name}: a comparison needs a reference, there is none")
        if split.trajectory is not None:  # the folder may be that of several experiments
            with locks.held(dataset.folder):
                remove_leftovers(dataset.folder / name)
                gridding.prepare(split, toolbox)
    return dataset


def _simulate(settings: Simulation, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
    if folder.exists():
        wanted = {"bart": toolbox.version_text, "simulation": settings.model_dump()}
        if wanted.items() <= _description(folder).items():
            return
        with ExitStack() as stack:
            for lock in sorted(folder.parent.glob(f"*/**/{locks.NAME}")):
                if lock.parent != folder:
                    stack.enter_context(locks.held(lock.parent, wait=False))
            reporter.say("dataset: settings changed, simulated anew")
            shutil.rmtree(folder)
    total = sum(getattr(settings, split) for split in SPLITS)
    with reporter.step(f"dataset: simulate {total} slices", total) as advance:
        simulate(folder, settings, toolbox, lambda done, _: advance(done))


def _description(folder: Path) -> dict[str, Any]:
    try:
        return Dataset.open(folder).description
    except InputError:
        return {}


def _identity(experiment: Experiment, dataset: Dataset) -> Any:
    """Return what the data is: its settings where it is simulated, else its files with size and time of change."""
    if experiment.dataset.simulate is not None:
        return dataset.description
    files = sorted(path for path in dataset.folder.rglob("*") if path.is_file() and path.name != locks.NAME)
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
