"""The tables of an optimizer study: cost and quality of each run, and its error after each epoch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError, why_unreadable
from compare.measuring import timing
from compare.results import images as reconstructions
from compare.results.rows import quality_rows
from compare.results.table_files import read_csv
from compare.running.records import DIVERGED, Record
from compare.running.run_files import STUDY, Run
from compare.settings.engine_names import is_bart
from compare.settings.experiment import Experiment
from compare.study.choices import Choices, read_choices
from compare.study.settings import Study, load_kept

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]
CHOSEN_BY = "nmse mag"
# Columns of a history that iPALM and ADMM have; they are missing for the others.
_OF_SOME = ("loss_evaluations", "primal_residual", "dual_residual")
_QUALITY = ("psnr", "ssim", "nmse", "psnr_fastmri", "nmse_fastmri", "ssim_fastmri")
_KEYS = ("network", "optimizer", "engine", "seed")
RESULT_COLUMNS = (
    *_KEYS,
    *_QUALITY,
    *("step_s", "train_s", "peak_rss_bytes", "gpu_peak_bytes", "state_bytes"),
    DIVERGED,
    "times",
)
CURVE_COLUMNS = (
    *_KEYS,
    *("epoch", "steps", "gradient_evaluations", "training_s", "loss", "error"),
    *_OF_SOME,
)


def read(folder: Path) -> tuple[Study, Choices, pandas.DataFrame, pandas.DataFrame]:
    """Read a study, its choices, results and curves.

    Raises:
        InputError: The folder has no results of a study yet, or damaged ones.
    """
    try:
        study = load_kept(folder / STUDY)
        table = read_csv(folder / "results.csv", RESULT_COLUMNS[4:-1], ["seed"], RESULT_COLUMNS[:-2])
        curves = read_csv(folder / "curves.csv", CURVE_COLUMNS[5:], ["seed", "epoch"], CURVE_COLUMNS[:10])
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: has no results of an optimizer study that can be read ({why_unreadable(error)})"
        ) from None
    return study, read_choices(folder / "choices.json", study), table, curves


def diverged(folder: Path) -> dict[str, str]:
    """Return why runs of a study have no result, by their names; empty for studies of earlier versions.

    Raises:
        InputError: As for `read`.
    """
    lost: dict[str, str] = read(folder)[1].get("diverged", {})
    return lost


def parts_of(name: str) -> tuple[str, str]:
    """Return network and optimizer from the name of a run or of a candidate."""
    words = name.split("-")
    if words[-1].isdigit():
        words.pop()
    return "-".join(words[:-1]), words[-1]


def read_history(run: Run) -> dict[str, NDArray[np.float64]]:
    """Read the columns of a training, `(epoch, batch)`, the epochs of its stages one after the other.

    A column `step_s` is added, the seconds of a step in the stage, see `_step_s`.
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


def cost_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    """Yield the cost of each run and the quality of its test slices."""
    images = reconstructions.open_images(experiment, folder)
    reference = images.pop(reconstructions.REFERENCE)
    quality: dict[str, dict[str, list[float]]] = {}
    for row in quality_rows(images, reference):
        quality.setdefault(row["network"], {}).setdefault(row["metric"], []).append(row["value"])
    for run in reconstructions.runs(experiment, folder):
        network, algorithm = parts_of(run.name)
        used = json.loads(run.record("train").read_text())["measurement"]
        continued = timing.continued(used["ending"])
        yield {
            "network": network,
            "optimizer": algorithm,
            "engine": run.engine,
            "seed": experiment.seed,
            **{metric: float(np.mean(values)) for metric, values in quality[run.name].items()},
            "step_s": None if continued else _known(read_history(run)["step_s"][-1, -1]),
            "train_s": None if continued else used["elapsed_s"],
            "peak_rss_bytes": used["peak_rss_bytes"],
            "gpu_peak_bytes": used["gpu_peak_bytes"],
            "state_bytes": _state_bytes(run.folder / "weights.keras") if not is_bart(run.engine) else None,
            "times": continued,
        }


def curve_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    """Yield the state of each run after each epoch."""
    for run in reconstructions.runs(experiment, folder):
        network, algorithm = parts_of(run.name)
        history = read_history(run)
        epochs, batches = history["loss"].shape
        steps = batches * np.arange(1, epochs + 1)
        training_s = np.cumsum(history["step_s"].sum(axis=1))
        # SGD, Adam and ADMM evaluate one gradient a step. BART does not report how many its iPALM evaluates.
        gradients = history["gradient_evaluations"][:, -1] if "gradient_evaluations" in history else steps
        counts_gradients = not is_bart(run.engine) or algorithm != "ipalm"
        continued = timing.continued(json.loads(run.record("train").read_text())["measurement"]["ending"])
        for epoch in range(epochs):
            yield {
                "network": network,
                "optimizer": algorithm,
                "engine": run.engine,
                "seed": experiment.seed,
                "epoch": epoch + 1,
                "steps": int(steps[epoch]),
                "gradient_evaluations": float(gradients[epoch]) if counts_gradients else None,
                "training_s": None if continued else _known(training_s[epoch]),
                "loss": float(history["loss"][epoch].mean()),
                "error": float(history[CHOSEN_BY][epoch, -1]),
                **{name: float(history[name][epoch, -1]) for name in _OF_SOME if name in history},
            }


def diverged_rows(experiment: Experiment, failures: Mapping[str, Record]) -> Iterator[Row]:
    """Yield where trainings diverged, from the records of their failures by name; all other columns are empty."""
    for name, failure in failures.items():
        yield _keys(experiment, name) | {DIVERGED: failure[DIVERGED]}


def diverged_curves(experiment: Experiment, failures: Mapping[str, Record]) -> Iterator[Row]:
    """Yield a point without a finite error after the last epoch, which these trainings did not reach."""
    for name in failures:
        training = experiment.networks[name].training
        epochs = training.pretraining_epochs + training.epochs
        yield _keys(experiment, name) | {"epoch": epochs, "error": float("nan")}


def _keys(experiment: Experiment, name: str) -> Row:
    network, algorithm = parts_of(name)
    (engine,) = experiment.engines
    return {"network": network, "optimizer": algorithm, "engine": engine, "seed": experiment.seed}


def _known(seconds: float) -> float | None:
    """Return seconds, None if they are NaN."""
    return None if np.isnan(seconds) else float(seconds)


def _step_s(seconds: NDArray[np.float64]) -> float:
    """Return the mean seconds of a step in the median epoch.

    The first epoch is left out because graphs are compiled in it. Of a single epoch, only the first step is left out;
    NaN if it has no other. The validation after an epoch is in no engine's time.
    """
    epochs, steps = seconds.shape
    if epochs > 1:
        return float(np.median(seconds[1:, -1])) / steps
    return float(np.median(np.diff(seconds[0]))) if steps > 1 else float("nan")


def _state_bytes(model: Path) -> int:
    """Return the size of the optimizer's state in a saved model, bytes."""
    import h5py

    with zipfile.ZipFile(model) as archive, archive.open("model.weights.h5") as file, h5py.File(file) as stored:
        variables = stored["optimizer/vars"]
        return sum(variables[name].nbytes for name in variables)
