"""Run an experiment: what is done already, and then one step after the other."""

from __future__ import annotations

import shutil
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
from compare.steps import Step, reference_steps, run_steps


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
    experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter, only: tuple[str, str] | None = None
) -> Outcome:
    """Do what is missing of an experiment; a step that fails is named and the others go on.

    Args:
        experiment: What is compared.
        folder: Where everything goes.
        toolbox: The BART that makes data and baselines, and is the engine `bart`.
        reporter: Tells a person what happens.
        only: Name of one network and one engine: train only that, and reconstruct nothing.

    Raises:
        InputError: The dataset is not usable, or an engine cannot use the device.
        OSError: The folder cannot be written.
    """
    available = [engines.create(name, experiment.device, toolbox) for name in experiment.engines]
    folder.mkdir(parents=True, exist_ok=True)
    settings = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
    cfl.write_text_atomically(folder / "experiment.yaml", settings)
    dataset = _dataset(experiment, folder, toolbox, reporter)
    identity = _identity(experiment, dataset)
    steps = [] if only else reference_steps(folder, experiment, dataset, identity, toolbox)
    for engine in available:
        for name, trained in experiment.networks.items():
            phases = run_steps(folder, experiment, name, trained, engine, dataset, identity)
            if only is None:
                steps += phases.values()
            elif only == (name, engine.name):
                steps.append(phases["train"])
    outcome = Outcome([], [], {})
    for number, step in enumerate(steps, start=1):
        _do(step, f"[{number}/{len(steps)}] {step.title}", outcome, reporter)
    return outcome


def _do(step: Step, title: str, outcome: Outcome, reporter: Reporter) -> None:
    if records.read(step.record, step.identity):
        reporter.say(f"{title}: done before")
        outcome.reused.append(step.title)
        return
    # A record of other settings must not describe the files that this step is about to replace.
    step.record.unlink(missing_ok=True)
    try:
        with reporter.step(title, step.total) as advance:
            details = step.work(advance)
    except BartTfError as error:
        reporter.say(f"{title}: FAILED: {error}", level=-1)
        outcome.failed[step.title] = str(error)
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
