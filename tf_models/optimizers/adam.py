"""Adam with epsilon where Kingma's algorithm 1 and BART have it."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.optimizers.arguments import LearningRate, check_count, check_number, check_rate
from tf_models.optimizers.bart_modifiers import BartModifiers


@keras.saving.register_keras_serializable("bart_tf")
class Adam(BartModifiers, keras.optimizers.Adam):
    """Adam that adds epsilon to the bias-corrected root, as `bart reconet` does.

    With the gradient g of update t = 1, 2, ...:

    ```
    m = beta_1 m + (1 - beta_1) g
    v = beta_2 v + (1 - beta_2) g^2
    w <- w - learning_rate (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon)
    ```

    Keras adds epsilon to the uncorrected root instead, which at t = 1 makes it 1 / sqrt(1 - beta_2) = 32 times larger.
    Gradients of unrolled networks are often as small as 1e-8, so the place of epsilon matters.

    Args:
        learning_rate: float above 0 or a Keras schedule. Defaults to `0.001`.
        epsilon: float above 0. Defaults to `1e-7`.
        shrinkage: float, at least 0. BART's weight decay, see `BartModifiers`. Defaults to `0.0`.
        reset_steps: int, at least 1, or None. Number of updates after which m, v and t start again from 0. Defaults to
            `None`, never.
        bart_clip_norm: float, at least 0, or None. See `clip_gradient`. Defaults to `None`.
        bart_clip_value: float, at least 0, or None. See `clip_gradient`. Defaults to `None`.
        **kwargs: Arguments of `keras.optimizers.Adam`, such as `beta_1` (defaults to `0.9`) and `beta_2` (defaults to
            `0.999`), each at least 0 and below 1. `amsgrad` is not supported.

    Raises:
        ValueError: An argument is out of its range or not supported.

    References:
        Kingma and Ba (2015), arXiv:1412.6980, algorithm 1.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        epsilon: float = 1e-7,
        shrinkage: float = 0.0,
        reset_steps: int | None = None,
        bart_clip_norm: float | None = None,
        bart_clip_value: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        check_number("epsilon", epsilon, above=0)
        for name in ("beta_1", "beta_2"):
            check_number(name, kwargs.get(name), least=0, below=1)
        check_count("reset_steps", reset_steps)
        super().__init__(learning_rate=learning_rate, epsilon=epsilon, **kwargs)
        if self.amsgrad:
            raise ValueError("`amsgrad` is not supported. Received: amsgrad=True")
        self.set_modifiers(shrinkage, bart_clip_norm, bart_clip_value)
        self.reset_steps = reset_steps

    def update_step(self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor) -> None:
        """Update one variable."""
        dtype = variable.dtype
        gradient, rate = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        first, second = (moments[self._get_variable_index(variable)] for moments in (self._momentums, self._velocities))
        step = self.iterations
        if self.reset_steps:
            step = ops.mod(step, self.reset_steps)
            keep = ops.cast(step > 0, dtype)
            self.assign(first, keep * first)
            self.assign(second, keep * second)
        step = ops.cast(step + 1, dtype)
        # One rounded beta for moment and correction: single and double precision differ by 1.3e-5 in 1 - 0.999.
        beta_1, beta_2 = (ops.convert_to_tensor(beta, dtype) for beta in (self.beta_1, self.beta_2))
        self.assign_add(first, (gradient - first) * (1 - beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - beta_2))
        corrected_first = first / (1 - ops.power(beta_1, step))
        corrected_second = second / (1 - ops.power(beta_2, step))
        self.assign_sub(variable, rate * corrected_first / (ops.sqrt(corrected_second) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {**super().get_config(), "reset_steps": self.reset_steps}
