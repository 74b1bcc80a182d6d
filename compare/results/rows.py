"""The rows of an experiment's tables, made from its records, images and histories."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.baselines import BASELINES
from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError, ToolError, why_unreadable
from bart_bridge.files import atomic
from bart_bridge.tools.toolbox import Toolbox
from compare.measuring import machine, memory_sampling, quality
from compare.results import cost_rows
from compare.results.images import REFERENCE, Images, baseline_record, open_images, read_images, runs, test_references
from compare.results.table_files import NOT_AVAILABLE
from compare.running import records
from compare.running.exchange_steps import exchanges
from compare.running.run_files import Run, exchange_phase, failure_record
from compare.running.steps import PHASES, ZERO_FILLED, baseline_names
from compare.settings.engine_names import BART, KerasEngineName, memory_plan
from compare.settings.experiment import Experiment

Row = dict[str, Any]


def quality_rows(images: Images, reference: NDArray[np.complex64], toolbox: Toolbox | None = None) -> Iterator[Row]:
    """Measure every reconstruction against the reference, `(batch, y, x)`; with a BART also by `bart measure`."""
    for (network, engine, phase), reconstruction in images.items():
        columns = {"network": network, "engine": engine, "phase": phase}
        for number, pair in enumerate(zip(reconstruction, reference, strict=True)):
            for metric, value in quality.measures(*pair).items():
                yield columns | _value(metric, value, quality.UNITS[metric], quality.DEFINITIONS[metric], number)
        volume, ssim = quality.of_volume(reconstruction, reference)
        for metric, value in volume.items():
            yield columns | _quality_value(metric, value, quality.FASTMRI_DEFINITIONS)
        for number, value in enumerate(ssim):
            yield columns | _quality_value("ssim_fastmri", value, quality.FASTMRI_DEFINITIONS, number)
        if toolbox is None:
            continue
        yield from (columns | row for row in _rows_by_bart(reconstruction, reference, toolbox))
        for number, pair in enumerate(zip(reconstruction, reference, strict=True)):
            for metric, value in quality.recomputed(*pair).items():
                yield columns | _quality_value(metric, value, quality.RECOMPUTED_DEFINITIONS, number)


def _rows_by_bart(
    reconstruction: NDArray[np.complex64], reference: NDArray[np.complex64], toolbox: Toolbox
) -> Iterator[Row]:
    try:
        measured = quality.measured_by_bart(reconstruction, reference, toolbox)
    except ToolError as error:
        # Without the command line, whose temporary files have other names each time.
        said = f", {error.stderr_tail[-1]}" if error.stderr_tail else ""
        reason = f"n/a: bart measure failed, exit code {error.returncode}{said}"
        yield from (_quality_value(metric, None, {metric: reason}) for metric in quality.BART_DEFINITIONS)
        return
    for metric, values in measured.items():
        for number, value in enumerate(values):
            yield _quality_value(metric, value, quality.BART_DEFINITIONS, number)


def _quality_value(metric: str, value: float | None, definitions: dict[str, str], number: int | str = "") -> Row:
    return _value(metric, value, quality.UNITS[metric.split("_")[0]], definitions[metric], number)


def result_rows(experiment: Experiment, folder: Path, toolbox: Toolbox) -> Iterator[Row]:
    """Yield the rows of `results.csv`: quality, costs, and the regularization weights of the baselines."""
    common: Row = {
        "experiment": experiment.name,
        "dataset": _dataset_name(experiment, folder),
        "device": experiment.device,
        "repeat": 0,
    }
    for rows in (
        _quality_rows_with_origin(experiment, folder, toolbox),
        _failed_images(experiment, folder),
        _cost_rows(experiment, folder),
        _exchange_rows(experiment, folder),
        _baseline_seconds(experiment, folder),
        _regularization_rows(experiment, folder),
    ):
        yield from (common | row for row in rows)


def _quality_rows_with_origin(experiment: Experiment, folder: Path, toolbox: Toolbox) -> Iterator[Row]:
    images = open_images(experiment, folder)
    reference = images.pop(REFERENCE)
    for row in quality_rows(images, reference, toolbox):
        name, engine = row["network"], row["engine"]
        path = Run(folder, name, engine).record(row["phase"]) if name else baseline_record(folder, engine)
        yield _engine_columns(experiment, engine) | _origin(path, engine) | _network_columns(experiment, name) | row


def _cost_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    for run in runs(experiment, folder, experiment.repeats):
        for phase in PHASES:
            columns = {"phase": phase, "repeat": run.repeat} | _origin(run.record(phase), run.engine)
            columns |= _engine_columns(experiment, run.engine) | _network_columns(experiment, run.name)
            yield from (columns | _value(*cost) for cost in cost_rows.costs_of_phase(run, phase))


def _exchange_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    """Yield how far the images of an engine with weights of another are from those of the other, slice by slice."""
    reference = test_references(experiment, folder) if experiment.exchange_weights else np.empty(0)
    for name in experiment.networks:
        for engine, trained_by in exchanges(experiment, name):
            run, phase = Run(folder, name, engine), exchange_phase(trained_by)
            record = run.record(phase)
            columns = _engine_columns(experiment, engine) | _origin(record, engine) | {"phase": phase}
            columns |= _network_columns(experiment, name)
            own = Run(folder, name, trained_by)
            if not (record.exists() and own.record("apply").exists()):
                failure = _record(failure_record(record))
                if failure:
                    yield columns | _value("image_difference", None, "1", cost_rows.why_missing(failure))
                continue
            pair = [read_images(path) for path in (run.images(phase), own.images("apply"))]
            for number, (image, expected, true) in enumerate(zip(*pair, reference, strict=True)):
                for value in _exchange_values(image, expected, true, engine, trained_by):
                    yield columns | _value(*value, number)


def _exchange_values(
    image: NDArray[np.complex64],
    expected: NDArray[np.complex64],
    reference: NDArray[np.complex64],
    engine: str,
    trained_by: str,
) -> Iterator[tuple[str, float, str, str]]:
    difference = float(np.linalg.norm(image - expected) / np.linalg.norm(expected))
    what = f"image of {engine} with the weights that {trained_by} trained, and image of {trained_by} with them"
    yield "image_difference", difference, "1", f"l2 norm of the difference, by that of the second: {what}"
    psnr = [quality.measures(each, reference)["psnr"] for each in (image, expected)]
    yield "psnr_difference", psnr[0] - psnr[1], "dB", f"PSNR of the first less that of the second: {what}"


def _baseline_seconds(experiment: Experiment, folder: Path) -> Iterator[Row]:
    for name in baseline_names(experiment):
        path = baseline_record(folder, name)
        columns = _engine_columns(experiment, name) | _origin(path, name) | {"phase": "apply"}
        yield from (columns | _value(*cost) for cost in cost_rows.step_seconds(_record(path)))


def _regularization_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    for name in experiment.baselines:
        path = baseline_record(folder, name)
        if path.exists():
            weight = records.load(path, "regularization")["regularization"]
            tool = "bart nufft" if name == "gridding" else "bart pics"
            definition = f"weight of the regularization of {tool}, best mean PSNR on the validation slices"
            columns = _engine_columns(experiment, name) | _origin(path, name) | {"phase": "train"}
            yield columns | _value("regularization", weight, "1", definition)


def _failed_images(experiment: Experiment, folder: Path) -> Iterator[Row]:
    """Yield a row for each reconstruction that failed, with the reason in place of a value."""
    images = [("", name, "apply", baseline_record(folder, name)) for name in baseline_names(experiment)]
    for run in runs(experiment, folder):
        images += [(run.name, run.engine, phase, run.record(phase)) for phase in ("initial", "apply")]
    for network, engine, phase, path in images:
        failure = {} if path.exists() else _record(failure_record(path))
        if failure:
            columns = (
                _engine_columns(experiment, engine) | _origin(path, engine) | _network_columns(experiment, network)
            )
            reason = cost_rows.why_missing(failure)
            yield columns | {"phase": phase} | _value("psnr", None, quality.UNITS["psnr"], reason)


def _origin(path: Path, engine: str) -> Row:
    """Return the machine, and the version and build of the engine, from a record or from the record of its failure."""
    record = _record(path) or _record(failure_record(path))
    if "machine" not in record:
        return {"machine": f"{NOT_AVAILABLE}: not in the record"} if record else {}
    build, blas = machine.built(record["machine"], BART if engine in BASELINES else engine)
    return {
        "machine": machine.label(record["machine"]),
        "threads": record["machine"].get("threads", ""),
        "engine_version": record["engine_version"],
        "engine_build": build,
        "engine_blas": blas,
    }


def machines(experiment: Experiment, folder: Path) -> Row:
    """Return the machine that made most records, with the other machines as `others`; empty if none is known."""
    paths = [baseline_record(folder, name) for name in baseline_names(experiment)]
    paths += [run.record(phase) for run in runs(experiment, folder, experiment.repeats) for phase in PHASES]
    made_on = [record["machine"] for path in paths if "machine" in (record := _record(path))]
    distinct = [description for number, description in enumerate(made_on) if description not in made_on[:number]]
    different = sorted(distinct, key=made_on.count, reverse=True)
    if len(different) < 2:
        return different[0] if different else {}
    return different[0] | {"others": different[1:]}


def _record(path: Path) -> Row:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _value(metric: str, value: float | None, unit: str, definition: str, slice_number: int | str = "") -> Row:
    if value is None and not definition.startswith(NOT_AVAILABLE):
        definition = f"{NOT_AVAILABLE}: {definition}"
    return {"metric": metric, "value": value, "unit": unit, "definition": definition, "slice": slice_number}


def _engine_columns(experiment: Experiment, name: str) -> Row:
    if name == ZERO_FILLED or name in experiment.baselines:
        return {"engine": name}
    keras = KerasEngineName.parse(name)
    return {
        "engine": name,
        "backend": keras.backend if keras else "",
        "memory_plan": memory_plan(name),
    }


def _network_columns(experiment: Experiment, name: str) -> Row:
    if not name:
        return {}
    trained = experiment.networks[name]
    seed = experiment.seed if trained.seed is None else trained.seed
    return {"network": name, "optimizer": trained.training.algorithm, "seed": seed}


def memory_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    """Yield the rows of `memory.csv`: every sample of every run; what was not read has no entry."""
    for run in runs(experiment, folder, experiment.repeats):
        for phase in PHASES:
            curve = cost_rows.curve(run.record(phase)) if run.record(phase).exists() else {}
            for values in zip(*(curve[name] for name in memory_sampling.NAMES), strict=True) if curve else ():
                columns = {"network": run.name, "engine": run.engine, "repeat": run.repeat, "phase": phase}
                read = zip(memory_sampling.NAMES, values, strict=True)
                yield columns | {name: f"{value:.10g}" for name, value in read if value == value}


def history_rows(experiment: Experiment, folder: Path) -> Iterator[Row]:
    """Yield the rows of `history.csv`: the loss of every batch, epochs counted over both stages."""
    for run in runs(experiment, folder):
        if not run.record("train").exists():
            continue
        history = _read_history(run.folder / "history.npz")
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


def _read_history(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return atomic.read_arrays(path)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read ({why_unreadable(error)}); bart-tf compare trains again") from None


def _dataset_name(experiment: Experiment, folder: Path) -> str:
    imported = experiment.dataset.folder
    return imported.name if imported else str(Dataset.open(folder / "dataset").description["source"])
