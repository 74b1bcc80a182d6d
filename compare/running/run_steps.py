"""The steps of one network on one engine: reconstruct untrained, train, reconstruct, time the reconstruction."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from bart_bridge.files import atomic
from bart_bridge.reconet import weights
from bart_bridge.reconet.history import Progress
from bart_bridge.reconet.training_settings import stages
from bart_bridge.tools.parallel import usable_threads
from bart_bridge.wording import counted, times
from compare.console import Advance
from compare.engines.base import History, OnProgress, TrainingTask
from compare.measuring.timing import training_seconds
from compare.running import determinants, live_loss
from compare.running.run_inputs import RunInputs
from compare.running.steps import Details, Step
from compare.settings.engine_names import without_lowmem

# The files of each phase; what follows from a training goes with it.
_FILES = {
    "initial": ("initial*", "run.yaml"),
    "train": ("train*", "history*", "weights*", "initial-weights*", "run.yaml", "apply*", "infer*"),
    "apply": ("apply*",),
    "infer": ("infer*",),
}


@dataclass(frozen=True)
class _Phase:
    """One phase of a run: what a person reads, its units of progress, what does it and what others read of it."""

    title: str
    total: int
    work: Callable[[Advance], Details]
    leaves: tuple[Path, ...] = ()


def run_steps(inputs: RunInputs, resume: bool = True, tensorboard: bool = False) -> dict[str, Step]:
    """Return the steps of one network on one engine by their phase.

    These are `initial`, `train`, `apply` and `infer`. A repeat has only `train`, possibly for fewer epochs, and
    `infer` with the weights of the first training.

    Args:
        inputs: What the run is computed from.
        resume: Whether the training continues from its checkpoint if it has one (default).
        tensorboard: Whether the training writes its loss for TensorBoard (default false), see `live_loss`.
    """
    depends = determinants.of_run(inputs)
    again = f" (repeat {inputs.repeat})" if inputs.repeat else ""
    return {
        name: Step(
            f"{inputs.name} on {inputs.engine.name}: {phase.title}{again}",
            inputs.files.record(name),
            _FILES[name],
            depends[name],
            inputs.engine.version,
            inputs.experiment.threads or usable_threads(),
            phase.total,
            phase.work,
            leaves=phase.leaves,
        )
        for name, phase in _phases(inputs, resume, tensorboard).items()
    }


def _phases(inputs: RunInputs, resume: bool, tensorboard: bool) -> dict[str, _Phase]:
    run, training = inputs.files, inputs.training
    epochs = training.pretraining_epochs + training.epochs
    train = _Phase(
        f"train {counted(epochs, 'epoch')}", epochs, lambda advance: _train(inputs, resume, tensorboard, advance)
    )
    infer = _Phase(f"time the reconstruction of a slice {times(inputs.timed_calls)}", 1, lambda advance: _infer(inputs))
    if inputs.repeat:  # nothing but its records is read
        return {"train": train, "infer": infer}
    return {
        "initial": _Phase("reconstruct untrained", 1, lambda advance: _initial(inputs), (run.images("initial"),)),
        "train": _Phase(train.title, train.total, train.work, (inputs.weights, run.folder / "history.npz")),
        "apply": _Phase(
            "reconstruct", 1, lambda advance: _reconstruct(inputs, "apply", inputs.weights), (run.images("apply"),)
        ),
        "infer": infer,
    }


def _initial(inputs: RunInputs) -> Details:
    _prepare(inputs)
    return _reconstruct(inputs, "initial", inputs.files.folder / "initial-weights-all")


def _train(inputs: RunInputs, resume: bool, tensorboard: bool, advance: Advance) -> Details:
    folder, dataset = inputs.files.folder, inputs.data.dataset
    _prepare(inputs)
    if not resume:
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    task = TrainingTask(
        folder,
        inputs.trained.network,
        inputs.training,
        split=dataset.split("train"),
        initial=folder / "initial-weights",
        validation=dataset.split("validation") if inputs.experiment.validate_epochs else None,
        devices=inputs.experiment.devices,
    )
    curve = inputs.root / live_loss.FOLDER / folder.relative_to(inputs.root / "runs") if tensorboard else None
    with live_loss.written(curve, (folder / "checkpoint").exists(), _training_progress(advance)) as on_progress:
        measurement, histories = inputs.engine.train(task, on_progress)
    atomic.write_arrays(folder / "history.npz", _joined(histories))
    return {
        "measurement": measurement,
        "updates": sum(history["loss"].size for history in histories),
        "loss": float(histories[-1]["loss"][-1].mean()),
        "seconds": training_seconds(histories, measurement.elapsed_s),
    }


def _infer(inputs: RunInputs) -> Details:
    folder, test = inputs.files.folder, inputs.data.dataset.split("test")
    folder.mkdir(parents=True, exist_ok=True)
    measurement, inference = inputs.engine.infer(
        folder, inputs.trained.network, test, inputs.weights, inputs.timed_calls
    )
    return {"measurement": measurement, "inference": asdict(inference)}


def _reconstruct(inputs: RunInputs, phase: str, weights_path: Path) -> Details:
    run, test = inputs.files, inputs.data.dataset.split("test")
    measurement = inputs.engine.apply(run.folder, inputs.trained.network, test, weights_path, run.images(phase))
    return {"measurement": measurement, "slices": test.slice_count}


def _prepare(inputs: RunInputs) -> None:
    """Write the settings of a run and the weights that it starts from.

    `initial-weights` belong to the first stage of training, `initial-weights-all` to the whole network.
    """
    folder, experiment, trained = inputs.files.folder, inputs.experiment, inputs.trained
    engine = inputs.engine.name
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"engine": engine, "device": experiment.device, **trained.model_dump(mode="json", exclude={"engines"})}
    if binary := experiment.bart_binaries.get(without_lowmem(engine)):
        settings["bart_binary"] = str(binary)
    atomic.write_text(folder / "run.yaml", yaml.safe_dump(settings, sort_keys=False))
    first_stage = stages(trained.network, trained.training)[0][0]
    first = weights.initial(first_stage, inputs.seed)
    weights.write(folder / "initial-weights", first_stage, first)
    complete = first if first_stage == trained.network else weights.expand(first, first_stage, trained.network)
    weights.write(folder / "initial-weights-all", trained.network, complete)


def _training_progress(advance: Advance) -> OnProgress:
    def show(progress: Progress) -> None:
        finished = progress.batch == progress.batches
        advance(progress.epoch - (0 if finished else 1), f"loss {progress.loss:.3g}")

    return show


def _joined(histories: list[History]) -> dict[str, NDArray[np.float64]]:
    """Name the columns of each stage `stage1_loss`, `stage1_seconds`, ..."""
    return {
        f"stage{number}_{name}": values
        for number, history in enumerate(histories, start=1)
        for name, values in history.items()
    }
