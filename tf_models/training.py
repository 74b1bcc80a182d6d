"""Train a network with `model.fit`, in BART's stages and with its batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from bart_bridge.measures import NAMES, measures
from bart_bridge.reconet import Progress
from bart_bridge.settings import Loss, MemoryPlan, Network, Precision, Training, VarNetSettings, stages
from bart_bridge.weights import Weights, expand
from tf_models.backend import runs_on_tensorflow_cpu, use_full_precision
from tf_models.inputs import to_complex
from tf_models.modl import Modl
from tf_models.optimizers.adam import Adam
from tf_models.optimizers.admm import ADMM, evaluated_at_z
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import COUNTS, IPALM
from tf_models.optimizers.schedules import BartSchedule
from tf_models.streaming import SliceBatches, Slices, default_memory_limit_bytes, feed
from tf_models.unrolled import UnrolledNetwork
from tf_models.varnet import VarNet

History = dict[str, NDArray[np.float64]]


def build(
    network: Network,
    weights: Weights,
    loss: dict[Loss, float] | None = None,
    dtype: str = "float32",
    memory: MemoryPlan = "plain",
    precision: Precision = "float32",
) -> UnrolledNetwork:
    """Make the Keras model of a network, with the given weights; `float64` computes in double precision."""
    use_full_precision()
    model: UnrolledNetwork
    if isinstance(network, VarNetSettings):
        model = VarNet(network, loss, memory=memory, precision=precision, dtype=dtype)
    else:
        model = Modl(network, loss, memory=memory, precision=precision, dtype=dtype)
    model.set_named_weights(weights)
    return model


def train(
    network: Network,
    training: Training,
    inputs: dict[str, NDArray[np.float32]],
    reference: NDArray[np.float32],
    initial: Weights,
    on_batch: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[int, UnrolledNetwork], None] = lambda epoch, model: None,
    validation: tuple[dict[str, NDArray[np.float32]], NDArray[np.float32]] | None = None,
    memory: MemoryPlan = "plain",
) -> tuple[UnrolledNetwork, list[History]]:
    """Train a network on slices that are in memory: `inputs` and references `(batch, y, x, 2)`; see `train_slices`."""
    return train_slices(network, training, (inputs, reference), initial, on_batch, on_epoch, validation, memory)


def train_slices(
    network: Network,
    training: Training,
    slices: Slices,
    initial: Weights,
    on_batch: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[int, UnrolledNetwork], None] = lambda epoch, model: None,
    validation: Slices | None = None,
    memory: MemoryPlan = "plain",
    memory_limit_bytes: int | None = None,
) -> tuple[UnrolledNetwork, list[History]]:
    """Train a network from given weights.

    Args:
        network: The network.
        training: Algorithm, learning rate, batch size, epochs and loss.
        slices: Files with a reference, which are read as `tf_models.streaming.SliceBatches` does; or
            `tf_models.inputs.network_inputs` and fully sampled images `(batch, y, x, 2)` float32.
        initial: Weights to start from; those of one iteration if `training` asks for pretraining.
        on_batch: Called after each update.
        on_epoch: Called before each epoch with its number from 0 and the model.
        validation: Other slices, measured after each epoch.
        memory: See `UnrolledNetwork`.
        memory_limit_bytes: How much of prepared slices is kept, by default half of the memory that is available.

    Returns:
        The trained model and the history of each stage: `seconds` since the start of the epoch, `loss`, with iPALM its
        counts, with validation the measures of `bart_bridge.measures`, and `lambda_0`, `lambda_1`, ...; each
        `(epoch, batch)`. As in BART, the loss is the one before the update (after it for iPALM), lambda the one after,
        and validation is recorded with the last batch of an epoch (NaN elsewhere), on images divided by the scale of
        their slice.
    """
    weights, previous = initial, None
    histories = []
    limit = default_memory_limit_bytes() if memory_limit_bytes is None else memory_limit_bytes
    checked = None
    if validation is not None:
        limit //= 2
        checked = SliceBatches(validation, training.batch_size, memory_limit_bytes=limit)
    # BART takes the slices in the order of the file and leaves a remainder out.
    batches = SliceBatches(slices, training.batch_size, remainder=False, memory_limit_bytes=limit)
    for stage, epochs in stages(network, training):
        if previous is not None:
            weights = expand(weights, previous, stage)
        model = build(stage, weights, training.loss_weights(stage), memory=memory, precision=training.precision)
        recorder = _Recorder(epochs, on_batch, on_epoch, checked)
        _fit(model, training, epochs, batches, recorder)
        histories.append(recorder.history())
        weights, previous = model.named_weights(), stage
    return model, histories


def _fit(
    model: UnrolledNetwork,
    training: Training,
    epochs: int,
    batches: SliceBatches,
    recorder: _Recorder,
) -> None:
    for variable in model.trainable_variables:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    # On a CPU, what XLA makes faster is compiled where it is (`tf_models.backend.fused`); the rest gets slower by it.
    jit_compile = False if runs_on_tensorflow_cpu() else "auto"
    optimizer = _optimizer(training, epochs, len(batches))
    if training.precision == "mixed_float16":
        # Its gradients would underflow: the loss is multiplied by a power of 2, found as training goes.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    if isinstance(model, Modl):
        for norm in model.regularizer.norms:
            norm.momentum = training.batch_norm_momentum
    model.fit(feed(batches), epochs=epochs, shuffle=False, verbose=0, callbacks=[recorder])


def _optimizer(training: Training, epochs: int, batches: int) -> keras.optimizers.Optimizer:
    if training.algorithm == "ipalm":
        return IPALM(training.learning_rate, "bart", training.ipalm.model_dump())
    schedule = BartSchedule(
        training.learning_rate,
        epochs,
        batches,
        training.final_learning_rate,
        training.cosine_epochs,
        training.warmup_epochs,
    )
    modifiers: dict[str, Any] = {
        "shrinkage": training.weight_decay,
        "bart_clip_norm": training.clip_norm,
        "bart_clip_value": training.clip_value,
    }
    if training.algorithm == "sgd":
        return SGD(schedule, **modifiers)
    if training.algorithm == "admm":
        return ADMM(
            schedule,
            training.admm_rho,
            training.admm_relaxation,
            training.admm_dual_interval,
            training.admm_balancing,
        )
    return Adam(
        schedule,
        training.adam_epsilon,
        reset_steps=training.adam_reset_epochs * batches if training.adam_reset_epochs else None,
        beta_1=training.adam_beta_1,
        beta_2=training.adam_beta_2,
        **modifiers,
    )


class _Recorder(keras.callbacks.Callback):
    """Keep what BART keeps of every update."""

    def __init__(
        self,
        epochs: int,
        on_batch: Callable[[Progress], None],
        on_epoch: Callable[[int, UnrolledNetwork], None],
        validation: SliceBatches | None,
    ) -> None:
        super().__init__()
        self.rows: list[list[dict[str, float]]] = [[] for _ in range(epochs)]
        self.on_batch, self.on_epoch, self.validation = on_batch, on_epoch, validation
        self.epoch = 0
        self.start_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch
        self.on_epoch(epoch, self.model)
        self.start_s = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        row = {"seconds": time.perf_counter() - self.start_s, "loss": float((logs or {})["batch_loss"])}
        # iPALM counts its work.
        row |= {name: float(value) for name, value in (logs or {}).items() if name in COUNTS}
        batches = self.params["steps"]
        if self.validation is not None:
            row |= self._validate(self.validation) if batch == batches - 1 else dict.fromkeys(NAMES, np.nan)
        if self.model.data_consistency.lambdas is not None:
            values = ops.convert_to_numpy(self.model.data_consistency.lambdas)
            row |= {f"lambda_{number}": float(value) for number, value in enumerate(values)}
        self.rows[self.epoch].append(row)
        self.on_batch(Progress(self.epoch + 1, batch + 1, batches, row["loss"]))

    def _validate(self, batches: SliceBatches) -> dict[str, float]:
        with evaluated_at_z(self.model):
            images = self.model.predict(feed(batches), verbose=0)
        found = []
        for number in range(len(batches)):
            inputs, reference = batches[number]
            scale = ops.convert_to_numpy(self.model.scale(inputs))
            own, images = np.split(images, [len(reference)])
            pairs = zip(to_complex(own / scale), to_complex(reference / scale), strict=True)
            found += [measures(image, truth) for image, truth in pairs]
        return {name: float(np.mean([values[name] for values in found])) for name in NAMES}

    def history(self) -> History:
        names = self.rows[0][0].keys()
        return {name: np.array([[row[name] for row in epoch] for epoch in self.rows]) for name in names}
