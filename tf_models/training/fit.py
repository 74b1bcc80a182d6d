"""Train a network with `model.fit`, in BART's stages and with its batches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import keras

from bart_bridge.reconet.history import after_epochs
from bart_bridge.reconet.network_settings import MemoryPlan, Network
from bart_bridge.reconet.training_settings import Training, check_shared, stages
from bart_bridge.reconet.weights import Weights, expand
from tf_models.backend.devices import runs_on_tensorflow_cpu
from tf_models.networks.build import build
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.optimizers.adam import Adam
from tf_models.optimizers.admm import ADMM
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import IPALM
from tf_models.optimizers.schedules import BartSchedule
from tf_models.training.batches import SliceBatches, TrainingData, feed
from tf_models.training.checkpoint import CheckpointKeeper, Checkpoints
from tf_models.training.data_parallel import on_devices
from tf_models.training.history import History, Hooks, Recorder


@dataclass(frozen=True)
class Execution:
    """How a training is executed; it does not change what is minimised.

    Attributes:
        memory: Memory plan, see `tf_models.networks.unrolled.UnrolledNetwork`. Defaults to `plain`.
        devices: Number of devices that share each batch, at least 1; `tf_models.training.data_parallel.prepare` has to
            find them first. Defaults to 1.
        checkpoints: Where the training continues from, and writes a checkpoint after each epoch. Defaults to None,
            nowhere.
    """

    memory: MemoryPlan = "plain"
    devices: int = 1
    checkpoints: Checkpoints | None = None


def train(
    network: Network,
    training: Training,
    data: TrainingData,
    initial: Weights,
    execution: Execution | None = None,
    hooks: Hooks | None = None,
) -> tuple[UnrolledNetwork, list[History]]:
    """Train a network from given weights, or from a checkpoint of the same training.

    Args:
        network: The network.
        training: Algorithm, learning rate, batch size, epochs and loss.
        data: Slices to train on, and others to measure after each epoch if wanted.
        initial: Weights to start from; those of one iteration if `training` asks for pretraining.
        execution: Memory plan, devices and checkpoints. Defaults to `Execution()`.
        hooks: Functions to call during the training. Defaults to `Hooks()`.

    Returns:
        The trained model, and the history of each stage: columns of shape `(epoch, batch)`. They are `seconds` since
        the start of the epoch, `loss`, the counts of iPALM, the residuals of ADMM, with validation the measures of
        `bart_bridge.measures`, and the lambdas that are trained: `lambda_init`, `lambda_0`, `lambda_1`, ... As in BART,
        the loss is the one before the update (after it for iPALM), and the lambdas are those after it. Measures, on
        images divided by the scale of their slice, and residuals are recorded with the last batch of an epoch; they are
        NaN elsewhere.

    Raises:
        InputError: The devices cannot share this training.
        StoppedError: The training was asked to stop, and has left a checkpoint.
        TrainingDivergedError: A loss, or the weights at the end of a stage, are not finite.
    """
    run = _Run(training, *data.batches(training.batch_size), execution or Execution(), hooks or Hooks())
    check_shared(training, run.batches.batch_size, run.execution.devices)
    state = run.execution.checkpoints.state if run.execution.checkpoints else None
    weights, previous = initial, None
    histories: list[History] = []
    for number, (stage, epochs) in enumerate(stages(network, training)):
        if state and number < state.stage:
            columns = state.histories[number].items()
            histories.append({name: column.reshape(epochs, len(run.batches)) for name, column in columns})
        else:
            if previous is not None:
                weights = expand(weights, previous, stage)
            model, history = run.train_stage(stage, epochs, weights, histories)
            weights = model.named_weights()
            histories.append(history)
        previous = stage
    return model, histories


@dataclass(frozen=True)
class _Run:
    """What the stages of a training share; see `train`."""

    training: Training
    batches: SliceBatches
    validation: SliceBatches | None
    execution: Execution
    hooks: Hooks

    def train_stage(
        self, network: Network, epochs: int, weights: Weights, earlier: list[History]
    ) -> tuple[UnrolledNetwork, History]:
        """Train one stage.

        Args:
            network: The network of this stage.
            epochs: Its epochs.
            weights: Weights that it starts from, where no checkpoint has others.
            earlier: Histories of the stages before.
        """
        training, devices, checkpoints = self.training, self.execution.devices, self.execution.checkpoints
        options: dict[str, Any] = {"memory": self.execution.memory, "precision": training.precision}
        # Validation has batches of any size, which several devices could not share.
        validation_model = build(network, weights, **options) if devices > 1 and self.validation else None
        recorder = Recorder(
            len(self.batches),
            replace(self.hooks, on_batch=after_epochs(self.hooks.on_batch, sum(map(_epochs, earlier)))),
            self.validation,
            validation_model,
            rows=checkpoints.rows(len(earlier)) if checkpoints else [],
            earlier_updates=sum(history["loss"].size for history in earlier),
        )
        keeper = CheckpointKeeper(checkpoints, earlier, recorder) if checkpoints else None
        with on_devices(devices):
            model = build(network, weights, training.loss_weights(network), **options)
            self._fit(model, epochs, recorder, keeper)
        recorder.check_weights(model.named_weights())
        return model, recorder.history()

    def _fit(self, model: UnrolledNetwork, epochs: int, recorder: Recorder, keeper: CheckpointKeeper | None) -> None:
        for variable in model.trainable_variables:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable))
        for norm in model.batch_norms:
            norm.momentum = self.training.batch_norm_momentum
        # On a CPU, XLA makes the whole slower; `tf_models.backend.ops.xla_on_cpu` compiles what gets faster.
        jit_compile = False if runs_on_tensorflow_cpu() else "auto"
        optimizer = _optimizer(self.training, epochs, len(self.batches))
        if self.training.precision == "mixed_float16":
            # Its gradients would underflow: the loss is multiplied by a power of 2, found as training goes.
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer=optimizer, jit_compile=jit_compile)
        callbacks = [recorder] if keeper is None else [recorder, keeper]
        options: dict[str, Any] = {"shuffle": False, "verbose": 0, "callbacks": callbacks}
        epoch, batch = recorder.position
        if keeper is not None and recorder.rows:
            keeper.restore(model)
        if keeper is not None and batch:
            model.fit(feed(self.batches, batch), initial_epoch=epoch, epochs=epoch + 1, **options)
            # `fit` ends by finalising the weights (ADMM's), which has to wait for the last epoch.
            keeper.restore(model)
            epoch += 1
        model.fit(feed(self.batches), initial_epoch=epoch, epochs=epochs, **options)


def _epochs(history: History) -> int:
    return len(history["loss"])


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
        return ADMM(schedule, **training.admm.model_dump())
    return Adam(
        schedule,
        training.adam.epsilon,
        reset_steps=training.adam.reset_epochs * batches if training.adam.reset_epochs else None,
        beta_1=training.adam.beta_1,
        beta_2=training.adam.beta_2,
        **modifiers,
    )
