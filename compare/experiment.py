"""Run an experiment: what there is to do, what is done already, and one thing after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import bart_bridge
from bart_bridge import baselines, cfl, weights
from bart_bridge.dataset import SPLITS, Dataset, Split
from bart_bridge.dims import from_batch_coil_yx
from bart_bridge.errors import BartTfError, InputError
from bart_bridge.reconet import Progress
from bart_bridge.settings import stages
from bart_bridge.simulate import simulate
from bart_bridge.toolbox import Toolbox
from compare import engines, quality, records
from compare.config import Experiment, TrainedNetwork
from compare.console import Advance, Reporter
from compare.engines import Engine

REFERENCES = ("zero-filled", "cg-sense")


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        title: What a person reads.
        record: Where its record goes.
        identity: Fingerprint of everything it depends on.
        total: Number of its units of progress.
        work: Does it and returns what belongs into the record.
    """

    title: str
    record: Path
    identity: str
    total: int
    work: Callable[[Advance], dict[str, Any]]


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


class Run:
    """The files of one network on one engine.

    Attributes:
        folder: Where they are.
        name: Of the network, in the results.
        engine: Of the experiment.
    """

    def __init__(self, root: Path, name: str, engine: str) -> None:
        self.name, self.engine = name, engine
        self.folder = root / "runs" / f"{name}-{engine}"
        self.settings = self.folder / "run.yaml"

    def record(self, phase: str) -> Path:
        """Return the record of `initial`, `train` or `apply`."""
        return self.folder / f"{phase}.json"

    def images(self, phase: str) -> Path:
        """Return the images of `initial` or `apply`, a BART array."""
        return self.folder / f"{phase}-images"


