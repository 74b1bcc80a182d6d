"""Train a network with `model.fit`, in BART's stages and with its batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bart_bridge.reconet.history import Progress, after_epochs
from bart_bridge.reconet.network_settings import MemoryPlan, Network
from bart_bridge.reconet.training_settings import Training, check_shared, stages
from bart_bridge.reconet.weights import Weights, expand
from tf_models.backend.devices import runs_on_tensorflow_cpu
from tf_models.networks.build import build
from tf_models.networks.modl import Modl
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.optimizers.adam import Adam
from tf_models.optimizers.admm import ADMM
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import IPALM
from tf_models.optimizers.schedules import BartSchedule
from tf_models.training.batches import SliceBatches, Slices, default_memory_limit_bytes, feed
from tf_models.training.checkpoint import Checkpoints, Keeper, rows
from tf_models.training.data_parallel import spread_over
from tf_models.training.history import History, Recorder


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
    checkpoints: Checkpoints | None = None,
    devices: int = 1,
) -> tuple[UnrolledNetwork, list[History]]:
    """Train a network from given weights, or from where a checkpoint of the same training stands.

    Args:
        network: The network.
        training: Algorithm, learning rate, batch size, epochs and loss.
        slices: Files with a reference, which are read as `tf_models.training.batches.SliceBatches` does; or
            `tf_models.training.network_inputs.network_inputs` and fully sampled images `(batch, y, x, 2)` float32.
        initial: Weights to start from; those of one iteration if `training` asks for pretraining.
        on_batch: Called after each update; epochs are counted through all stages.
        on_epoch: Called before each epoch with its number from 0 and the model.
        validation: Other slices, measured after each epoch.
        memory: See `UnrolledNetwork`.
        memory_limit_bytes: How much of prepared slices is kept, by default half of the memory that is available.
        checkpoints: Where to begin and where to leave what is needed to go on, after each epoch; by default nowhere.
        devices: Share each batch among so many; see `tf_models.training.data_parallel`, whose `prepare` has found them.

    Raises:
        InputError: Devices cannot share this training.
        StoppedError: `checkpoints` were asked for a stop.
        TrainingDivergedError: A loss, or the weights at the end of a stage, are not finite.

    Returns:
        The trained model and the history of each stage: `seconds` since the start of the epoch, `loss`, with iPALM its
        counts, with ADMM its residuals, with validation the measures of `bart_bridge.measures`, `lambda_init` and
        `lambda_0`, `lambda_1`, ... where they are trained; each `(epoch, batch)`. As in BART, the loss is the one
        before the update (after it for iPALM), lambda the one after, and validation is recorded with the last batch of
        an epoch (NaN elsewhere), on images divided by the scale of their slice. So are the residuals.
    """
    weights, previous = initial, None
    limit = default_memory_limit_bytes() if memory_limit_bytes is None else memory_limit_bytes
    checked = None
    if validation is not None:
        limit //= 2
        checked = SliceBatches(validation, training.batch_size, memory_limit_bytes=limit)
    # BART takes the slices in the order of the file and leaves a remainder out.
    batches = SliceBatches(slices, training.batch_size, remainder=False, memory_limit_bytes=limit)
    check_shared(training, batches.batch_size, devices)
    state = checkpoints.state if checkpoints else None
    histories: list[History] = []
    parts = stages(network, training)
    for number, (stage, epochs) in enumerate(parts):
        if state and number < state.stage:
            columns = state.histories[number].items()
            histories.append({name: column.reshape(epochs, len(batches)) for name, column in columns})
            previous = stage
            continue
        if previous is not None:
            weights = expand(weights, previous, stage)
        options: dict[str, Any] = {"memory": memory, "precision": training.precision}
        # What validation measures: batches of any size.
        measured = build(stage, weights, **options) if devices > 1 and checked else None
        report = after_epochs(on_batch, sum(epochs_before for _, epochs_before in parts[:number]))
        updates_before = sum(history["loss"].size for history in histories)
        recorder = Recorder(len(batches), report, on_epoch, checked, rows(state, number), measured, updates_before)
        keeper = Keeper(checkpoints, number, histories, recorder) if checkpoints else None
        with spread_over(devices):
            model = build(stage, weights, training.loss_weights(stage), **options)
            _fit(model, training, epochs, batches, recorder, keeper)
        histories = [*histories, recorder.history()]
        weights, previous = model.named_weights(), stage
        recorder.check_weights(weights)
    return model, histories


def _fit(
    model: UnrolledNetwork,
    training: Training,
    epochs: int,
    batches: SliceBatches,
    recorder: Recorder,
    keeper: Keeper | None,
) -> None:
    for variable in model.trainable_variables:
        if variable.constraint is not None:
            variable.assign(variable.constraint(variable))
    # On a CPU, XLA makes the whole slower; `tf_models.backend.ops.xla_on_cpu` compiles what gets faster.
    jit_compile = False if runs_on_tensorflow_cpu() else "auto"
    optimizer = _optimizer(training, epochs, len(batches))
    if training.precision == "mixed_float16":
        # Its gradients would underflow: the loss is multiplied by a power of 2, found as training goes.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    if isinstance(model, Modl):
        for norm in model.regularizer.norms:
            norm.momentum = training.batch_norm_momentum
    callbacks = [recorder] if keeper is None else [recorder, keeper]
    options: dict[str, Any] = {"shuffle": False, "verbose": 0, "callbacks": callbacks}
    epoch, batch = recorder.position
    if keeper is not None and recorder.rows:
        keeper.restore(model)
    if keeper is not None and batch:
        model.fit(feed(batches, batch), initial_epoch=epoch, epochs=epoch + 1, **options)
        # At its end `fit` has finalised the weights (ADMM's), which is only for the end of all.
        keeper.restore(model)
        epoch += 1
    model.fit(feed(batches), initial_epoch=epoch, epochs=epochs, **options)


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
            training.admm.rho,
            training.admm.relaxation,
            training.admm.dual_interval,
            training.admm.balancing,
        )
    return Adam(
        schedule,
        training.adam.epsilon,
        reset_steps=training.adam.reset_epochs * batches if training.adam.reset_epochs else None,
        beta_1=training.adam.beta_1,
        beta_2=training.adam.beta_2,
        **modifiers,
    )
