"""The running statistics of batch normalisation."""

from __future__ import annotations

import keras
from keras import ops

from tf_models.backend.ops import Tensor, value_of


class BatchNorm(keras.layers.Layer):
    """The running statistics of BART's batch normalization of complex features, for each unrolled iteration.

    The layer only holds them; `tf_models.kernels.normalization` computes with them.

    ```
    training:   y = (x - m_b) / sqrt(v_b + 1e-3)
                m <- 0.95 m + 0.05 m_b
                v <- 0.95 v + 0.05 v_b n / (n - 1)
    inference:  y = (x - m) / sqrt(v + 1e-3)
    ```

    m_b and v_b are the mean and the biased variance of a batch over slices, y and x, which are n values per channel.
    The mean is complex. The variance, mean |x - m_b|^2, is one real number for both parts. There is no scale or shift.

    As in BART, v starts at 0 without bias correction: after k updates it is too small by the factor 1 - 0.95^k. So
    train for 60 updates or more before you apply a network.

    Args:
        channels: Number of complex channels.
        iterations: Number of unrolled iterations.
        **kwargs: As of `keras.layers.Layer`.

    Attributes:
        momentum: Weight of the old statistics in an update, 0 to 1; 0.95 in a new layer. With 0 an update replaces the
            statistics by those of the batch. To start from proper statistics, update once with 0, then go on with 0.95.
    """

    def __init__(self, channels: int, iterations: int, **kwargs: object) -> None:
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
        """Return the running mean `(2 * channels,)` and variance `(channels,)` of an iteration."""
        return [value_of(variables[iteration]) for variables in (self.mean, self.variance)]

    def update(self, iteration: int, mean: Tensor, variance: Tensor, values: Tensor) -> None:
        """Update the running statistics of an iteration.

        Args:
            iteration: The iteration, from 0.
            mean: Mean of the batch, `(2 * channels,)`.
            variance: Biased variance of the batch, `(channels,)`.
            values: Number of values per channel, n.
        """
        self._update(self.mean[iteration], mean)
        self._update(self.variance[iteration], variance * values / (values - 1))

    def _update(self, statistic: keras.Variable, value: Tensor) -> None:
        # On PyTorch, Keras multiplies a variable by a number that it first brings to the GPU, for which it waits.
        old, new = value_of(statistic), ops.cast(value, statistic.dtype)
        statistic.assign(self.momentum * old + (1 - self.momentum) * new)
