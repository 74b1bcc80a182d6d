"""Run a command line of `bart reconet` with Keras, and write the files that BART would write."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import Dim
from bart_bridge.measures import NAMES, SCALED, measures_of_maps
from bart_bridge.reconet import bart_random, weights
from bart_bridge.reconet.command_line import ReconetCommand
from bart_bridge.reconet.commands import check_loss
from bart_bridge.reconet.history import Progress
from bart_bridge.reconet.image_size import check_filters
from bart_bridge.reconet.network_settings import Network
from bart_bridge.reconet.weights import Weights
from bart_bridge.tools import versions
from tf_models.backend.channels import channels_to_complex
from tf_models.backend.devices import sees_gpu
from tf_models.networks.build import build
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.optimizers.ipalm import COUNTS
from tf_models.training.batches import Scaled, SliceBatches, TrainingData, feed
from tf_models.training.fit import Execution, train
from tf_models.training.history import History, Hooks, TrainingDivergedError

# Slices that are reconstructed at a time.
_SLICES = 10
Divisors: TypeAlias = NDArray[np.float32]


def run(command: ReconetCommand, on_batch: Callable[[Progress], None]) -> dict[str, float]:
    """Train, apply or evaluate a network.

    As in BART, slices without a signal are no error; with `--normalize` each gets a warning on standard error.

    Args:
        command: What to do, and with which files.
        on_batch: Called after each update of a training.

    Returns:
        The measures of `bart_bridge.measures` that BART has, mean over slices, for an evaluation; else nothing.

    Raises:
        InputError: A file is missing or damaged, or does not belong to the network, or the folder of one to write is
            missing.
        ToolError: The command asks for a GPU and Keras sees none.
        TrainingDivergedError: The training diverged. BART would continue and write weights that are not finite; here
            the history is written up to that update, and an existing weights file is kept.
    """
    import keras

    if command.gpu and not sees_gpu():
        raise ToolError(f"reconet: --gpu: {keras.backend.backend()} sees no GPU")
    for target in (command.weights if command.mode == "train" else None, command.output, command.history):
        if target:
            atomic.check_parent(target)
    for split in filter(None, (command.split, command.validation)):
        split.validate_form()
        check_filters(command.network, split)
        _check_batch_dimensions(split)
    network, divisors = _with_shared_scales(command.network, command.split)
    divided_by_zero = {
        number: fault
        for number, fault in _without_scale(command.network, command.split).items()
        if divisors is None or divisors[number] == 0
    }
    of_validation = _without_scale(command.network, command.validation) if command.validation else {}
    for fault in (*divided_by_zero.values(), *of_validation.values()):
        sys.stderr.write(f"warning: {fault}; --normalize divides it by 0, as in BART\n")
    if command.mode == "train":
        check_loss(command.bart_version, command.network, command.training, command.split)
        _train(command, network, divisors, on_batch)
        return {}
    images = _reconstruct(command, network, divisors)
    if command.network.data_consistency == "proximal-mapping":
        # BART's conjugate gradients leave 0 where they begin with NaN.
        images[list(divided_by_zero)] = 0
    if command.output is not None:
        _write_images(command.output, images, command.split)
        return {}
    references = command.split.arrays()["reference"]
    of_all_maps = versions.NMSE_OF_ALL_MAPS.is_in(command.bart_version)
    slice_measures = [measures_of_maps(*pair, of_all_maps) for pair in zip(images, references, strict=True)]
    return {name: float(np.mean([values[name] for values in slice_measures])) for name in _measure_names(command)}


def _measure_names(command: ReconetCommand) -> tuple[str, ...]:
    return (*NAMES, SCALED) if versions.SCALED_MSE.is_in(command.bart_version) else NAMES


def _with_shared_scales(network: Network, split: Split) -> tuple[Network, Divisors | None]:
    """Return the network to compute with, and what to divide each slice by before it, None for nothing.

    In BART, slices along dimension 13 share a scale. The scale that a network with `normalize` computes is that of one
    slice, so slices are divided outside of the network.
    """
    along_slices = _batch_dims(split.kspace)[0]
    if not network.normalize or along_slices == 1:
        return network, None
    divisors = _scales(network, split).reshape(-1, along_slices).max(axis=1).repeat(along_slices)
    return network.model_copy(update={"normalize": False}), divisors


def _without_scale(network: Network, split: Split) -> dict[int, str]:
    """Return number and fault of the slices whose own scale is 0."""
    return dict(replace(split, reference=None).without_signal()) if network.normalize else {}


def _reconstruct(command: ReconetCommand, network: Network, divisors: Divisors | None) -> NDArray[np.complex64]:
    """Return images `(batch, map, y, x)`."""
    model = build(network, weights.read(command.weights, network), memory=command.memory)
    split = replace(command.split, reference=None)
    batches = SliceBatches(split if divisors is None else Scaled(split, divisors), _SLICES, memory_limit_bytes=0)
    images = model.predict(feed(batches), verbose=0)
    return channels_to_complex(images if divisors is None else images * divisors[:, None, None, None])


def _train(
    command: ReconetCommand, network: Network, divisors: Divisors | None, on_batch: Callable[[Progress], None]
) -> None:
    data = TrainingData(command.split, command.validation)
    if divisors is not None:
        data = TrainingData(Scaled(command.split, divisors))
        if command.validation is not None:
            # To BART these are slices along dimension 15 before they are scaled.
            scales = _scales(command.network, command.validation)
            data = replace(data, validation=Scaled(command.validation, scales))

    def dump(epoch: int, model: UnrolledNetwork) -> None:
        if command.dump_epochs and epoch % command.dump_epochs == 0:
            path = command.weights.with_name(f"{command.weights.name}_{epoch}")
            weights.write(path, command.network, model.named_weights())

    epochs, execution = command.training.epochs, Execution(command.memory)
    of_all_maps = versions.NMSE_OF_ALL_MAPS.is_in(command.bart_version)
    hooks = Hooks(on_batch, on_epoch=dump, measures=_measure_names(command), nmse_of_all_maps=of_all_maps)
    initial = _initial_weights(network, command)
    try:
        model, histories = train(network, command.training, data, initial, execution, hooks)
    except TrainingDivergedError as error:
        if command.history is not None:
            _write_history(command.history, error.history, epochs)
        raise
    weights.write(command.weights, command.network, model.named_weights())
    if command.history is not None:
        _write_history(command.history, histories[0], epochs)


def _batch_dims(path: Path) -> tuple[int, ...]:
    """Return the sizes of dimensions 13, 14 and 15."""
    dims = cfl.read_dims(path)
    return (*dims, *(1,) * (cfl.MAX_RANK - len(dims)))[Dim.SLICE :]


def _check_batch_dimensions(split: Split) -> None:
    """Refuse files whose slices lie along different dimensions, as BART does with references."""
    batch = _batch_dims(split.kspace)
    for path in filter(None, (split.coils, split.reference, split.pattern, split.trajectory)):
        for_all_slices = path in (split.pattern, split.trajectory) and _batch_dims(path) == (1, 1, 1)
        if _batch_dims(path) != batch and not for_all_slices:
            raise InputError(
                f"{path}: dimensions 13, 14 and 15 must be those of {split.kspace}, "
                f"{' x '.join(map(str, batch))}, found {' x '.join(map(str, _batch_dims(path)))}"
            )


def _scales(network: Network, split: Split) -> NDArray[np.float32]:
    """Return what a network with `normalize` divides each slice by, `(slice,)`; its weights do not matter."""
    from keras import ops

    model = build(network, weights.initial(network, seed=0))
    batches = SliceBatches(replace(split, reference=None), _SLICES, memory_limit_bytes=0)
    parts = [ops.convert_to_numpy(model.scale(batches[number][0])).ravel() for number in range(len(batches))]
    return np.concatenate(parts)


def _initial_weights(network: Network, command: ReconetCommand) -> Weights:
    """Read the weights to start from, or draw BART's; as in BART, those of one iteration are repeated for all."""
    if command.load is None:
        compatibility = os.environ.get(versions.COMPATIBILITY, "")
        return bart_random.initial(network, versions.asked_for(command.bart_version, compatibility))
    try:
        return weights.read(command.load, network)
    except InputError as error:
        single = network.model_copy(update={"iterations": 1})
        try:
            return weights.expand(weights.read(command.load, single), single, network)
        except InputError:
            raise error from None


