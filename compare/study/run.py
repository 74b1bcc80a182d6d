"""The optimizer study: every optimizer tuned with the same budget, then trained from several initial weights.

Each seed is an experiment of its own (`compare.running.runner`), so that an interrupted study continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import atomic
from bart_bridge.reconet import commands
from bart_bridge.tools.blas import blas_of
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.create import create, toolboxes_of
from compare.measuring import machine
from compare.results import images
from compare.results.table_files import write_csv
from compare.running import locks
from compare.running.prepared_data import prepare, refuse_foreign
from compare.running.records import DIVERGED, Record
from compare.running.run_files import Run
from compare.running.runner import Selection, check_bart
from compare.running.runner import run as run_experiment
from compare.running.worker import Outcome
from compare.settings.engine_names import is_bart
from compare.settings.experiment import DatasetChoice, Experiment, TrainedNetwork
from compare.study.choices import on
from compare.study.rows import (
    CHOSEN_BY,
    CURVE_COLUMNS,
    RESULT_COLUMNS,
    Row,
    cost_rows,
    curve_rows,
    diverged_curves,
    diverged_rows,
    parts_of,
    read_history,
)
from compare.study.settings import STUDY, Study, candidates, experiment

# By network and optimizer: the candidates, their scores, and which of them was chosen, if any.
_Choices = dict[str, dict[str, Any]]
_NONE_FINITE = "ends with a finite error; choose smaller steps"


@dataclass(frozen=True)
class _Part:
    """Trainings of one seed on one engine, their folder, and the experiment that the folder keeps."""

    experiment: Experiment
    folder: Path
    settings: Experiment


@dataclass(frozen=True)
class _Tables:
    """The rows of both tables, and why runs have none."""

    results: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    diverged: dict[str, str] = field(default_factory=dict)


def run(study: Study, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
    """Tune, train and measure what is missing, and write `study.yaml`, `choices.json`, `results.csv` and `curves.csv`.

    Candidates that diverge are not chosen. Other runs that diverge are named in `choices.json`, see
    `compare.study.rows.diverged`.

    Raises:
        InputError: The dataset is not usable, or an engine cannot use the device.
        ToolError: A run failed in another way; what was finished is kept.
    """
    refuse_foreign(folder, STUDY)
    toolboxes = toolboxes_of(study.engines, {}, toolbox, study.device)
    for name, bart in toolboxes.items():
        create(name, study.device, bart)
    tuning = experiment(study, study.seeds[0], [study.tuned_on], candidates(study))
    check_bart(tuning, folder, toolboxes)
    prepare(tuning, folder / "tuning", toolbox, reporter)  # refuses what must not replace the study that is there
    with locks.held(folder):
        atomic.write_text(folder / STUDY, yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    _train(_Part(tuning, folder / "tuning", tuning), toolbox, reporter)
    choices = _choose(study, tuning, folder / "tuning")
    without_choice = [name for name, choice in choices.items() if choice["chosen"] is None]
    if len(without_choice) == len(choices):
        raise ToolError(f"no candidate of any optimizer {_NONE_FINITE}")
    tables = _Tables(diverged=dict.fromkeys(without_choice, f"no candidate {_NONE_FINITE}"))
    refusals = _refusals(study, choices, toolboxes)
    for part in _parts(study, folder, tuning, choices, refusals):
        _measure(part, toolbox, reporter, tables)
    used = {bart.path: bart for name, bart in toolboxes.items() if is_bart(name)} or {toolbox.path: toolbox}
    barts = [f"{bart.version_text} ({blas_of(bart)}, built with {bart.build})" for bart in used.values()]
    description = {"machine": machine.label(machine.describe()), "bart": ", ".join(barts)}
    tuning_facts = {"tuned_on": study.tuned_on, "chosen_by": CHOSEN_BY}
    decisions = {"choices": choices, "reasons": refusals, **tuning_facts, "diverged": tables.diverged}
    atomic.write_text(folder / "choices.json", json.dumps(description | decisions, indent=1) + "\n")
    write_csv(folder / "results.csv", tables.results, RESULT_COLUMNS)
    write_csv(folder / "curves.csv", tables.curves, CURVE_COLUMNS)


def _parts(
    study: Study, folder: Path, tuning: Experiment, choices: _Choices, refusals: Mapping[str, str]
) -> Iterable[_Part]:
    """Yield what is trained with the chosen settings, by seed and engine, without `refusals`, see `_refusals`."""
    if study.dataset.simulate is not None:
        study = study.model_copy(update={"dataset": DatasetChoice(folder=folder / "tuning" / "dataset")})
    trained = _chosen(study, choices)
    for seed in study.seeds:
        for engine in study.engines:
            if engine == study.tuned_on and seed == tuning.seed:
                # They were trained to choose.
                names = [f"{name}-{choices[name]['candidates'].index(choices[name]['chosen'])}" for name in trained]
                networks = {name: tuning.networks[name] for name in names}
                yield _Part(tuning.model_copy(update={"networks": networks}), folder / "tuning", tuning)
                continue
            networks = {name: network for name, network in trained.items() if on(name, engine) not in refusals}
            if networks:
                settings = experiment(study, seed, [engine], networks)
                yield _Part(settings, folder / f"seed{seed}-{engine}", settings)


def _measure(part: _Part, toolbox: Toolbox, reporter: Reporter, tables: _Tables) -> None:
    """Train and apply the networks of a part, and add their rows to the tables."""
    failures = _train(part, toolbox, reporter)
    for name, failure in failures.items():
        network, algorithm = parts_of(name)
        key = f"{on(f'{network}-{algorithm}', part.experiment.engines[0])}, seed {part.experiment.seed}"
        tables.diverged[key] = failure["failed"]
    tables.results.extend(diverged_rows(part.experiment, failures))
    tables.curves.extend(diverged_curves(part.experiment, failures))
    networks = {name: trained for name, trained in part.experiment.networks.items() if name not in failures}
    if networks:
        finished = part.experiment.model_copy(update={"networks": networks})
        selection = Selection(phases=("train", "apply"))
        _raise_failed(run_experiment(finished, part.folder, toolbox, reporter, selection, part.settings))
        tables.results.extend(cost_rows(finished, part.folder))
        tables.curves.extend(curve_rows(finished, part.folder))


def _train(part: _Part, toolbox: Toolbox, reporter: Reporter) -> dict[str, Record]:
    """Train what is missing; return the record of the failure of each network whose training diverged.

    Raises:
        ToolError: A training failed in another way.
    """
    selection = Selection(phases=("train",))
    outcome = run_experiment(part.experiment, part.folder, toolbox, reporter, selection, part.settings)
    failures = {}
    for run in images.runs(part.experiment, part.folder):
        with suppress(OSError):
            record = json.loads(run.failure("train").read_text())
            if DIVERGED in record:
                failures[run.name] = record
    if len(failures) < len(outcome.failed):
        _raise_failed(outcome)
    return failures


def _raise_failed(outcome: Outcome) -> None:
    if outcome.failed:
        title, reason = next(iter(outcome.failed.items()))
        raise ToolError(f"{title} failed ({len(outcome.failed)} in all): {reason}")


def _choose(study: Study, tuning: Experiment, folder: Path) -> _Choices:
    """Take the candidate of each optimizer with the least error of the validation slices after the last epoch."""
    choices = {}
    for network in study.networks:
        for algorithm, grid in study.optimizers.items():
            names = [f"{network}-{algorithm}-{number}" for number in range(len(grid))]
            scores = [_score(Run(folder, name, study.tuned_on)) for name in names]
            best = int(np.argmin(np.where(np.isfinite(scores), scores, np.inf)))
            is_finite = bool(np.isfinite(scores[best]))
            rates = [study.trained(algorithm, candidate).learning_rate for candidate in grid]
            choices[f"{network}-{algorithm}"] = {
                "candidates": grid,
                "scores": [score if np.isfinite(score) else None for score in scores],
                "chosen": grid[best] if is_finite else None,
                "at_the_edge": is_finite and min(rates) < max(rates) and rates[best] in (min(rates), max(rates)),
            }
    return choices


def _score(run: Run) -> float:
    """Return the error after the last epoch; NaN for a training that diverged."""
    return float(read_history(run)[CHOSEN_BY][-1, -1]) if run.record("train").exists() else float("nan")


def _chosen(study: Study, choices: _Choices) -> dict[str, TrainedNetwork]:
    """Return the networks with the chosen settings of each optimizer, without those that have none."""
    return {
        f"{name}-{algorithm}": TrainedNetwork(
            network=network, training=study.trained(algorithm, choices[f"{name}-{algorithm}"]["chosen"])
        )
        for name, network in study.networks.items()
        for algorithm in study.optimizers
        if choices[f"{name}-{algorithm}"]["chosen"] is not None
    }


def _refusals(study: Study, choices: _Choices, toolboxes: Mapping[str, Toolbox]) -> dict[str, str]:
    """Say why a BART cannot train networks with their chosen settings, by network, optimizer and engine, see `on`."""
    refusals = {}
    for engine in filter(is_bart, study.engines):
        for name, trained in _chosen(study, choices).items():
            try:
                commands.check_algorithm(toolboxes[engine], trained.network, trained.training)
            except InputError as error:
                refusals[on(name, engine)] = str(error)
    return refusals
