"""Train a network with `model.fit`, in BART's stages and with its batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from bart_bridge.reconet import Progress
from bart_bridge.settings import Loss, Network, Training, VarNetSettings, stages
from bart_bridge.weights import Weights, expand
from tf_models.modl import Modl
from tf_models.optimizers.adam import Adam
from tf_models.unrolled import UnrolledNetwork
from tf_models.varnet import VarNet

History = dict[str, NDArray[np.float64]]


def build(network: Network, weights: Weights, loss: Loss | None = None) -> UnrolledNetwork:
    """Make the Keras model of a network, with the given weights."""
    model = VarNet(network, loss) if isinstance(network, VarNetSettings) else Modl(network, loss)
    model.set_named_weights(weights)
    return model


def train(
    network: Network,
    training: Training,
    inputs: dict[str, NDArray[np.float32]],
    reference: NDArray[np.float32],
    initial: Weights,
    on_batch: Callable[[Progress], None] = lambda progress: None,
) -> tuple[UnrolledNetwork, list[History]]:
    """Train a network from given weights.

    Args:
        network: The network.
        training: Algorithm, learning rate, batch size, epochs and loss.
        inputs: `tf_models.inputs.network_inputs` of the slices.
        reference: Fully sampled images, `(batch, y, x, 2)` float32.
        initial: Weights to start from; those of one iteration if `training` asks for pretraining.
        on_batch: Called after each update.

    Returns:
        The trained model and the history of each stage: `seconds` since the start of the epoch, `loss` and `lambda_0`,
        `lambda_1`, ..., each `(epoch, batch)`. As in BART, the loss is the one before the update, lambda the one after.
    """
    weights, previous = initial, None
    histories = []
    for stage, epochs in stages(network, training):
        if previous is not None:
            weights = expand(weights, previous, stage)
        model = build(stage, weights, training.loss)
        histories.append(_fit(model, training, epochs, inputs, reference, on_batch))
        weights, previous = model.named_weights(), stage
    return model, histories


def _fit(
    model: UnrolledNetwork,
    training: Training,
    epochs: int,
    inputs: dict[str, NDArray[np.float32]],
    reference: NDArray[np.float32],
    on_batch: Callable[[Progress], None],
) -> History:
    for variable in model.trainable_variables:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    optimizer = Adam if training.algorithm == "adam" else keras.optimizers.SGD
    model.compile(optimizer=optimizer(learning_rate=training.learning_rate))
    batch_size = min(training.batch_size, len(reference))
    batches = len(reference) // batch_size
    # BART takes the slices in the order of the file and leaves a remainder out.
    used = slice(0, batches * batch_size)
    recorder = _Recorder(epochs, batches, on_batch)
    model.fit(
        {name: values[used] for name, values in inputs.items()},
        reference[used],
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.history()


class _Recorder(keras.callbacks.Callback):
    """Keep seconds, loss and lambda of every update."""

    def __init__(self, epochs: int, batches: int, on_batch: Callable[[Progress], None]) -> None:
        super().__init__()
        self.rows: list[list[list[float]]] = [[] for _ in range(epochs)]
        self.batches = batches
        self.on_batch = on_batch
        self.epoch = 0
        self.start_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch
        self.start_s = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {})["batch_loss"])
        lambdas = self.model.data_consistency.lambdas
        values = [] if lambdas is None else ops.convert_to_numpy(lambdas).tolist()
        self.rows[self.epoch].append([time.perf_counter() - self.start_s, loss, *values])
        self.on_batch(Progress(self.epoch + 1, batch + 1, self.batches, loss))

    def history(self) -> History:
        values = np.array(self.rows)
        names = ["seconds", "loss", *(f"lambda_{number}" for number in range(values.shape[-1] - 2))]
        return {name: values[..., column] for column, name in enumerate(names)}
