"""What the results of one network on one engine are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bart_bridge.reconet.training_settings import Training
from compare.engines.base import Engine
from compare.running.prepared_data import PreparedData
from compare.running.run_files import Run
from compare.settings.experiment import Experiment, TrainedNetwork


@dataclass(frozen=True)
class RunInputs:
    """What the results of one network on one engine are computed from, and where they go.

    Attributes:
        root: Folder of the experiment.
        experiment: The experiment.
        name: Of the network, in the experiment.
        engine: What computes.
        data: The dataset.
        repeat: 0, or the number of a repeated measurement.
    """

    root: Path
    experiment: Experiment
    name: str
    engine: Engine
    data: PreparedData
    repeat: int = 0

    @property
    def files(self) -> Run:
        """Where the files of the run are."""
        return Run(self.root, self.name, self.engine.name, self.repeat)

    @property
    def trained(self) -> TrainedNetwork:
        """The network and its full training."""
        return self.experiment.networks[self.name]

    @property
    def training(self) -> Training:
        """The training of this run, which may have fewer epochs if it is a repeat."""
        training, epochs = self.trained.training, self.experiment.repeat_epochs
        if not self.repeat or epochs is None:
            return training
        shorter = {
            "epochs": min(training.epochs, epochs),
            "pretraining_epochs": min(training.pretraining_epochs, epochs),
        }
        return training.model_copy(update=shorter)

    @property
    def seed(self) -> int:
        """The seed of the initial weights: that of all engines, or one of its own for each."""
        if self.experiment.same_initial_weights:
            return self.experiment.seed if self.trained.seed is None else self.trained.seed
        return self.experiment.seed + 1 + self.experiment.engines.index(self.engine.name)

    @property
    def weights(self) -> Path:
        """The file of the trained weights, which are those of the first training in repeats too."""
        return Run(self.root, self.name, self.engine.name).folder / self.engine.weights_name

    @property
    def timed_calls(self) -> int:
        """Timed reconstructions of a slice in this run."""
        return -(-self.experiment.inference_calls // self.experiment.repeats)
