"""What there is to do in an experiment: one step for each thing that is worth keeping when the rest is lost."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from bart_bridge import baselines
from bart_bridge.data.dataset import Dataset, Split
from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import from_batch_map_yx
from bart_bridge.reconet import weights
from bart_bridge.reconet.commands import Progress
from bart_bridge.reconet.training_settings import Training, stages
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Advance
from compare.engines.base import Engine, History, TrainingTask
from compare.engines.create import usable_threads
from compare.measuring import quality
from compare.measuring.timing import training_seconds
from compare.running import determinants
from compare.running.determinants import Determinants
from compare.running.prepared_data import Identity
from compare.running.run_files import Run
from compare.settings.experiment import Experiment, TrainedNetwork

ZERO_FILLED = "zero-filled"
PHASES = ("initial", "train", "apply", "infer")
# The files of each phase; what follows from a training goes with it.
_FILES = {
    "initial": ("initial*", "run.yaml"),
    "train": ("train*", "history*", "weights*", "initial-weights*", "run.yaml", "apply*", "infer*"),
    "apply": ("apply*",),
    "infer": ("infer*",),
}
# The failure of a step whose input is missing begins with this.
NOT_RUN = "not run"


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: What a person reads.
        record: Where its record goes.
        files: Patterns of the files beside the record that it writes, or that follow from them.
        determinants: Returns everything it depends on, when its turn comes: some of that is made by other steps.
        version: Of the program that does it, as it stands in the results.
        threads: Threads that it computes with.
        total: Number of its units of progress.
        work: Does it and returns what belongs into the record.
        after: The step whose output it uses; it is not run without that.
        leaves: What others read of it, BART arrays, `.npz` and `.keras`; it is done again if one is gone or damaged.
    """

    title: str
    record: Path
    files: tuple[str, ...]
    determinants: Callable[[], Determinants]
    version: str
    threads: int
    total: int
    work: Callable[[Advance], dict[str, Any]]
    after: Step | None = None
    leaves: tuple[Path, ...] = ()

    def damage(self) -> str:
        """Say what is gone or damaged of what it left; empty if nothing is."""
        for path in self.leaves:
            try:
                if path.suffix:
                    zipfile.ZipFile(path).close()  # the list of its content stands at the end
                else:
                    cfl.read(path)
            except (InputError, OSError, zipfile.BadZipFile) as error:
                return str(error) if isinstance(error, InputError) else f"{path} is missing or damaged"
        return ""


def references(experiment: Experiment) -> list[str]:
    """Name the reconstructions without a network."""
    return [ZERO_FILLED, *dict.fromkeys(experiment.baselines)]


def reference_steps(
    root: Path, experiment: Experiment, dataset: Dataset, identity: Identity, toolbox: Toolbox
) -> list[Step]:
    """List the reconstructions without a network, which go to `root/references`."""
    folder = root / "references"
    test, validation = dataset.split("test"), dataset.split("validation")
    threads = experiment.threads or usable_threads()
    steps = [
        Step(
            "zero-filled: reconstruct",
            folder / f"{ZERO_FILLED}.json",
            (f"{ZERO_FILLED}.*",),
            partial(determinants.of_zero_filled, dataset, identity),
            "",
            threads,
            test.slice_count,
            lambda advance: _zero_filled(test, folder / ZERO_FILLED),
            leaves=(folder / ZERO_FILLED,),
        )
    ]
    for name in references(experiment)[1:]:
        baseline = baselines.BASELINES[name]

        def work(advance: Advance, name: str = name) -> dict[str, Any]:
            return _baseline(baselines.BASELINES[name], validation, test, folder / name, toolbox, advance)

        title = f"{name}: choose its regularization on validation slices and reconstruct"
        depends = partial(determinants.of_baseline, name, identity, toolbox)
        total = len(baseline.grid) * validation.slice_count + test.slice_count
        version = f"bart {'nufft' if name == 'gridding' else 'pics'} {toolbox.version_text}"
        record, leaves = folder / f"{name}.json", (folder / name,)
        steps.append(Step(title, record, (f"{name}.*",), depends, version, threads, total, work, leaves=leaves))
    return steps


def run_steps(
    root: Path,
    experiment: Experiment,
    name: str,
    trained: TrainedNetwork,
    engine: Engine,
    dataset: Dataset,
    identity: Identity,
    repeat: int = 0,
    resume: bool = True,
) -> dict[str, Step]:
    """Return the steps of one network on one engine by their phase.

    These are `initial`, `train`, `apply` and `infer`. A repeat measures `train`, possibly for fewer epochs, and `infer`
    with the weights of the first training. Without `resume`, a training begins again where it has a checkpoint.
    """
    run = Run(root, name, engine.name, repeat)
    network, training = trained.network, trained.training
    if repeat:
        training = _shortened(training, experiment.repeat_epochs)
    test = dataset.split("test")
    seed = _seed(experiment, engine.name)
    weights_path = Run(root, name, engine.name).folder / engine.weights_name
    depends = determinants.of_run(experiment, trained, training, engine, dataset, identity, seed, weights_path)
    validation = dataset.split("validation") if experiment.validate_epochs else None
    calls = -(-experiment.inference_calls // experiment.repeats)

    def reconstruct(phase: str, weights_path: Path) -> dict[str, Any]:
        return {"measurement": engine.apply(run.folder, network, test, weights_path, run.images(phase))}

    def initial(advance: Advance) -> dict[str, Any]:
        _prepare(run.folder, experiment, trained, engine, seed)
        return reconstruct("initial", run.folder / "initial-weights-all")

    def train(advance: Advance) -> dict[str, Any]:
        _prepare(run.folder, experiment, trained, engine, seed)
        if not resume:
            shutil.rmtree(run.folder / "checkpoint", ignore_errors=True)
        task = TrainingTask(
            run.folder,
            network,
            training,
            split=dataset.split("train"),
            initial=run.folder / "initial-weights",
            validation=validation,
            devices=experiment.devices,
        )
        measurement, histories = engine.train(task, _training_progress(advance))
        atomic.write_arrays(run.folder / "history.npz", _joined(histories))
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
    leaves: dict[str, tuple[Path, ...]] = {phase: (run.images(phase),) for phase in ("initial", "apply")}
    if not repeat:  # of a repeat, nothing but its record is read
        leaves["train"] = (weights_path, run.folder / "history.npz")
    again = f" (repeat {repeat})" if repeat else ""
    return {
        phase: Step(
            f"{name} on {engine.name}: {title}{again}",
            run.record(phase),
            _FILES[phase],
            depends[phase],
            engine.version,
            experiment.threads or usable_threads(),
            total,
            work,
            leaves=leaves.get(phase, ()),
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
    atomic.write_text(folder / "run.yaml", yaml.safe_dump(content, sort_keys=False))
    first_stage = stages(trained.network, trained.training)[0][0]
    first = weights.initial(first_stage, seed)
    weights.write(folder / "initial-weights", first_stage, first)
    complete = first if first_stage == trained.network else weights.expand(first, first_stage, trained.network)
    weights.write(folder / "initial-weights-all", trained.network, complete)


def _zero_filled(split: Split, output: Path) -> dict[str, Any]:
    from tf_models.training.network_inputs import network_inputs, to_maps

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


def _training_progress(advance: Advance) -> Callable[[Progress], None]:
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