class ExperimentRunner:
    """Does what is missing of an experiment in a folder.

    Args:
        experiment: What is compared.
        folder: Where everything goes.
        toolbox: The BART that makes the data and the baselines, and is the engine `bart`.
        reporter: Tells a person what happens.
    """

    def __init__(self, experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
        self.experiment = experiment
        self.folder = folder
        self.toolbox = toolbox
        self.reporter = reporter
        self.engines: list[Engine] = [engines.create(name, experiment.device, toolbox) for name in experiment.engines]

    def run(self, only: tuple[str, str] | None = None) -> Outcome:
        """Run every step that has no record yet; a step that fails is named and the others go on.

        Args:
            only: Name of one network and one engine: train only that, and reconstruct nothing.

        Raises:
            InputError: The dataset is not usable.
            OSError: The folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = self.experiment.model_dump(mode="json")
        cfl.write_text_atomically(self.folder / "experiment.yaml", yaml.safe_dump(settings, sort_keys=False))
        dataset = self._dataset()
        steps = self.reference_steps(dataset) if only is None else []
        for engine in self.engines:
            for name, trained in self.experiment.networks.items():
                if only is None:
                    steps += self.steps(name, trained, engine, dataset)
                elif only == (name, engine.name):
                    steps += self.steps(name, trained, engine, dataset)[1:2]
        outcome = Outcome([], [], {})
        for number, step in enumerate(steps, start=1):
            self._do(step, f"[{number}/{len(steps)}] ", outcome)
        return outcome

    def reference_steps(self, dataset: Dataset) -> list[Step]:
        """List the reconstructions without a network."""
        root, identity = self.folder / "references", self._data_identity(dataset)
        test = dataset.split("test")
        validation = dataset.split("validation")
        return [
            Step(
                "zero-filled: reconstruct",
                root / "zero-filled.json",
                records.fingerprint(data=identity, kind="zero-filled", version=bart_bridge.__version__),
                test.items,
                lambda advance: _zero_filled(test, root / "zero-filled"),
            ),
            Step(
                "cg-sense: choose its regularization on validation slices and reconstruct",
                root / "cg-sense.json",
                records.fingerprint(data=identity, kind="cg-sense", bart=self.toolbox.version_text),
                len(baselines.CG_SENSE_GRID) * validation.items + test.items,
                lambda advance: self._cg_sense(validation, test, root / "cg-sense", advance),
            ),
        ]

    def steps(self, name: str, trained: TrainedNetwork, engine: Engine, dataset: Dataset) -> list[Step]:
        """List what there is to do for one network on one engine: reconstruct untrained, train, reconstruct."""
        run = Run(self.folder, name, engine.name)
        network, training = trained.network, trained.training
        train_split, test = dataset.split("train"), dataset.split("test")
        common = {
            "data": self._data_identity(dataset),
            "network": network.model_dump(),
            "seed": self.experiment.seed,
            "device": self.experiment.device,
            "engine": (engine.name, engine.version, engine.memory_plan),
            "version": bart_bridge.__version__,
        }
        initial_identity = records.fingerprint(**common, phase="initial")
        train_identity = records.fingerprint(**common, phase="train", training=training.model_dump())
        single = stages(network, training)[0][0]

        def prepare() -> Path:
            """Write the settings and the weights that both engines start from, and return their folder."""
            run.folder.mkdir(parents=True, exist_ok=True)
            content = {"engine": engine.name, "device": self.experiment.device, **trained.model_dump(mode="json")}
            cfl.write_text_atomically(run.settings, yaml.safe_dump(content, sort_keys=False))
            first = weights.initial(single, self.experiment.seed)
            weights.write(run.folder / "initial-weights", single, first)
            complete = first if single == network else weights.expand(first, single, network)
            weights.write(run.folder / "initial-weights-all", network, complete)
            return run.folder

        def reconstruct(phase: str, weights_name: str) -> dict[str, Any]:
            measurement = engine.apply(run.folder, network, test, run.folder / weights_name, run.images(phase))
            return {"measurement": measurement, "slices": test.items}

        def initial(advance: Advance) -> dict[str, Any]:
            prepare()
            return reconstruct("initial", "initial-weights-all")

        def train(advance: Advance) -> dict[str, Any]:
            show = _training_progress(advance, training.pretraining_epochs)
            measurement, histories = engine.train(
                run.folder, network, training, train_split, prepare() / "initial-weights", show
            )
            np.savez(run.folder / "history.npz", allow_pickle=False, **_joined(histories))
            updates = sum(history["loss"].size for history in histories)
            return {"measurement": measurement, "updates": updates, "loss": float(histories[-1]["loss"][-1].mean())}

        def apply(advance: Advance) -> dict[str, Any]:
            return reconstruct("apply", engine.weights_name)

        where = f"{name} on {engine.name}"
        epochs = training.pretraining_epochs + training.epochs
        return [
            Step(f"{where}: reconstruct untrained", run.record("initial"), initial_identity, 1, initial),
            Step(f"{where}: train {epochs} epochs", run.record("train"), train_identity, epochs, train),
            Step(
                f"{where}: reconstruct",
                run.record("apply"),
                records.fingerprint(train=train_identity, phase="apply"),
                1,
                apply,
            ),
        ]

    def _do(self, step: Step, counter: str, outcome: Outcome) -> None:
        if records.read(step.record, step.identity):
            self.reporter.say(f"{counter}{step.title}: done before")
            outcome.reused.append(step.title)
            return
        try:
            with self.reporter.step(counter + step.title, step.total) as advance:
                details = step.work(advance)
        except BartTfError as error:
            self.reporter.say(f"{counter}{step.title}: FAILED: {error}", level=-1)
            outcome.failed[step.title] = str(error)
            return
        records.write(step.record, step.identity, **details)
        outcome.computed.append(step.title)

    def _dataset(self) -> Dataset:
        choice = self.experiment.dataset
        if choice.folder is not None:
            dataset = Dataset.open(choice.folder)
        else:
            assert choice.simulate is not None
            folder = self.folder / "dataset"
            wanted = {"bart": self.toolbox.version_text, "simulation": choice.simulate.model_dump()}
            if folder.exists() and not wanted.items() <= _description(folder).items():
                self.reporter.say("dataset: settings changed, simulated anew")
                shutil.rmtree(folder)
            if not folder.exists():
                total = sum(getattr(choice.simulate, split) for split in SPLITS)
                with self.reporter.step(f"dataset: simulate {total} slices", total) as advance:
                    simulate(folder, choice.simulate, self.toolbox, lambda done, _: advance(done))
            dataset = Dataset.open(folder)
        for name in SPLITS:
            split = dataset.split(name)
            split.validate()
            if split.reference is None:
                raise InputError(f"{dataset.folder / name}: a comparison needs a reference, there is none")
        return dataset

    def _data_identity(self, dataset: Dataset) -> list[Any]:
        if self.experiment.dataset.simulate is not None:
            return [dataset.description]
        files = sorted(path for path in dataset.folder.rglob("*") if path.is_file())
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]

    def _cg_sense(self, validation: Split, test: Split, output: Path, advance: Advance) -> dict[str, Any]:
        done = 0

        def on_slice() -> None:
            nonlocal done
            done += 1
            advance(done)

        reference = validation.arrays()["reference"][:, 0]

        def psnr(regularization: float) -> float:
            images = baselines.cg_sense(validation, self.toolbox, regularization, on_slice)
            return float(np.mean([quality.measures(*pair)["psnr"] for pair in zip(images, reference, strict=True)]))

        best = max(baselines.CG_SENSE_GRID, key=psnr)
        write_images(output, baselines.cg_sense(test, self.toolbox, best, on_slice))
        return {"regularization": best}


def write_images(path: Path, images: NDArray[np.complex64]) -> None:
    """Write images `(batch, y, x)` as a BART array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cfl.write(path, from_batch_coil_yx(images[:, None]))


def _zero_filled(split: Split, output: Path) -> dict[str, Any]:
    from tf_models.inputs import network_inputs, to_complex

    write_images(output, to_complex(network_inputs(split)["adjoint"]))
    return {}


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


def _joined(histories: list[engines.History]) -> dict[str, NDArray[np.float64]]:
    """Name the columns of each stage `stage1_loss`, `stage1_seconds`, ..."""
    return {
        f"stage{number}_{name}": values
        for number, history in enumerate(histories, start=1)
        for name, values in history.items()
    }


def _description(folder: Path) -> dict[str, Any]:
    try:
        return Dataset.open(folder).description
    except InputError:
        return {}
