"""Compare BART and Keras stage by stage, on the scale of BART's own rounding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data import noncartesian
from bart_bridge.data.dataset import Dataset, Split
from bart_bridge.data.simulation import simulate
from bart_bridge.data.slices import along_batch, rewritten
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_map_yx
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.image_size import check_filters
from bart_bridge.reconet.network_settings import Network
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process
from bart_bridge.tools.toolbox import Toolbox
from compare.settings.experiment import Experiment, TrainedNetwork

# A difference counts as rounding up to this many times the largest one that BART shows between runs of its own.
ALLOWED_FACTOR = 3.0
_PERTURBED_RUNS = 2
_EPOCHS = 3
_SEED = 0

Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class Stage:
    """How far Keras is from BART at one stage, and how far BART is from itself there.

    Attributes:
        network: Name of the network in the experiment.
        name: What is compared: `adjoint`, `image after 3`, `losses, initial weights`.
        difference: Between Keras and BART; relative l2 difference of images, largest relative difference of losses.
        bart_difference: The largest one between BART's answer for the data and for perturbed copies, see `perturb`.
    """

    network: str
    name: str
    difference: float
    bart_difference: float

    @property
    def allowed(self) -> float:
        """Largest difference that rounding explains."""
        return ALLOWED_FACTOR * self.bart_difference

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference; never where one of both is not a number."""
        return self.difference <= self.allowed


def stages(experiment: Experiment, toolbox: Toolbox) -> Iterator[Stage]:
    """Compare the adjoint, the image after each unrolled iteration and the losses of a training, for each network.

    The weights of the images are random and none is 0. A training starts from the experiment's kind of initial weights
    and, where these contain zeros, also from weights without any: from batch norm's gamma = 0 the first gradients of
    most weights are rounding errors, which Adam scales to full steps, so that BART does not repeat its own losses.
    BART computes on the experiment's device, and Keras on a GPU wherever it finds one.

    Raises:
        InputError: The device is a GPU, and BART was built without CUDA.
    """
    gpu = experiment.device == "gpu"
    if gpu and not toolbox.has_cuda:
        raise InputError(f"device: {toolbox.path} was built without CUDA, 'gpu' needs a BART with it")
    with tempfile.TemporaryDirectory(prefix="parity-") as name:
        folder = Path(name)
        if experiment.dataset.simulate is not None:
            simulate(folder / "dataset", experiment.dataset.simulate, toolbox)
        dataset = Dataset.open(experiment.dataset.folder or folder / "dataset")
        train, test = (along_batch(dataset.split(name), folder / name) for name in ("train", "test"))
        for split in (test, train):
            split.validate()
            for trained in experiment.networks.values():
                check_filters(trained.network, split)
        train, test = noncartesian.prepare(train, toolbox), noncartesian.prepare(test, toolbox)
        tests = [test, *_perturbed(test, folder / "test", 1)]
        for network, trained in experiment.networks.items():
            if test.trajectory is None:
                yield Stage(network, "adjoint", *_adjoint(tests, toolbox))
            values = weights.random(trained.network, _SEED)
            for iterations in range(1, trained.network.iterations + 1):
                shorter, first = weights.truncate(values, trained.network, iterations)
                yield Stage(network, f"image after {iterations}", *_image(shorter, first, tests, toolbox, folder, gpu))
            trains = [train, *_perturbed(train, folder / f"train-{network}", trained.training.batch_size)]
            for kind, start in _starts(trained.network).items():
                name = f"losses, {kind} weights"
                yield Stage(network, name, *_losses(trained, start, trains, toolbox, folder, gpu))


def perturb(split: Split, folder: Path, group_size: int, seed: int) -> Split:
    """Copy a split so that exact arithmetic would give almost the same answer, and single precision rounds anew.

    Every real and imaginary part of the k-space that is not 0 goes to the next number above or below, at random. The
    slices of each batch are reversed: a sum over a batch is the same then, but its terms come in another order.

    Args:
        split: The slices.
        folder: A new folder for the files of the copy.
        group_size: Slices that are reversed together, the batch size of a training; 1 keeps the order.
        seed: Of the random directions.
    """
    generator = np.random.default_rng(seed)
    complete = split.slice_count - split.slice_count % group_size
    order = np.arange(split.slice_count)
    order[:complete] = order[:complete].reshape(-1, group_size)[:, ::-1].ravel()

    def change(name: str, array: NDArray[np.complex64]) -> NDArray[np.complex64]:
        changed = array[order] if len(array) == split.slice_count else np.array(array)
        if name == "kspace":
            # A complex number is two neighbouring floats in memory.
            parts = np.ascontiguousarray(changed).view(np.float32)
            towards = np.where(generator.integers(2, size=parts.shape), np.inf, -np.inf).astype(np.float32)
            changed = np.where(parts == 0, parts, np.nextafter(parts, towards)).view(np.complex64)
        return changed

    return rewritten(split, folder, change)


