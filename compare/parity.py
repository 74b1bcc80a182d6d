"""Compare BART and Keras stage by stage, on the same weights and data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge import cfl, gridding, process, reconet, weights
from bart_bridge.dataset import Dataset, Split, check_filters
from bart_bridge.dims import to_batch_map_yx
from bart_bridge.settings import Network, Training
from bart_bridge.simulate import simulate
from bart_bridge.toolbox import Toolbox
from compare.config import Experiment, TrainedNetwork

# Relative l2 difference of images, largest one of losses; BART computes in single precision, MoDL amplifies rounding.
TOLERANCE = {"varnet": 1e-5, "modl": 1e-4}
_EPOCHS = 3
_SEED = 0


def stages(experiment: Experiment, toolbox: Toolbox) -> Iterator[tuple[str, str, float]]:
    """Yield network, stage and relative difference: adjoint, image after each unrolled iteration, training losses."""
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        if experiment.dataset.simulate is not None:
            simulate(folder / "dataset", experiment.dataset.simulate, toolbox)
        dataset = Dataset.open(experiment.dataset.folder or folder / "dataset")
        train, test = dataset.split("train"), dataset.split("test")
        for split in (test, train):
            split.validate()
            for trained in experiment.networks.values():
                check_filters(trained.network, split)
            gridding.prepare(split, toolbox)
        for network, trained in experiment.networks.items():
            if test.trajectory is None:
                yield network, "adjoint", _adjoint(test, toolbox)
            chosen = weights.random(trained.network, _SEED)
            for iterations in range(1, trained.network.iterations + 1):
                shorter, first = weights.truncate(chosen, trained.network, iterations)
                yield network, f"image after {iterations}", _image(shorter, first, test, toolbox, folder)
            yield network, f"losses of {_EPOCHS} epochs", _losses(trained, train, toolbox, folder)


def _adjoint(split: Split, toolbox: Toolbox) -> float:
    from tf_models.inputs import network_inputs, to_maps

    sampled = cfl.read(split.kspace)
    if split.pattern:
        sampled = toolbox.compute("fmac", sampled, cfl.read(split.pattern))
    coil_images = toolbox.compute("fft", "-iu", 3, sampled)
    expected = toolbox.compute("fmac", "-C", "-s", 8, coil_images, cfl.read(split.coils))
    return relative_difference(to_maps(network_inputs(split)["adjoint"]), to_batch_map_yx(expected))


def _image(network: Network, values: weights.Weights, split: Split, toolbox: Toolbox, folder: Path) -> float:
    from tf_models.inputs import network_inputs, to_maps
    from tf_models.training import build

    weights.write(folder / "weights", network, values)
    argv = reconet.apply_argv(toolbox, network, split, folder / "weights", folder / "images")
    toolbox.run(*argv[1:])
    found = to_maps(build(network, values).predict(network_inputs(split), verbose=0))
    return relative_difference(found, to_batch_map_yx(np.array(cfl.read(folder / "images"), order="F")))


def _losses(trained: TrainedNetwork, split: Split, toolbox: Toolbox, folder: Path) -> float:
    from tf_models.inputs import network_inputs, network_reference
    from tf_models.training import train

    network = trained.network
    training: Training = trained.training.model_copy(update={"epochs": _EPOCHS, "pretraining_epochs": 0})
    start = weights.initial(network, _SEED)
    weights.write(folder / "initial", network, start)
    initial, history, trained_path = folder / "initial", folder / "history", folder / "trained"
    argv = reconet.train_argv(
        toolbox, network, training, _EPOCHS, split, trained_path, initial=initial, history=history
    )
    reconet.check_trained(argv, process.run(argv, folder=folder), network, trained_path, history)
    expected = reconet.read_history(history, network)["loss"]
    _, histories = train(network, training, network_inputs(split), network_reference(split), start)
    return float(np.max(np.abs(histories[0]["loss"] / expected - 1)))


def relative_difference(found: NDArray[np.complex64], expected: NDArray[np.complex64]) -> float:
    """Return |found - expected| / |expected|, l2 norms over everything."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
