"""The one tidy table of an experiment, made from its records and images.

Everything that is shown is a query on `results.csv`; the loss curves, which have an epoch, are in `history.csv`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge import cfl
from bart_bridge.cfl import write_text_atomically
from bart_bridge.dataset import Dataset
from bart_bridge.dims import to_batch_coil_yx
from bart_bridge.errors import InputError
from bart_bridge.toolbox import Toolbox
from compare import engines, machine, quality
from compare.config import Experiment
from compare.steps import ZERO_FILLED, Run, references

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "experiment",
    "dataset",
    "engine",
    "engine_version",
    "backend",
    "memory_plan",
    "device",
    "network",
    "optimizer",
    "seed",
    "repeat",
    "phase",
    "slice",
    "metric",
    "value",
    "unit",
    "definition",
    "machine",
)
HISTORY_COLUMNS = ("network", "engine", "stage", "epoch", "batch", "seconds", "loss")
NOT_AVAILABLE = "n/a"
_USED = {
    "elapsed": ("elapsed_s", "s", "wall seconds of the child processes, their start and set-up included"),
    "cpu": ("cpu_s", "s", "user and system seconds of the child processes"),
    "peak_rss": ("peak_rss_bytes", "byte", "largest resident set of a child process"),
    "gpu_peak": ("gpu_peak_bytes", "byte", ""),
}
Row = dict[str, Any]
Images = dict[tuple[str, str, str], NDArray[np.complex64]]


def write(experiment: Experiment, folder: Path, toolbox: Toolbox) -> None:
    """Write `results.csv`, `history.csv` and `machine.json` of an experiment from what is there of it."""
    import pandas as pd

    description = machine.describe()
    write_text_atomically(folder / "machine.json", json.dumps(description, indent=1) + "\n")
    common = {
        "experiment": experiment.name,
        "dataset": _dataset_name(experiment),
        "device": experiment.device,
        "repeat": 0,
        "machine": machine.label(description),
    }
    rows = [common | row for row in _rows(experiment, folder, toolbox)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    write_text_atomically(folder / "results.csv", table.to_csv(index=False))
    history = pd.DataFrame(_history_rows(experiment, folder), columns=list(HISTORY_COLUMNS))
    write_text_atomically(folder / "history.csv", history.to_csv(index=False))


def read(folder: Path) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Read `results.csv` and `history.csv`; values that are not available are NaN.

    Raises:
        InputError: A file is missing or has other columns.
    """
    import pandas as pd

    tables = []
    for name in ("results.csv", "history.csv"):
        try:
            tables.append(pd.read_csv(folder / name, keep_default_na=False, na_values={"value": [NOT_AVAILABLE]}))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder / name}: cannot be read ({' '.join(str(error).split())})") from None
    if tuple(tables[0].columns) != COLUMNS:
        raise InputError(f"{folder / 'results.csv'}: columns must be {', '.join(COLUMNS)}")
    return tables[0], tables[1]


def images(experiment: Experiment, folder: Path) -> Images:
    """Open the images of the test slices that are there, `(batch, y, x)`, by (network, engine, phase).

    The reference has the key `("", "reference", "")`.
    """
    found = {("", "reference", ""): test_references(experiment, folder)}
    for name in references(experiment):
        if cfl.exists(folder / "references" / name):
            found["", name, "apply"] = _images(folder / "references" / name)
    for run in runs(experiment, folder):
        for phase in ("initial", "apply"):
            if run.record(phase).exists() and cfl.exists(run.images(phase)):
                found[run.name, run.engine, phase] = _images(run.images(phase))
    return found


def runs(experiment: Experiment, folder: Path) -> list[Run]:
    """List the runs of an experiment, network by network."""
    return [Run(folder, name, engine) for name in experiment.networks for engine in experiment.engines]


def test_references(experiment: Experiment, folder: Path) -> NDArray[np.complex64]:
    """Open the reference images of the test slices, `(batch, y, x)`."""
    dataset = Dataset.open(experiment.dataset.folder or folder / "dataset")
    return dataset.split("test").arrays()["reference"][:, 0]


