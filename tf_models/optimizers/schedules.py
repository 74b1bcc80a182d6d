"""BART's learning rates over a training."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.optimizers.arguments import check_count, check_number


@keras.saving.register_keras_serializable("bart_tf")
class BartSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate of `reconet` at each update.

    In epoch e of E, batch b of B, both from 0, with rate r, final rate m, w epochs of warm-up and a cosine of M epochs:

    ```
    warm-up, e < w:   r (e B + b) / (w B)
    exponential:      r (m / r)^((e - w) / (E - 1))
    cosine:           m + (r - m) / 2 (1 + cos(pi ((e - w) mod M) / (M - 1)))
    ```

    Without m the rate stays at r after the warm-up.

    Args:
        learning_rate: float above 0. r.
        epochs: int, at least 1. E.
        batches: int, at least 1. B, the updates of an epoch.
        final_learning_rate: float above 0, or None, which keeps the rate. m. Defaults to `None`.
        cosine_epochs: int, at least 2, or None, which lets the rate fall exponentially. M. Defaults to `None`.
        warmup_epochs: int, at least 0. w. Defaults to `0`.

    Raises:
        ValueError: An argument is out of its range, or `cosine_epochs` comes without `final_learning_rate`.

    References:
        BART, `src/iter/iter6.c`: learning rate, warm-up and cosine annealing of `reconet --train-algo`.
    """

    def __init__(
        self,
        learning_rate: float,
        epochs: int,
        batches: int,
        final_learning_rate: float | None = None,
        cosine_epochs: int | None = None,
        warmup_epochs: int = 0,
    ) -> None:
        check_number("learning_rate", learning_rate, above=0)
        check_number("final_learning_rate", final_learning_rate, above=0)
        check_count("epochs", epochs)
        check_count("batches", batches)
        check_count("cosine_epochs", cosine_epochs, least=2)
        check_count("warmup_epochs", warmup_epochs, least=0)
        if cosine_epochs is not None and final_learning_rate is None:
            raise ValueError(f"`cosine_epochs` needs a `final_learning_rate`. Received: cosine_epochs={cosine_epochs}")
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batches = batches
        self.final_learning_rate = final_learning_rate
        self.cosine_epochs = cosine_epochs
        self.warmup_epochs = warmup_epochs

    def __call__(self, step: Tensor) -> Tensor:
        """Return the rate of an update, counted from 0; a float32 scalar."""
        step = ops.cast(step, "float32")
        epoch = ops.floor(step / self.batches) - self.warmup_epochs
        rate, final = self.learning_rate, self.final_learning_rate
        if final is None:
            regular = rate * ops.ones_like(step)
        elif self.cosine_epochs:
            period = ops.mod(epoch, self.cosine_epochs) / (self.cosine_epochs - 1)
            regular = final + (rate - final) / 2 * (1 + ops.cos(np.pi * period))
        else:
            regular = rate * ops.exp(epoch / max(self.epochs - 1, 1) * np.log(final / rate))
        warmup_steps = self.warmup_epochs * self.batches
        return ops.where(step < warmup_steps, rate * step / max(warmup_steps, 1), regular)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return dict(vars(self))
