"""What there is to do in an experiment: one step for each thing that is worth keeping when the rest is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import bart_bridge
from bart_bridge import baselines, cfl, weights
from bart_bridge.dataset import Dataset, Split
from bart_bridge.dims import from_batch_map_yx
from bart_bridge.reconet import Progress
from bart_bridge.settings import Training, stages
from bart_bridge.toolbox import Toolbox
from compare import quality, records
from compare.config import Experiment, TrainedNetwork
from compare.console import Advance
from compare.engines import Engine, History, usable_threads
from compare.timing import training_seconds

ZERO_FILLED = "zero-filled"
PHASES = ("initial", "train", "apply", "infer")


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: What a person reads.
        record: Where its record goes.
        identity: Fingerprint of everything it depends on.
        version: Of the program that does it, as it stands in the results.
        total: Number of its units of progress.
        work: Does it and returns what belongs into the record.
    """

    title: str
    record: Path
    identity: str
    version: str
    total: int
    work: Callable[[Advance], dict[str, Any]]


class Run:
    """The files of one network on one engine.

    Attributes:
        name: Of the network, in the results.
        engine: Name of the engine.
        repeat: 0, or the number of a repeated measurement.
        folder: Where the files are.
    """

    def __init__(self, root: Path, name: str, engine: str, repeat: int = 0) -> None:
        self.name, self.engine, self.repeat = name, engine, repeat
        self.folder = root / "runs" / f"{name}-{engine}"
        if repeat:
            self.folder /= f"repeat-{repeat}"

    def record(self, phase: str) -> Path:
        """Return the record of `initial`, `train`, `apply` or `infer`."""
        return self.folder / f"{phase}.json"

    def failure(self, phase: str) -> Path:
        """Return the record of a phase that failed."""
        return failure_record(self.record(phase))

    def images(self, phase: str) -> Path:
        """Return the images of `initial` or `apply`, a BART array."""
        return self.folder / f"{phase}-images"


def failure_record(record: Path) -> Path:
    """Return where the failure of a step is recorded."""
    return record.with_name(f"{record.stem}-failed.json")


def references(experiment: Experiment) -> list[str]:
    """Name the reconstructions without a network."""
    return [ZERO_FILLED, *dict.fromkeys(experiment.baselines)]


def reference_steps(
    root: Path, experiment: Experiment, dataset: Dataset, data_identity: Any, toolbox: Toolbox
) -> list[Step]:
    """List the reconstructions without a network, which go to `root/references`."""
    folder = root / "references"
    test, validation = dataset.split("test"), dataset.split("validation")
    steps = [
        Step(
            "zero-filled: reconstruct",
            folder / f"{ZERO_FILLED}.json",
            records.fingerprint(data=data_identity, kind=ZERO_FILLED, version=bart_bridge.__version__),
            "",
            test.items,
            lambda advance: _zero_filled(test, folder / ZERO_FILLED),
        )
    ]
    for name in references(experiment)[1:]:
        baseline = baselines.BASELINES[name]

        def work(advance: Advance, name: str = name) -> dict[str, Any]:
            return _baseline(baselines.BASELINES[name], validation, test, folder / name, toolbox, advance)

        title = f"{name}: choose its regularization on validation slices and reconstruct"
        identity = records.fingerprint(data=data_identity, kind=name, bart=toolbox.version_text)
        total = len(baseline.grid) * validation.items + test.items
        version = f"bart {'nufft' if name == 'gridding' else 'pics'} {toolbox.version_text}"
        steps.append(Step(title, folder / f"{name}.json", identity, version, total, work))
    return steps