def quality_rows(images: Images, reference: NDArray[np.complex64]) -> Iterator[Row]:
    """Measure every slice of every reconstruction against the reference `(batch, y, x)`."""
    for (network, engine, phase), reconstruction in images.items():
        columns = {"network": network, "engine": engine, "phase": phase}
        for number, pair in enumerate(zip(reconstruction, reference, strict=True)):
            for metric, value in quality.measures(*pair).items():
                yield columns | _value(metric, value, quality.UNITS[metric], quality.DEFINITIONS[metric], number)


def _rows(experiment: Experiment, folder: Path, toolbox: Toolbox) -> Iterator[Row]:
    all_images = images(experiment, folder)
    reference = all_images.pop(("", "reference", ""))
    identity = {
        name: _engine_columns(experiment, name, toolbox) for name in (*references(experiment), *experiment.engines)
    }
    for row in quality_rows(all_images, reference):
        yield identity[row["engine"]] | _network_columns(experiment, row["network"]) | row
    for run in runs(experiment, folder):
        for phase in ("initial", "train", "apply"):
            if run.record(phase).exists():
                columns = identity[run.engine] | _network_columns(experiment, run.name) | {"phase": phase}
                record = json.loads(run.record(phase).read_text())
                yield from (columns | row for row in _record_rows(record))
    for name in experiment.baselines:
        chosen = folder / "references" / f"{name}.json"
        if chosen.exists():
            value = json.loads(chosen.read_text())["regularization"]
            definition = f"weight of the regularization of {_tool(name)}, best mean PSNR on the validation slices"
            yield identity[name] | {"phase": "train"} | _value("regularization", value, "1", definition)


def _record_rows(record: dict[str, Any]) -> Iterator[Row]:
    measurement = record["measurement"]
    for metric, (key, unit, definition) in _USED.items():
        yield _value(metric, measurement[key], unit, definition or measurement["gpu_note"])
    if "loss" in record:
        yield _value("loss", record["loss"], "1", "mean training loss of the last epoch's batches, before each update")
        yield _value("updates", record["updates"], "1", "updates of the weights, all stages")


def _value(metric: str, value: float | None, unit: str, definition: str, slice_number: int | str = "") -> Row:
    shown = NOT_AVAILABLE if value is None else value
    return {"metric": metric, "value": shown, "unit": unit, "definition": definition, "slice": slice_number}


def _engine_columns(experiment: Experiment, name: str, toolbox: Toolbox) -> Row:
    if name == ZERO_FILLED:
        return {"engine": name}
    if name in experiment.baselines:
        return {"engine": name, "engine_version": f"{_tool(name)} {toolbox.version_text}"}
    engine = engines.create(name, experiment.device, toolbox)  # type: ignore[arg-type]
    return {
        "engine": name,
        "engine_version": engine.version,
        "backend": engine.backend,
        "memory_plan": engine.memory_plan,
    }


def _tool(baseline: str) -> str:
    return "bart nufft" if baseline == "gridding" else "bart pics"


def _network_columns(experiment: Experiment, name: str) -> Row:
    if not name:
        return {}
    optimizer = experiment.networks[name].training.algorithm
    return {"network": name, "optimizer": optimizer, "seed": experiment.seed}


def _history_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    for run in runs(experiment, folder):
        if not run.record("train").exists():
            continue
        with np.load(run.folder / "history.npz") as history:
            first = 0
            for stage in (1, 2):
                if f"stage{stage}_loss" not in history:
                    break
                losses, seconds = history[f"stage{stage}_loss"], history[f"stage{stage}_seconds"]
                for epoch, batch in np.ndindex(losses.shape):
                    yield {
                        "network": run.name,
                        "engine": run.engine,
                        "stage": stage,
                        "epoch": first + epoch + 1,
                        "batch": batch + 1,
                        "seconds": seconds[epoch, batch],
                        "loss": losses[epoch, batch],
                    }
                first += len(losses)


def _dataset_name(experiment: Experiment) -> str:
    folder = experiment.dataset.folder
    return folder.name if folder else "simulated phantoms"


def _images(path: Path) -> NDArray[np.complex64]:
    return to_batch_coil_yx(cfl.read(path))[:, 0]
