"""The optimizer study: every optimizer tuned with the same budget, then trained from several initial weights.

Each seed is an experiment of its own (`compare.running.runner`), so that an interrupted study continues.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from pydantic import Field, ValidationError, model_validator

from bart_bridge.errors import InputError, ToolError, first_fault
from bart_bridge.files import atomic
from bart_bridge.reconet import commands
from bart_bridge.reconet.network_settings import Network, Settings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.engines.create import create
from compare.measuring import machine
from compare.results import images
from compare.results.cost_rows import DIVERGED
from compare.results.table_files import read_csv, write_csv
from compare.running import locks
from compare.running.prepared_data import prepare, refuse_foreign
from compare.running.run_files import Run
from compare.running.runner import Outcome, check_bart
from compare.running.runner import run as run_experiment
from compare.settings import strict, without_effect
from compare.settings.engine_names import EngineName
from compare.settings.experiment import DatasetChoice, Experiment, TrainedNetwork, dataset_from
from compare.study.rows import (
    CHOSEN_BY,
    CURVE_COLUMNS,
    KERAS,
    RESULT_COLUMNS,
    cost_rows,
    curve_rows,
    diverged_curves,
    diverged_rows,
    parts_of,
    read_history,
)

if TYPE_CHECKING:
    import pandas

Algorithm = Literal["sgd", "adam", "ipalm", "admm"]
STUDY = "study.yaml"


class Study(Settings):
    """What is compared.

    Attributes:
        name: As of an experiment.
        description: A sentence for the report.
        dataset: The data.
        networks: Networks by the name they have in the results.
        training: What all optimizers share: batch size, epochs, loss.
        seeds: Seeds of the initial weights, at least three.
        optimizers: Candidates of each optimizer, the settings of `Training` in which they differ; as many for each.
        engines: Engines to run; Keras, which has all optimizers, among them.
        device: `cpu` or `gpu`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    description: str = ""
    dataset: DatasetChoice
    networks: dict[str, Network] = Field(min_length=1)
    training: dict[str, Any]
    seeds: list[int] = Field(min_length=3)
    optimizers: dict[Algorithm, list[dict[str, Any]]] = Field(min_length=1)
    engines: list[EngineName] = Field(default=["bart", "keras-tensorflow"])
    device: Literal["cpu", "gpu"] = "cpu"

    @model_validator(mode="after")
    def _fair(self) -> Study:
        counts = {name: len(candidates) for name, candidates in self.optimizers.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ValueError(f"every optimizer needs the same number of candidates, received {counts}")
        if KERAS not in self.engines:
            raise ValueError(f"engines must have {KERAS}, which has all optimizers")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ, received {self.seeds}")
        for name, candidates in self.optimizers.items():
            for candidate in candidates:
                with _in_one_line(f"optimizers.{name}: "):
                    self.trained(name, candidate)
        # What an experiment refuses, such as an engine that does not exist, is refused here.
        for seed in self.seeds:
            with _in_one_line():
                _experiment(self, seed, self.engines, _candidates(self))
        return self

    def trained(self, algorithm: str, candidate: dict[str, Any]) -> Training:
        """Return the training of a candidate.

        Raises:
            ValueError: It names an algorithm itself.
            ValidationError: A key is unknown, or a value has the wrong type or range.
        """
        if "algorithm" in {*self.training, *candidate}:
            raise ValueError("algorithm: the name in optimizers says it, leave it out")
        return strict.validated({**self.training, "algorithm": algorithm, **candidate}, Training)


@contextmanager
def _in_one_line(where: str = "") -> Iterator[None]:
    """Put a fault of settings that are made of others into the words of the study."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(where + first_fault(error)) from None


def load(path: Path) -> Study:
    """Read a study that a user wrote.

    Raises:
        InputError: The file cannot be read or breaks a rule, which the message names (see
            `compare.settings.without_effect`).
    """
    study = load_kept(path)
    without_effect.refuse(path, without_effect.in_study(study))
    return study


def load_kept(path: Path) -> Study:
    """Read the study that a folder keeps, as `config.load_kept` does.

    Raises:
        InputError: The file cannot be read or breaks a rule, which the message names.
    """
    study = strict.read(path, Study)
    return study.model_copy(update={"dataset": dataset_from(path, study.dataset)})


def run(study: Study, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
    """Tune, train and measure what is missing, and write `study.yaml`, `choices.json`, `results.csv` and `curves.csv`.

    Candidates that diverge are not chosen. Other runs that diverge are named in `choices.json`, see `diverged`.

    Raises:
        InputError: The dataset is not usable, or an engine cannot use the device.
        ToolError: A run failed in another way; what was finished is kept.
    """
    refuse_foreign(folder, STUDY)
    for name in study.engines:
        create(name, study.device, toolbox)
    tuning = _experiment(study, study.seeds[0], [KERAS], _candidates(study))
    check_bart(tuning, folder, dict.fromkeys(study.engines, toolbox))
    prepare(tuning, folder / "tuning", toolbox, reporter)  # refuses what must not replace the study that is there
    with locks.held(folder):
        atomic.write_text(folder / STUDY, yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    _train(tuning, folder / "tuning", toolbox, reporter, tuning)
    choices = _choose(study, tuning, folder / "tuning")
    if study.dataset.simulate is not None:
        study = study.model_copy(update={"dataset": DatasetChoice(folder=folder / "tuning" / "dataset")})
    reasons: dict[str, str] = {}
    lost = {
        name: "no candidate ends with a finite error; choose smaller steps"
        for name, choice in choices.items()
        if choice["chosen"] is None
    }
    if len(lost) == len(choices):
        raise ToolError("no candidate of any optimizer ends with a finite error; choose smaller steps")
    parts: list[tuple[Experiment, Path, Experiment]] = []
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for seed in study.seeds:
        for engine in study.engines:
            trained = _chosen(study, choices)
            if engine == KERAS and seed == tuning.seed:
                # They were trained to choose.
                names = [
                    f"{name}-{choice['candidates'].index(choice['chosen'])}"
                    for name, choice in choices.items()
                    if name not in lost
                ]
                experiment = tuning.model_copy(update={"networks": {name: tuning.networks[name] for name in names}})
                parts.append((experiment, folder / "tuning", tuning))
                continue
            if engine == "bart":
                reasons = {name: reason for name, of in trained.items() if (reason := _refusal(toolbox, of))}
                trained = {name: of for name, of in trained.items() if name not in reasons}
            if trained:
                experiment = _experiment(study, seed, [engine], trained)
                parts.append((experiment, folder / f"seed{seed}-{engine}", experiment))
    for experiment, part, settings in parts:
        failures = _train(experiment, part, toolbox, reporter, settings)
        for name, failure in failures.items():
            network, algorithm = parts_of(name)
            lost[f"{network}-{algorithm} on {experiment.engines[0]}, seed {experiment.seed}"] = failure["failed"]
        kept = {name: of for name, of in experiment.networks.items() if name not in failures}
        rows += diverged_rows(experiment, failures)
        curves += diverged_curves(experiment, failures)
        if kept:
            complete = experiment.model_copy(update={"networks": kept})
            phases = ("train", "apply")
            _raise_failed(run_experiment(complete, part, toolbox, reporter, phases=phases, settings=settings))
            rows += cost_rows(complete, part)
            curves += curve_rows(complete, part)
    description = {"machine": machine.label(machine.describe()), "bart": toolbox.version_text}
    content = {**description, "choices": choices, "reasons": reasons, "chosen_by": CHOSEN_BY, "diverged": lost}
    atomic.write_text(folder / "choices.json", json.dumps(content, indent=1) + "\n")
    write_csv(folder / "results.csv", rows, RESULT_COLUMNS)
    write_csv(folder / "curves.csv", curves, CURVE_COLUMNS)


def read(folder: Path) -> tuple[Study, dict[str, Any], pandas.DataFrame, pandas.DataFrame]:
    """Read a study, its choices, results and curves.

    Raises:
        InputError: The folder holds no finished study.
    """
    try:
        table = read_csv(folder / "results.csv", RESULT_COLUMNS[4:-1], ["seed"], RESULT_COLUMNS[:-2])
        curves = read_csv(folder / "curves.csv", CURVE_COLUMNS[5:], ["seed", "epoch"], CURVE_COLUMNS[:10])
        choices = json.loads((folder / "choices.json").read_text())
        if not isinstance(choices, dict) or "choices" not in choices:
            raise ValueError("choices.json: no choices")
        return load_kept(folder / STUDY), choices, table, curves
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not the folder of a finished study ({' '.join(str(error).split())})") from None


def diverged(folder: Path) -> dict[str, str]:
    """Say why runs of a study have no result, by their names; empty for studies of earlier versions.

    Raises:
        InputError: The folder holds no finished study.
    """
    lost: dict[str, str] = read(folder)[1].get("diverged", {})
    return lost


def _candidates(study: Study) -> dict[str, TrainedNetwork]:
    return {
        f"{network}-{algorithm}-{number}": TrainedNetwork(network=of, training=study.trained(algorithm, candidate))
        for network, of in study.networks.items()
        for algorithm, candidates in study.optimizers.items()
        for number, candidate in enumerate(candidates)
    }


def _chosen(study: Study, choices: dict[str, Any]) -> dict[str, TrainedNetwork]:
    return {
        f"{network}-{algorithm}": TrainedNetwork(
            network=of, training=study.trained(algorithm, choices[f"{network}-{algorithm}"]["chosen"])
        )
        for network, of in study.networks.items()
        for algorithm in study.optimizers
        if choices[f"{network}-{algorithm}"]["chosen"] is not None
    }


def _experiment(study: Study, seed: int, engines: list[EngineName], networks: dict[str, TrainedNetwork]) -> Experiment:
    return Experiment(
        name=study.name,
        dataset=study.dataset,
        networks=networks,
        engines=engines,
        device=study.device,
        seed=seed,
        validate_epochs=True,
    )


def _train(
    experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter, settings: Experiment
) -> dict[str, dict[str, Any]]:
    """Train what is missing; return the record of the failure of each network whose training diverged.

    Raises:
        ToolError: A training failed in another way.
    """
    outcome = run_experiment(experiment, folder, toolbox, reporter, phases=("train",), settings=settings)
    lost = {}
    for run in images.runs(experiment, folder):
        with suppress(OSError):
            record = json.loads(run.failure("train").read_text())
            if DIVERGED in record:
                lost[run.name] = record
    if len(lost) < len(outcome.failed):
        _raise_failed(outcome)
    return lost


def _raise_failed(outcome: Outcome) -> None:
    if outcome.failed:
        title, reason = next(iter(outcome.failed.items()))
        raise ToolError(f"{title} failed ({len(outcome.failed)} in all): {reason}")


def _choose(study: Study, tuning: Experiment, folder: Path) -> dict[str, Any]:
    """Take the candidate of each optimizer with the least error of the validation slices after the last epoch."""
    choices = {}
    for network in study.networks:
        for algorithm, candidates in study.optimizers.items():
            names = [f"{network}-{algorithm}-{number}" for number in range(len(candidates))]
            scores = [_score(Run(folder, name, KERAS)) for name in names]
            best = int(np.argmin(np.where(np.isfinite(scores), scores, np.inf)))
            known = bool(np.isfinite(scores[best]))
            shown = [None if not np.isfinite(score) else score for score in scores]
            rates = [study.trained(algorithm, candidate).learning_rate for candidate in candidates]
            choices[f"{network}-{algorithm}"] = {
                "candidates": candidates,
                "scores": shown,
                "chosen": candidates[best] if known else None,
                "at_the_edge": known and min(rates) < max(rates) and rates[best] in (min(rates), max(rates)),
            }
    return choices


def _score(run: Run) -> float:
    """Return the error after the last epoch; NaN for a training that diverged."""
    return float(read_history(run)[CHOSEN_BY][-1, -1]) if run.record("train").exists() else float("nan")


def _refusal(toolbox: Toolbox, trained: TrainedNetwork) -> str:
    try:
        commands.check_algorithm(toolbox, trained.network, trained.training)
    except InputError as error:
        return str(error)
    return ""
