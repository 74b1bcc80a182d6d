"""What can train and apply a network: a BART binary, or Keras on a backend. Each call runs child processes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bart_bridge import cfl, process, reconet
from bart_bridge.dataset import Split
from bart_bridge.errors import InputError, ToolError
from bart_bridge.settings import MemoryPlan, Network, Training, stages
from bart_bridge.toolbox import Toolbox, failure
from compare import monitor
from compare.config import EngineName
from compare.monitor import Measurement

Device = Literal["cpu", "gpu"]
History = dict[str, NDArray[np.float64]]
OnProgress = Callable[[reconet.Progress], None]


class Engine(Protocol):
    """Something that can train a network, apply it, and keep its weights in a file.

    Attributes:
        name: As in the configuration.
        version: Of the program that computes.
        backend: What runs under it, empty if nothing does.
        memory_plan: How it spends memory, empty if there is no choice.
        weights_name: Name of the file of trained weights in a run's folder.
    """

    name: EngineName
    version: str
    backend: str
    memory_plan: str
    weights_name: str

    def train(
        self, folder: Path, network: Network, training: Training, split: Split, initial: Path, on_progress: OnProgress
    ) -> tuple[Measurement, list[History]]:
        """Train from BART weights `initial` and leave the weights in `folder`.

        Returns:
            What it used, and the history of each stage.

        Raises:
            ToolError: The training failed.
        """
        ...

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct a split with weights of this engine, or with BART weights, into a BART array.

        Raises:
            ToolError: The reconstruction failed.
        """
        ...


def create(name: EngineName, device: Device, bart: Toolbox) -> Engine:
    """Make an engine by its name.

    Raises:
        InputError: The engine cannot use the device.
    """
    return BartEngine(bart, device) if name == "bart" else KerasEngine(name, device)


class BartEngine:
    """`bart reconet`."""

    name: EngineName = "bart"
    backend = ""
    memory_plan = ""
    weights_name = "weights"

    def __init__(self, toolbox: Toolbox, device: Device) -> None:
        if device == "gpu" and toolbox.build_flags.get("CUDA") != "1":
            raise InputError(f"device: {toolbox.path} was built without CUDA, 'gpu' needs a BART with it")
        self.toolbox = toolbox
        self.version = toolbox.version_text
        self._gpu = device == "gpu"

    def train(
        self, folder: Path, network: Network, training: Training, split: Split, initial: Path, on_progress: OnProgress
    ) -> tuple[Measurement, list[History]]:
        """Train in one `reconet` command for each stage."""
        total: Measurement | None = None
        histories: list[History] = []
        parts = stages(network, training)
        for number, (stage, epochs) in enumerate(parts, start=1):
            last = number == len(parts)
            weights = folder / (self.weights_name if last else f"weights-stage{number}")
            history = folder / f"history-stage{number}"
            for path in (weights, history):
                _remove(path)
            argv = reconet.train_argv(
                self.toolbox, stage, training, epochs, split, weights, initial=initial, history=history, gpu=self._gpu
            )
            finished, measurement = monitor.run(argv, folder, on_line=_progress_reader(on_progress))
            reconet.check_trained(argv, finished, stage, weights, history)
            histories.append(reconet.read_history(history, stage))
            total = measurement if total is None else total.then(measurement)
            initial = weights
        assert total is not None
        return total, histories

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct with one `reconet` command."""
        _remove(output)
        argv = reconet.apply_argv(self.toolbox, network, split, weights, output, gpu=self._gpu)
        finished, measurement = monitor.run(argv, folder)
        if finished.returncode != 0:
            raise failure(argv, finished)
        return measurement


class KerasEngine:
    """Keras on TensorFlow, with the memory plan that its name ends with."""

    backend = "tensorflow"
    weights_name = "weights.keras"

    def __init__(self, name: EngineName, device: Device) -> None:
        self.name = name
        self._memory: MemoryPlan = "lean" if name.endswith("-lean") else "plain"
        self.memory_plan: str = self._memory
        self.version = f"{version('keras')} with tensorflow {version('tensorflow')}"
        self._device = device
        self._environment = {"KERAS_BACKEND": self.backend, "TF_CPP_MIN_LOG_LEVEL": "2"}
        # With growth, the memory that NVML shows is what was needed and not all there is.
        self._environment |= (
            {"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if device == "gpu" else {"CUDA_VISIBLE_DEVICES": "-1"}
        )

    def train(
        self, folder: Path, network: Network, training: Training, split: Split, initial: Path, on_progress: OnProgress
    ) -> tuple[Measurement, list[History]]:
        """Train all stages in one child process."""
        from tf_models.worker import TrainJob

        histories = [folder / f"history-stage{number + 1}.npz" for number in range(len(stages(network, training)))]
        job = TrainJob(
            network=network,
            training=training,
            split=split,
            initial=initial,
            output=folder / self.weights_name,
            histories=histories,
            device=self._device,
            memory=self._memory,
        )
        measurement = self._run(folder / "train-job.json", job.model_dump_json(indent=1), on_progress)
        return measurement, [dict(np.load(path)) for path in histories]

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct in a child process that loads the weights anew."""
        from tf_models.worker import ApplyJob

        job = ApplyJob(
            network=network,
            split=split,
            weights=weights,
            output=output,
            device=self._device,
            memory=self._memory,
        )
        return self._run(folder / "apply-job.json", job.model_dump_json(indent=1), lambda progress: None)

    def _run(self, job_file: Path, job: str, on_progress: OnProgress) -> Measurement:
        job_file.write_text(job)
        argv = [sys.executable, "-m", "tf_models.worker", str(job_file)]
        reader = _progress_reader(on_progress)
        finished, measurement = monitor.run(argv, job_file.parent, self._environment, on_line=reader)
        if finished.returncode != 0:
            raise ToolError(f"{self.name} {finished.describe()}", argv, finished.returncode, _last_words(finished))
        return measurement


def _progress_reader(on_progress: OnProgress) -> Callable[[str], None]:
    def read(line: str) -> None:
        progress = reconet.parse_progress(line)
        if progress:
            on_progress(progress)

    return read


def _last_words(finished: process.Finished) -> tuple[str, ...]:
    return tuple(line.strip() for line in finished.stderr[-3:])


def _remove(array: Path) -> None:
    for path in cfl.files(array):
        path.unlink(missing_ok=True)