def run_steps(
    root: Path,
    experiment: Experiment,
    name: str,
    trained: TrainedNetwork,
    engine: Engine,
    dataset: Dataset,
    data_identity: Any,
    repeat: int = 0,
) -> dict[str, Step]:
    """Return the steps of one network on one engine by their phase.

    These are `initial`, `train`, `apply` and `infer`. A repeat measures `train`, possibly for fewer epochs, and `infer`
    with the weights of the first training.
    """
    run = Run(root, name, engine.name, repeat)
    network, training = trained.network, trained.training
    if repeat:
        training = _shortened(training, experiment.repeat_epochs)
    test = dataset.split("test")
    seed = _seed(experiment, engine.name)
    weights_path = Run(root, name, engine.name).folder / engine.weights_name
    determinants = {
        "data": data_identity,
        "network": network.model_dump(),
        "seed": seed,
        "device": experiment.device,
        "threads": experiment.threads or usable_threads(),
        "engine": (engine.name, engine.version, engine.memory_plan),
        "version": bart_bridge.__version__,
    }
    if experiment.devices > 1:
        determinants["devices"] = experiment.devices
    monitored = {"validate_epochs": True} if experiment.validate_epochs else {}
    identities = {
        "initial": records.fingerprint(**determinants, phase="initial"),
        "train": records.fingerprint(**determinants, phase="train", training=training.model_dump(), **monitored),
        "apply": records.fingerprint(**determinants, phase="apply", training=training.model_dump()),
    }
    validation = dataset.split("validation") if experiment.validate_epochs else None
    calls = -(-experiment.inference_calls // experiment.repeats)
    trained_for = trained.training.model_dump()
    identities["infer"] = records.fingerprint(**determinants, phase="infer", training=trained_for, calls=calls)

    def reconstruct(phase: str, weights_path: Path) -> dict[str, Any]:
        return {"measurement": engine.apply(run.folder, network, test, weights_path, run.images(phase))}

    def initial(advance: Advance) -> dict[str, Any]:
        _prepare(run.folder, experiment, trained, engine, seed)
        return reconstruct("initial", run.folder / "initial-weights-all")

    def train(advance: Advance) -> dict[str, Any]:
        _prepare(run.folder, experiment, trained, engine, seed)
        start = run.folder / "initial-weights"
        show = _training_progress(advance, training.pretraining_epochs)
        split = dataset.split("train")
        measurement, histories = engine.train(
            run.folder, network, training, split, start, show, validation, experiment.devices
        )
        cfl.write_arrays_atomically(run.folder / "history.npz", _joined(histories))
        updates = sum(history["loss"].size for history in histories)
        seconds = training_seconds(histories, measurement.elapsed_s)
        loss = float(histories[-1]["loss"][-1].mean())
        return {"measurement": measurement, "updates": updates, "loss": loss, "seconds": seconds}

    def apply(advance: Advance) -> dict[str, Any]:
        return reconstruct("apply", weights_path)

    def infer(advance: Advance) -> dict[str, Any]:
        run.folder.mkdir(parents=True, exist_ok=True)
        measurement, inference = engine.infer(run.folder, network, test, weights_path, calls)
        return {"measurement": measurement, "inference": asdict(inference)}

    epochs = training.pretraining_epochs + training.epochs
    steps = {
        "initial": ("reconstruct untrained", 1, initial),
        "train": (f"train {epochs} epochs", epochs, train),
        "apply": ("reconstruct", 1, apply),
        "infer": (f"time the reconstruction of a slice {calls} times", 1, infer),
    }
    if repeat:
        steps = {phase: steps[phase] for phase in ("train", "infer")}
    again = f" (repeat {repeat})" if repeat else ""
    return {
        phase: Step(
            f"{name} on {engine.name}: {title}{again}",
            run.record(phase),
            identities[phase],
            engine.version,
            total,
            work,
        )
        for phase, (title, total, work) in steps.items()
    }


def _shortened(training: Training, epochs: int | None) -> Training:
    if epochs is None:
        return training
    shorter = {"epochs": min(training.epochs, epochs), "pretraining_epochs": min(training.pretraining_epochs, epochs)}
    return training.model_copy(update=shorter)


def _seed(experiment: Experiment, engine: str) -> int:
    """Return the seed of the initial weights: that of all engines, or one of its own for each."""
    if experiment.same_initial_weights:
        return experiment.seed
    return experiment.seed + 1 + experiment.engines.index(engine)


def _prepare(folder: Path, experiment: Experiment, trained: TrainedNetwork, engine: Engine, seed: int) -> None:
    """Write the settings of a run and the weights that it starts from.

    `initial-weights` belong to the first stage of training, `initial-weights-all` to the whole network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {"engine": engine.name, "device": experiment.device, **trained.model_dump(mode="json")}
    if engine.name in experiment.bart_binaries:
        content["bart_binary"] = str(experiment.bart_binaries[engine.name])
    cfl.write_text_atomically(folder / "run.yaml", yaml.safe_dump(content, sort_keys=False))
    first_stage = stages(trained.network, trained.training)[0][0]
    first = weights.initial(first_stage, seed)
    weights.write(folder / "initial-weights", first_stage, first)
    complete = first if first_stage == trained.network else weights.expand(first, first_stage, trained.network)
    weights.write(folder / "initial-weights-all", trained.network, complete)


def _zero_filled(split: Split, output: Path) -> dict[str, Any]:
    from tf_models.inputs import network_inputs, to_maps

    _write_images(output, to_maps(network_inputs(split)["adjoint"]))
    return {}


def _baseline(
    baseline: baselines.Baseline, validation: Split, test: Split, output: Path, toolbox: Toolbox, advance: Advance
) -> dict[str, Any]:
    done = 0

    def on_slice() -> None:
        nonlocal done
        done += 1
        advance(done)

    reference = quality.combine_maps(validation.arrays()["reference"])

    def psnr(regularization: float) -> float:
        images = quality.combine_maps(baseline.reconstruct(validation, toolbox, regularization, on_slice))
        if not np.isfinite(images).all():
            return -np.inf
        return float(np.mean([quality.measures(*pair)["psnr"] for pair in zip(images, reference, strict=True)]))

    best = max(baseline.grid, key=psnr)
    _write_images(output, baseline.reconstruct(test, toolbox, best, on_slice))
    return {"regularization": best}


def _write_images(path: Path, images: NDArray[np.complex64]) -> None:
    quality.check_images(images)
    path.parent.mkdir(parents=True, exist_ok=True)
    cfl.write(path, from_batch_map_yx(images))


def _training_progress(advance: Advance, pretraining_epochs: int) -> Callable[[Progress], None]:
    """Count epochs over the stages: a stage begins where the epoch falls back to 1."""
    previous, offset = 0, 0

    def show(progress: Progress) -> None:
        nonlocal previous, offset
        if progress.epoch < previous:
            offset = pretraining_epochs
        previous = progress.epoch
        finished = progress.batch == progress.batches
        advance(offset + progress.epoch - (0 if finished else 1), f"loss {progress.loss:.3g}")

    return show


def _joined(histories: list[History]) -> dict[str, NDArray[np.float64]]:
    """Name the columns of each stage `stage1_loss`, `stage1_seconds`, ..."""
    return {
        f"stage{number}_{name}": values
        for number, history in enumerate(histories, start=1)
        for name, values in history.items()
    }
