"""The interface of engines, which train and apply networks. Each call runs child processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_map_yx
from bart_bridge.reconet.history import Progress
from bart_bridge.reconet.network_settings import Network
from bart_bridge.reconet.training_settings import Training
from compare.measuring.monitor import MeasuredError, Measurement
from compare.measuring.quality import check_images
from compare.settings.engine_names import EngineName

Device = Literal["cpu", "gpu"]
History = dict[str, NDArray[np.float64]]
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Inference:
    """Times of reconstructing one slice.

    Attributes:
        first_s: Wall seconds of the first call.
        wall_s: Wall seconds of each later call.
        cpu_s: User and system seconds of each later call.
        definition: Definition of a later call, or why there is none.
        first_definition: Definition of the first call.
    """

    first_s: float
    wall_s: list[float]
    cpu_s: list[float]
    definition: str
    first_definition: str


@dataclass(frozen=True)
class TrainingTask:
    """What an engine is to train.

    Attributes:
        folder: Where the weights, the history and everything else of the training go.
        network: The network.
        training: How it is trained.
        split: Slices with a reference.
        initial: BART weights to start from, of the network of the first stage.
        validation: Slices that are measured after each epoch; none by default.
        devices: How many share every batch (default 1), see `tf_models.training.data_parallel`. BART uses one.
    """

    folder: Path
    network: Network
    training: Training
    split: Split
    initial: Path
    validation: Split | None = None
    devices: int = 1


class Engine(Protocol):
    """A program that trains a network, applies it, and keeps its weights in a file.

    Attributes:
        name: Its name in the configuration.
        version: Version of the program that computes.
        backend: Backend of Keras; empty for BART.
        memory_plan: How a training spends memory; empty for a BART without its option `--lowmem`.
        weights_name: Name of the file of trained weights in a run's folder.
    """

    name: EngineName
    version: str
    backend: str
    memory_plan: str
    weights_name: str

    def train(self, task: TrainingTask, on_progress: OnProgress) -> tuple[Measurement, list[History]]:
        """Train a network and leave its weights in the folder of the task.

        `on_progress` is called after batches; its epochs are counted through all stages.

        Returns:
            What it used, and the history of each stage.

        Raises:
            MeasuredError: The training failed, or it diverged and was stopped; it leaves no weights.
        """
        ...

    def apply(self, folder: Path, network: Network, split: Split, weights: Path, output: Path) -> Measurement:
        """Reconstruct a split, with weights of this engine or with BART weights, into a BART array.

        Raises:
            MeasuredError: The reconstruction failed, or its images are refused by
                `compare.measuring.quality.check_images`.
        """
        ...

    def infer(
        self, folder: Path, network: Network, split: Split, weights: Path, calls: int
    ) -> tuple[Measurement, Inference]:
        """Time the reconstruction of the first slice, once and then `calls` times, and measure the memory of all calls.

        Raises:
            MeasuredError: A reconstruction failed.
        """
        ...


def check_output(path: Path, measurement: Measurement) -> None:
    """Check the images that a process with this measurement wrote.

    Raises:
        MeasuredError: They are missing, or refused by `compare.measuring.quality.check_images`.
    """
    try:
        check_images(to_batch_map_yx(cfl.read(path)))
    except (InputError, ToolError) as error:
        raise MeasuredError(ToolError(f"{path}: {error}"), measurement) from None


def remove_array(array: Path) -> None:
    """Delete a BART array if it is there."""
    for path in cfl.files(array):
        path.unlink(missing_ok=True)
