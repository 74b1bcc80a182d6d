"""The history of a training: what is recorded of each update, in BART's columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from bart_bridge.errors import DivergedError
from bart_bridge.measures import NAMES, measures_of_maps
from bart_bridge.reconet.history import Progress
from bart_bridge.reconet.weights import Weights
from tf_models.backend.channels import channels_to_complex
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.optimizers.admm import RESIDUALS, at_feasible_copy, find_admm
from tf_models.optimizers.ipalm import COUNTS
from tf_models.training.batches import SliceBatches, feed
from tf_models.training.data_parallel import on_one_device

History = dict[str, NDArray[np.float64]]
Row = dict[str, float]


def _ignore_batch(progress: Progress) -> None:
    """Do nothing."""


def _ignore_epoch(epoch: int, model: UnrolledNetwork) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Hooks:
    """What a training calls, and what it measures for its caller.

    Attributes:
        on_batch: Called after each update; epochs are counted through all stages.
        on_epoch: Called before each epoch of a stage with its number, from 0, and the model.
        measures: Which measures of `bart_bridge.measures` are taken of validation slices. Defaults to those that all
            versions of BART have.
        nmse_of_all_maps: Whether nmse has the sums over all maps (default false); see `bart_bridge.measures`.
    """

    on_batch: Callable[[Progress], None] = _ignore_batch
    on_epoch: Callable[[int, UnrolledNetwork], None] = _ignore_epoch
    measures: tuple[str, ...] = NAMES
    nmse_of_all_maps: bool = False


class TrainingDivergedError(DivergedError):
    """A training by Keras that diverged at its last update.

    Args:
        update: Number of that update, see `DivergedError`.
        reason: What is not finite.
        history: Columns of the stage, `(epoch, batch)`, up to the epoch in which it diverged; NaN after that update.
    """

    def __init__(self, update: int, reason: str, history: History) -> None:
        super().__init__(update, reason)
        self.history = history


class Recorder(keras.callbacks.Callback):
    """Record a stage of a training; see `tf_models.training.fit.train` for the columns.

    Args:
        batches: Updates in an epoch.
        hooks: Functions to call.
        validation: Slices that are measured after the last update of an epoch, or None.
        validation_model: A network on one device to measure with, where several devices train. It gets the weights of
            the trained one. Defaults to None, the trained network.
        rows: What an interrupted training of the stage has recorded so far, one row for each update. Defaults to none.
        earlier_updates: Number of updates of the stages before. Defaults to 0.
    """

    def __init__(
        self,
        batches: int,
        hooks: Hooks,
        validation: SliceBatches | None,
        validation_model: UnrolledNetwork | None = None,
        rows: Sequence[Row] = (),
        earlier_updates: int = 0,
    ) -> None:
        super().__init__()
        self.batches, self.hooks, self.rows = batches, hooks, list(rows)
        self.validation, self.validation_model = validation, validation_model
        self.earlier_updates = earlier_updates
        self.start_s = 0.0

    @property
    def position(self) -> tuple[int, int]:
        """The epoch and the batch of the next update, both from 0."""
        return divmod(len(self.rows), self.batches)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Start the clock; in an epoch that was interrupted, from where it stood."""
        batch = self.position[1]
        if batch == 0:
            self.hooks.on_epoch(epoch, self.model)
        self.start_s = time.perf_counter() - (self.rows[-1]["seconds"] if batch else 0.0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Record an update.

        Raises:
            TrainingDivergedError: The loss is not finite.
        """
        epoch, batch = self.position
        logs = logs or {}
        row = {"seconds": time.perf_counter() - self.start_s, "loss": float(logs["batch_loss"])}
        # iPALM counts its work.
        row |= {name: float(value) for name, value in logs.items() if name in COUNTS}
        last = batch == self.batches - 1
        if (admm := find_admm(self.model)) is not None:
            row |= admm.residuals() if last else dict.fromkeys(RESIDUALS, np.nan)
        if self.validation is not None:
            row |= self._validate(self.validation) if last else dict.fromkeys(self.hooks.measures, np.nan)
        if self.model.own_lambda is not None:
            row["lambda_init"] = float(ops.convert_to_numpy(self.model.own_lambda)[0])
        if self.model.data_consistency.lambdas is not None:
            values = ops.convert_to_numpy(self.model.data_consistency.lambdas)
            row |= {f"lambda_{number}": float(value) for number, value in enumerate(values)}
        self.rows.append(row)
        self.hooks.on_batch(Progress(epoch + 1, batch + 1, self.batches, row["loss"]))
        if not np.isfinite(row["loss"]):
            raise self._diverged(f"the loss is {row['loss']}")

    def check_weights(self, weights: Weights) -> None:
        """Check the weights that the stage ends with.

        Raises:
            TrainingDivergedError: A weight is not finite.
        """
        if not all(np.isfinite(values).all() for values in weights.values()):
            raise self._diverged("the weights are not finite after it, the losses were")

    def _diverged(self, reason: str) -> TrainingDivergedError:
        rest = -len(self.rows) % self.batches
        rows = [*self.rows, *[dict.fromkeys(self.rows[0], np.nan)] * rest]
        history = {name: column.reshape(-1, self.batches) for name, column in columns(rows).items()}
        return TrainingDivergedError(self.earlier_updates + len(self.rows), reason, history)

    def _validate(self, batches: SliceBatches) -> dict[str, float]:
        with at_feasible_copy(self.model):
            if self.validation_model is None:
                return _measure(self.model, batches, self.hooks)
            weights = self.model.named_weights()
        with on_one_device():
            self.validation_model.set_named_weights(weights)
            return _measure(self.validation_model, batches, self.hooks)

    def history(self) -> History:
        """Return the columns, each `(epoch, batch)`."""
        return {name: column.reshape(-1, self.batches) for name, column in columns(self.rows).items()}


def _measure(model: UnrolledNetwork, batches: SliceBatches, hooks: Hooks) -> Row:
    """Return the means of measures over the slices, on images divided by the scale of their slice."""
    images = model.predict(feed(batches), verbose=0)
    slice_measures = []
    for number in range(len(batches)):
        inputs, reference = batches[number]
        scale = ops.convert_to_numpy(model.scale(inputs))
        batch_images, images = np.split(images, [len(reference)])
        pairs = zip(channels_to_complex(batch_images / scale), channels_to_complex(reference / scale), strict=True)
        slice_measures += [measures_of_maps(image, truth, hooks.nmse_of_all_maps) for image, truth in pairs]
    return {name: float(np.mean([values[name] for values in slice_measures])) for name in hooks.measures}


def columns(rows: list[Row]) -> History:
    """Turn rows into columns of shape `(row,)`."""
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def rows_of(columns: History) -> list[Row]:
    """Turn columns into rows."""
    by_row = zip(*(column.ravel() for column in columns.values()), strict=True)
    return [dict(zip(columns, map(float, row), strict=True)) for row in by_row]
