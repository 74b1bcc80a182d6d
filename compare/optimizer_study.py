"""The optimizer study: every optimizer tuned with the same budget, then trained from several initial weights.

Each seed is an experiment of its own (`compare.experiment`), so that an interrupted study continues.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from bart_bridge import cfl, reconet
from bart_bridge.errors import InputError, ToolError
from bart_bridge.settings import Network, Settings, Training
from bart_bridge.toolbox import Toolbox
from compare import machine, results
from compare.config import (
    DatasetChoice,
    EngineName,
    Experiment,
    TrainedNetwork,
    dataset_from,
    describe,
    validated,
)
from compare.config import (
    read as read_settings,
)
from compare.console import Reporter
from compare.experiment import run as run_experiment
from compare.steps import Run

if TYPE_CHECKING:
    import pandas

Algorithm = Literal["sgd", "adam", "ipalm", "admm"]
KERAS: EngineName = "keras-tensorflow"
CHOSEN_BY = "nmse mag"
STUDY = "study.yaml"
# Columns of a history that iPALM and ADMM have; n/a for the others.
_OF_SOME = ("loss_evaluations", "primal_residual", "dual_residual")


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
        return validated({**self.training, "algorithm": algorithm, **candidate}, Training)


@contextmanager
def _in_one_line(where: str = "") -> Iterator[None]:
    """Put a fault of settings that are made of others into the words of the study."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(where + describe(error).removeprefix("the file: Value error, ")) from None


def load(path: Path) -> Study:
    """Read a study.

    Raises:
        InputError: The file cannot be read or breaks a rule, which the message names.
    """
    study = read_settings(path, Study)
    return study.model_copy(update={"dataset": dataset_from(path, study.dataset)})


