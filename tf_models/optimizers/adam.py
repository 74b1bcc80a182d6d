"""Adam with epsilon where Kingma's algorithm 1 and BART have it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("bart_tf")
class Adam(keras.optimizers.Adam):
    """Adam, epsilon added to the bias-corrected root.

        m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
        w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

    Keras adds epsilon to the uncorrected root, which at t = 1 makes it 1 / sqrt(1 - b2) = 32 times larger. Gradients of
    unrolled networks are often as small as 1e-8, so it matters: here every step is the one of `bart reconet`.

    Args:
        learning_rate: Defaults to 0.001.
        epsilon: Defaults to 1e-7.
        **kwargs: As of `keras.optimizers.Adam`; `amsgrad` is not supported.

    References:
        Kingma and Ba (2015), arXiv 1412.6980, algorithm 1.
    """

    def __init__(self, learning_rate: Any = 0.001, epsilon: float = 1e-7, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, epsilon=epsilon, **kwargs)
        if self.amsgrad:
            raise ValueError("`amsgrad` is not supported. Received: amsgrad=True")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        dtype = variable.dtype
        step = ops.cast(self.iterations + 1, dtype)
        first, second = (moments[self._get_variable_index(variable)] for moments in (self._momentums, self._velocities))
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
        corrected_first = first / (1 - ops.power(ops.cast(self.beta_1, dtype), step))
        corrected_second = second / (1 - ops.power(ops.cast(self.beta_2, dtype), step))
        self.assign_sub(variable, rate * corrected_first / (ops.sqrt(corrected_second) + self.epsilon))