def _write_history(path: Path, history: History, epochs: int) -> None:
    """Write an array `[epochs, batches, 2, columns]`: whether a value was acquired, and the value.

    Nothing was acquired in epochs that `history` does not have, and in updates without a time.
    """
    names = [name for name in history if name not in COUNTS]
    missing = epochs - len(history["seconds"])
    values = np.stack([np.pad(history[name], ((0, missing), (0, 0)), constant_values=np.nan) for name in names], -1)
    acquired = np.repeat(~np.isnan(values[..., :1]), len(names), axis=-1)
    # Validation comes after the last batch of an epoch. A measure may be NaN, and is acquired nevertheless.
    acquired[:, :-1, [name in (*NAMES, SCALED) for name in names]] = False
    cfl.write(path, np.stack([acquired, np.where(acquired, values, 0)], axis=2).astype(np.complex64))


def _write_images(path: Path, images: NDArray[np.complex64], split: Split) -> None:
    """Write images `(batch, map, y, x)` with the batch dimensions of the k-space, padded to BART's 16."""
    dims = list(cfl.read_dims(split.kspace))
    dims += [1] * (cfl.MAX_RANK - len(dims))
    _, maps, y, x = images.shape
    dims[: Dim.TE] = (x, y, 1, 1, maps)
    cfl.write(path, images.transpose(3, 2, 1, 0).reshape(dims, order="F"))