def run(study: Study, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
    """Tune, train and measure what is missing, and write `study.yaml`, `choices.json`, `results.csv` and `curves.csv`.

    Raises:
        InputError: The dataset is not usable, or an engine cannot use the device.
        ToolError: A run failed; what was finished is kept.
    """
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    cfl.write_text_atomically(folder / STUDY, yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    tuning = _experiment(study, study.seeds[0], [KERAS], _candidates(study))
    _do(tuning, folder / "tuning", toolbox, reporter, ("train",))
    choices = _choose(study, tuning, folder / "tuning")
    if study.dataset.simulate is not None:
        study = study.model_copy(update={"dataset": DatasetChoice(folder=folder / "tuning" / "dataset")})
    reasons: dict[str, str] = {}
    parts: list[tuple[Experiment, Path]] = []
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for seed in study.seeds:
        for engine in study.engines:
            trained = _chosen(study, choices)
            if engine == KERAS and seed == tuning.seed:
                # They were trained to choose.
                names = [f"{name}-{choice['candidates'].index(choice['chosen'])}" for name, choice in choices.items()]
                experiment = tuning.model_copy(update={"networks": {name: tuning.networks[name] for name in names}})
                parts.append((experiment, folder / "tuning"))
                continue
            if engine == "bart":
                reasons = {name: reason for name, of in trained.items() if (reason := _refusal(toolbox, of))}
                trained = {name: of for name, of in trained.items() if name not in reasons}
            if trained:
                parts.append((_experiment(study, seed, [engine], trained), folder / f"seed{seed}-{engine}"))
    for experiment, part in parts:
        _do(experiment, part, toolbox, reporter, ("train", "apply"))
        rows += _rows(experiment, part)
        curves += _curves(experiment, part)
    description = {"machine": machine.label(machine.describe()), "bart": toolbox.version_text}
    content = {**description, "choices": choices, "reasons": reasons, "chosen_by": CHOSEN_BY}
    cfl.write_text_atomically(folder / "choices.json", json.dumps(content, indent=1) + "\n")
    for name, table in (("results.csv", rows), ("curves.csv", curves)):
        cfl.write_text_atomically(folder / name, pd.DataFrame(table).to_csv(index=False, na_rep=results.NOT_AVAILABLE))


def read(folder: Path) -> tuple[Study, dict[str, Any], pandas.DataFrame, pandas.DataFrame]:
    """Read a study, its choices, results and curves.

    Raises:
        InputError: The folder holds no finished study.
    """
    import pandas as pd

    try:
        tables = [pd.read_csv(folder / name, na_values=["n/a"]) for name in ("results.csv", "curves.csv")]
        return load(folder / STUDY), json.loads((folder / "choices.json").read_text()), *tables
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: not the folder of a finished study ({' '.join(str(error).split())})") from None


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
    }


def _parts(name: str) -> tuple[str, str]:
    """Return network and optimizer from the name of a run or of a candidate."""
    words = name.split("-")
    if words[-1].isdigit():
        words.pop()
    return "-".join(words[:-1]), words[-1]


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


def _do(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter, phases: tuple[str, ...]) -> None:
    outcome = run_experiment(experiment, folder, toolbox, reporter, phases=phases)
    if outcome.failed:
        title, reason = next(iter(outcome.failed.items()))
        raise ToolError(f"{title} failed ({len(outcome.failed)} in all): {reason}")


def _choose(study: Study, tuning: Experiment, folder: Path) -> dict[str, Any]:
    """Take the candidate of each optimizer with the least error of the validation slices after the last epoch."""
    choices = {}
    for network in study.networks:
        for algorithm, candidates in study.optimizers.items():
            names = [f"{network}-{algorithm}-{number}" for number in range(len(candidates))]
            scores = [float(_history(Run(folder, name, KERAS))[CHOSEN_BY][-1, -1]) for name in names]
            if not np.isfinite(scores).any():
                raise ToolError(
                    f"{network}: no candidate of {algorithm} ends with a finite error; choose smaller steps"
                )
            best = int(np.nanargmin(np.where(np.isfinite(scores), scores, np.nan)))
            shown = [None if not np.isfinite(score) else score for score in scores]
            rates = [study.trained(algorithm, candidate).learning_rate for candidate in candidates]
            choices[f"{network}-{algorithm}"] = {
                "candidates": candidates,
                "scores": shown,
                "chosen": candidates[best],
                "at_the_edge": min(rates) < max(rates) and rates[best] in (min(rates), max(rates)),
            }
    return choices


def _refusal(toolbox: Toolbox, trained: TrainedNetwork) -> str:
    try:
        reconet.check_algorithm(toolbox, trained.network, trained.training)
    except InputError as error:
        return str(error)
    return ""


def _history(run: Run) -> dict[str, NDArray[np.float64]]:
    """Read the columns of a training, `(epoch, batch)`, the epochs of its stages one after the other.

    A column `step_s` is added, the mean seconds of a step in the stage.
    """
    with np.load(run.folder / "history.npz") as history:
        stages = [
            {name.removeprefix(prefix): history[name] for name in history.files if name.startswith(prefix)}
            for prefix in ("stage1_", "stage2_")
        ]
    for stage in stages:
        if stage:
            stage["step_s"] = np.full(stage["loss"].shape, _step_s(stage["seconds"]))
    first, second = stages
    # Each stage counts anew.
    for name in second:
        if name.endswith("_evaluations"):
            second[name] = first[name][-1, -1] + second[name]
    return {name: np.concatenate([values, second[name]]) for name, values in first.items()} if second else first


def _rows(experiment: Experiment, folder: Path) -> Iterator[dict[str, Any]]:
    """Say what each run cost and how well it reconstructs the test slices."""
    images = results.images(experiment, folder)
    reference = images.pop(("", "reference", ""))
    quality: dict[str, dict[str, list[float]]] = {}
    for row in results.quality_rows(images, reference):
        quality.setdefault(row["network"], {}).setdefault(row["metric"], []).append(row["value"])
    for run in results.runs(experiment, folder):
        network, algorithm = _parts(run.name)
        used = json.loads(run.record("train").read_text())["measurement"]
        yield {
            "network": network,
            "optimizer": algorithm,
            "engine": run.engine,
            "seed": experiment.seed,
            **{metric: float(np.mean(values)) for metric, values in quality[run.name].items()},
            "step_s": float(_history(run)["step_s"][-1, -1]),
            "train_s": used["elapsed_s"],
            "peak_rss_bytes": used["peak_rss_bytes"],
            "gpu_peak_bytes": used["gpu_peak_bytes"],
            "state_bytes": _state_bytes(run.folder / "weights.keras") if run.engine == KERAS else None,
        }


def _curves(experiment: Experiment, folder: Path) -> Iterator[dict[str, Any]]:
    """Say where each run is after each epoch."""
    for run in results.runs(experiment, folder):
        network, algorithm = _parts(run.name)
        history = _history(run)
        epochs, batches = history["loss"].shape
        steps = batches * np.arange(1, epochs + 1)
        training_s = np.cumsum(history["step_s"].sum(axis=1))
        # SGD, Adam and ADMM take one gradient a step; of BART's iPALM nobody knows how many.
        gradients = history["gradient_evaluations"][:, -1] if "gradient_evaluations" in history else steps
        known = run.engine == KERAS or algorithm != "ipalm"
        for epoch in range(epochs):
            yield {
                "network": network,
                "optimizer": algorithm,
                "engine": run.engine,
                "seed": experiment.seed,
                "epoch": epoch + 1,
                "steps": int(steps[epoch]),
                "gradient_evaluations": float(gradients[epoch]) if known else None,
                "training_s": float(training_s[epoch]),
                "loss": float(history["loss"][epoch].mean()),
                "error": float(history[CHOSEN_BY][epoch, -1]),
                **{name: float(history[name][epoch, -1]) for name in _OF_SOME if name in history},
            }


def _step_s(seconds: NDArray[np.float64]) -> float:
    """Return the mean seconds of a step; NaN with fewer than two epochs or three batches.

    Without the first epoch, in which graphs are made, without first batches, whose start is not recorded, and without
    last ones, which may have the validation in them.
    """
    steps = np.diff(seconds, axis=1)[1:, :-1]
    return float(steps.mean()) if steps.size else float("nan")


def _state_bytes(model: Path) -> int:
    """Add up what the optimizer keeps, from the saved model."""
    import h5py

    with zipfile.ZipFile(model) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as stored:
        variables = stored["optimizer/vars"]
        return sum(variables[name].nbytes for name in variables)
