"""The running statistics of batch normalisation."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_models.backend.ops import Tensor, value_of


class BatchNorm(keras.layers.Layer):
    """The statistics of BART's batch normalisation of complex features, for each unrolled iteration.

    `ResidualBlock` normalises with them, see `tf_models.kernels.normalization`:

        training:   y = (x - m_b) / sqrt(v_b + 1e-3),   m_b, v_b: mean and biased variance over batch, y and x
                    m <- 0.95 m + 0.05 m_b,   v <- 0.95 v + 0.05 v_b n / (n - 1),   n values per channel
        inference:  y = (x - m) / sqrt(v + 1e-3)

    The mean is complex, the variance mean |x - m|^2 one real number for both parts. As in BART, v starts at 0 without
    bias correction: after k updates it is too small by the factor 1 - 0.95^k, so train for 60 updates or more before
    applying a network. There is no scale or shift.

    Args:
        channels: Number of complex channels.
        iterations: Number of unrolled iterations.

    Attributes:
        momentum: Weight of the old statistics in an update; 0 takes over those of the last batch, which starts from
            proper statistics: one pass over a batch with it, then 0.95 again.
    """

    def __init__(self, channels: int, iterations: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.momentum = 0.95
        self.mean = [
            self.add_weight(name=f"mean_{t}", shape=(2 * channels,), initializer="zeros", trainable=False)
            for t in range(iterations)
        ]
        self.variance = [
            self.add_weight(name=f"variance_{t}", shape=(channels,), initializer="zeros", trainable=False)
            for t in range(iterations)
        ]
        self.built = True

    def statistics_of(self, iteration: int) -> list[Tensor]:
        """Return the stored mean and variance of an iteration."""
        return [value_of(variables[iteration]) for variables in (self.mean, self.variance)]

    def update(self, iteration: int, mean: Tensor, variance: Tensor, values: Tensor) -> None:
        """Take the statistics of a batch with so many values per channel into those that are stored."""
        self._update(self.mean[iteration], mean)
        self._update(self.variance[iteration], variance * values / (values - 1))

    def _update(self, statistic: Any, value: Tensor) -> None:
        statistic.assign(self.momentum * statistic + (1 - self.momentum) * ops.cast(value, statistic.dtype))
