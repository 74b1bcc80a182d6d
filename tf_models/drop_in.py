"""Do what a command line of `bart reconet` says, with Keras, and write the files that BART would write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge import cfl, weights
from bart_bridge.command_line import ReconetCommand
from bart_bridge.dataset import Split, check_filters
from bart_bridge.dims import Dim
from bart_bridge.errors import InputError, ToolError
from bart_bridge.measures import NAMES, measures
from bart_bridge.reconet import Progress
from bart_bridge.settings import Network
from bart_bridge.weights import Weights
from tf_models.inputs import to_maps
from tf_models.optimizers.ipalm import COUNTS
from tf_models.recorder import History
from tf_models.streaming import SliceBatches, feed
from tf_models.training import build, train_slices
from tf_models.unrolled import UnrolledNetwork

# BART starts from random weights of a fixed seed of its own where none are loaded.
_SEED = 0


def run(command: ReconetCommand, on_batch: Callable[[Progress], None]) -> dict[str, float]:
    """Train, apply or evaluate a network.

    Args:
        command: What to do, and with which files.
        on_batch: Called after each update of a training.

    Returns:
        The measures of `bart_bridge.measures`, mean over slices, if the command is to evaluate, else nothing.

    Raises:
        InputError: A file is missing or damaged, or does not belong to the network.
        ToolError: A GPU is wanted and Keras sees none.
    """
    import keras

    if command.gpu and not keras.distribution.list_devices("gpu"):
        raise ToolError(f"reconet: --gpu: {keras.backend.backend()} sees no GPU")
    for split in filter(None, (command.split, command.validation)):
        split.validate()
        check_filters(command.network, split)
    if command.mode == "train":
        _train(command, on_batch)
        return {}
    model = build(command.network, weights.read(command.weights, command.network), memory=command.memory)
    batches = SliceBatches(replace(command.split, reference=None), 10, memory_limit_bytes=0)
    images = to_maps(model.predict(feed(batches), verbose=0))
    if command.output is not None:
        _write_images(command.output, images, command.split)
        return {}
    references = command.split.arrays()["reference"]
    found = [measures(*pair) for pair in zip(np.concatenate(images), np.concatenate(references), strict=True)]
    return {name: float(np.mean([values[name] for values in found])) for name in NAMES}


def _train(command: ReconetCommand, on_batch: Callable[[Progress], None]) -> None:
    def dump(epoch: int, model: UnrolledNetwork) -> None:
        if command.dump_epochs and epoch % command.dump_epochs == 0:
            path = command.weights.with_name(f"{command.weights.name}_{epoch}")
            weights.write(path, command.network, model.named_weights())

    model, histories = train_slices(
        command.network,
        command.training,
        command.split,
        _start(command.network, command.load),
        on_batch,
        dump,
        command.validation,
        command.memory,
    )
    weights.write(command.weights, command.network, model.named_weights())
    if command.history is not None:
        _write_history(command.history, histories[0])


def _start(network: Network, load: Path | None) -> Weights:
    """Read the weights to start from; those of one iteration are repeated, as in BART."""
    if load is None:
        return weights.initial(network, _SEED)
    try:
        return weights.read(load, network)
    except InputError as error:
        single = network.model_copy(update={"iterations": 1})
        try:
            return weights.expand(weights.read(load, single), single, network)
        except InputError:
            raise error from None


def _write_history(path: Path, history: History) -> None:
    """Write `[epochs, batches, 2, columns]`: whether a value was acquired, and the value."""
    values = np.stack([column for name, column in history.items() if name not in COUNTS], axis=-1)
    acquired = ~np.isnan(values)
    cfl.write(path, np.stack([acquired, np.where(acquired, values, 0)], axis=2).astype(np.complex64))


def _write_images(path: Path, images: NDArray[np.complex64], split: Split) -> None:
    """Write images `(batch, map, y, x)` with the batch dimensions of the k-space, padded to BART's 16."""
    dims = list(cfl.read_dims(split.kspace))
    dims += [1] * (cfl.MAX_RANK - len(dims))
    _, maps, y, x = images.shape
    dims[: Dim.TE] = (x, y, 1, 1, maps)
    cfl.write(path, images.transpose(3, 2, 1, 0).reshape(dims, order="F"))
