"""Run an experiment: what is done already, and then one step after the other."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bart_bridge import cfl, gridding
from bart_bridge.dataset import SPLITS, Dataset
from bart_bridge.errors import BartTfError, InputError
from bart_bridge.simulate import Simulation, simulate
from bart_bridge.toolbox import Toolbox
from compare import engines, records
from compare.config import Experiment
from compare.console import Reporter
from compare.monitor import MeasuredError
from compare.steps import PHASES, Step, failure_record, reference_steps, run_steps


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
) -> Outcome:
    """Do what is missing of an experiment; a step that fails is named and the others go on.

    Args:
        experiment: What is compared.
        folder: Where everything goes.
        toolbox: The BART that makes data and baselines, and is the engine `bart`.
        reporter: Tells a person what happens.
        only: Name of one network and one engine: train only that, and reconstruct nothing.
        phases: What is done of every run; references are made with `initial`.

    Raises:
        InputError: The dataset is not usable, or an engine cannot use the device.
        OSError: The folder cannot be written.
    """
    available = [
        engines.create(
            name,
            experiment.device,
            engines.toolbox_of(name, experiment.bart_binaries, toolbox),
            experiment.threads,
        )
        for name in experiment.engines
    ]
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    cfl.write_text_atomically(folder / "experiment.yaml", settings)
    dataset, identity = open_dataset(experiment, folder, toolbox, reporter)
    steps = [] if only or "initial" not in phases else reference_steps(folder, experiment, dataset, identity, toolbox)
    # Engines take turns, so that a machine that becomes slower or warmer meanwhile is the same to all.
    for repeat in range(experiment.repeats):
        for name, trained in experiment.networks.items():
            for engine in available:
                of_run = run_steps(folder, experiment, name, trained, engine, dataset, identity, repeat)
                if only is None:
                    steps += [of_run[phase] for phase in of_run if phase in phases]
                elif only == (name, engine.name) and not repeat:
                    steps.append(of_run["train"])
    outcome = Outcome([], [], {})
    for number, step in enumerate(steps, start=1):
        _do(step, f"[{number}/{len(steps)}] {step.title}", outcome, reporter)
    return outcome


def open_dataset(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> tuple[Dataset, Any]:
    """Open the dataset of an experiment, simulated first where it is missing, and say what it is for fingerprints.

    Raises:
        InputError: The dataset is not usable.
    """
    dataset = _dataset(experiment, folder, toolbox, reporter)
    return dataset, _identity(experiment, dataset)


def _do(step: Step, title: str, outcome: Outcome, reporter: Reporter) -> None:
    if records.read(step.record, step.identity):
        reporter.say(f"{title}: done before")
        outcome.reused.append(step.title)
        return
    # A record of other settings must not describe the files that this step is about to replace.
    for path in (step.record, failure_record(step.record)):
        path.unlink(missing_ok=True)
    try:
        with reporter.step(title, step.total) as advance:
            details = step.work(advance)
    except BartTfError as error:
        reporter.say(f"{title}: FAILED: {error}", level=-1)
        outcome.failed[step.title] = str(error)
        measurement = error.measurement if isinstance(error, MeasuredError) else None
        records.write(failure_record(step.record), step.identity, measurement, failed=str(error))
        return
    records.write(step.record, step.identity, **details)
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
        if split.reference is None:
            raise InputError(f"{dataset.folder / name}: a comparison needs a reference, there is none")
        gridding.prepare(split, toolbox)
    return dataset


def _simulate(settings: Simulation, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
    if folder.exists():
        wanted = {"bart": toolbox.version_text, "simulation": settings.model_dump()}
        if wanted.items() <= _description(folder).items():
            return
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
    files = sorted(path for path in dataset.folder.rglob("*") if path.is_file())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