def _perturbed(split: Split, folder: Path, group_size: int) -> list[Split]:
    size = min(group_size, split.slice_count)
    return [perturb(split, folder / f"perturbed-{seed}", size, seed) for seed in range(_PERTURBED_RUNS)]


def _starts(network: Network) -> dict[str, weights.Weights]:
    initial, random = weights.initial(network, _SEED), weights.random(network, _SEED)
    same = all(np.array_equal(initial[name], random[name]) for name in initial)
    return {"initial": initial} | ({} if same else {"nonzero": random})


def _differences(
    answers: list[NDArray[Value]],
    keras_answer: NDArray[Value],
    distance: Callable[[NDArray[Value], NDArray[Value]], float],
) -> tuple[float, float]:
    """Return the distances of Keras, and of BART for perturbed data, from BART for the data, which is the first."""
    expected, *perturbed = answers
    return distance(keras_answer, expected), max(distance(answer, expected) for answer in perturbed)


def _adjoint(splits: list[Split], toolbox: Toolbox) -> tuple[float, float]:
    from tf_models.backend.channels import channels_to_complex
    from tf_models.training.network_inputs import network_inputs

    def bart(split: Split) -> NDArray[np.complex64]:
        sampled = cfl.read(split.kspace)
        if split.pattern:
            sampled = toolbox.compute("fmac", sampled, cfl.read(split.pattern))
        coil_images = toolbox.compute("fft", "-iu", 3, sampled)
        return to_batch_map_yx(toolbox.compute("fmac", "-C", "-s", 8, coil_images, cfl.read(split.coils)))

    keras_answer = channels_to_complex(network_inputs(splits[0])["adjoint"])
    return _differences([bart(split) for split in splits], keras_answer, relative_difference)


def _image(
    network: Network, values: weights.Weights, splits: list[Split], toolbox: Toolbox, folder: Path, gpu: bool
) -> tuple[float, float]:
    from tf_models.backend.channels import channels_to_complex
    from tf_models.networks.build import build
    from tf_models.training.network_inputs import network_inputs

    weights.write(folder / "weights", network, values)

    def bart(split: Split) -> NDArray[np.complex64]:
        argv = commands.apply_argv(toolbox, network, split, folder / "weights", folder / "images", gpu=gpu)
        toolbox.run(*argv[1:])
        return to_batch_map_yx(np.array(cfl.read(folder / "images"), order="F"))

    keras_answer = channels_to_complex(build(network, values).predict(network_inputs(splits[0]), verbose=0))
    return _differences([bart(split) for split in splits], keras_answer, relative_difference)


def _losses(
    trained: TrainedNetwork, start: weights.Weights, splits: list[Split], toolbox: Toolbox, folder: Path, gpu: bool
) -> tuple[float, float]:
    from tf_models.training.batches import TrainingData
    from tf_models.training.fit import train
    from tf_models.training.network_inputs import network_inputs, network_reference

    network = trained.network
    training: Training = trained.training.model_copy(update={"epochs": _EPOCHS, "pretraining_epochs": 0})
    initial, history, trained_path = folder / "initial", folder / "history", folder / "trained"
    weights.write(initial, network, start)

    def bart(split: Split) -> NDArray[np.float64]:
        files = commands.TrainingFiles(split, trained_path, initial, history)
        argv = commands.train_argv(toolbox, network, training, _EPOCHS, files, gpu=gpu)
        commands.check_trained(argv, process.run(argv, folder=folder), network, trained_path, history)
        return np.array(read_history(history, network)["loss"])

    data = TrainingData((network_inputs(splits[0]), network_reference(splits[0])))
    _, histories = train(network, training, data, start)
    return _differences([bart(split) for split in splits], histories[0]["loss"], _largest_relative_difference)


def relative_difference(values: NDArray[np.complex64], expected: NDArray[np.complex64]) -> float:
    """Return |values - expected| / |expected|, l2 norms over everything."""
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


def _largest_relative_difference(values: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.max(np.abs(values / expected - 1)))
