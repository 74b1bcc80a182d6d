"""BART's weight decay and clipping of gradients, and SGD with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from bart_bridge.reconet.weights import REAL
from tf_models.backend.ops import Tensor
from tf_models.optimizers.arguments import LearningRate, check_number, check_rate


class BartModifiers:
    """Mix-in for Keras optimizers: BART clips gradients before an update and shrinks weights after it.

    ```
    before:  g <- clip(g)                              all weights
    after:   w <- w / (1 + learning_rate * shrinkage)  weights without a constraint
    ```

    The shrinkage is the proximal map of a quadratic penalty. Keras's own `weight_decay` differs: it subtracts
    learning_rate * weight_decay * w before the update, from all weights. Keras's clipping differs too, see
    `clip_gradient`.
    """

    shrinkage: float = 0.0
    bart_clip_norm: float | None = None
    bart_clip_value: float | None = None

    def set_modifiers(self, shrinkage: float, bart_clip_norm: float | None, bart_clip_value: float | None) -> None:
        """Check and store the arguments.

        Raises:
            ValueError: An argument is not a number of at least 0.
        """
        check_number("shrinkage", shrinkage, least=0)
        check_number("bart_clip_norm", bart_clip_norm, least=0)
        check_number("bart_clip_value", bart_clip_value, least=0)
        self.shrinkage, self.bart_clip_norm, self.bart_clip_value = shrinkage, bart_clip_norm, bart_clip_value

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Clip the gradients, update the weights, shrink them."""
        if self.bart_clip_norm or self.bart_clip_value:
            variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)  # type: ignore[attr-defined]
            pairs = zip(grads, variables, strict=True)
            grads = [clip_gradient(*pair, self.bart_clip_norm, self.bart_clip_value) for pair in pairs]
        rate = self._get_current_learning_rate()  # type: ignore[attr-defined]  # before the update counter increases
        super().apply(grads, trainable_variables)  # type: ignore[misc]
        if not self.shrinkage:
            return
        for variable in self._trainable_variables:  # type: ignore[attr-defined]
            if variable.constraint is None:
                variable.assign(variable / (1 + rate * self.shrinkage))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        names = ("shrinkage", "bart_clip_norm", "bart_clip_value")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}  # type: ignore[misc]


def clip_gradient(gradient: Tensor, variable: keras.Variable, norm: float | None, value: float | None) -> Tensor:
    """Clip the gradient of one array as `clip-norm` and `clip-value` of `reconet` do.

    ```
    norm:   g <- g min(1, norm / |h|),   |h| = (l2 norm of the first half of the numbers in g) / (count of all of them)
    value:  g <- -value where g < -value,   0 where g > value
    ```

    Both look like slips of BART (`docs/bart-notes.md`, 7 and 8); they are repeated here so that trainings agree. The
    numbers in g are real and imaginary parts in the order of BART's file. There, real weights have imaginary parts of
    0, and the hidden layers of MoDL are in reverse order.

    Args:
        gradient: Tensor of the shape of `variable`, with a trailing axis of 2 if the weights are complex.
        variable: The weights; their name decides the order of the numbers.
        norm: float, at least 0; None or 0 does not clip.
        value: float, at least 0; None or 0 does not clip.

    Returns:
        The clipped gradient, of the same shape.

    References:
        BART 0.8.00, `src/iter/iter6_ops.c`, `clip_apply`.
    """
    if norm:
        stored = ops.flip(gradient, axis=1) if variable.name in ("conv_i", "bias_i") else gradient
        numbers = ops.reshape(stored, (-1,))
        if variable.name in REAL:
            numbers = ops.reshape(ops.stack([numbers, ops.zeros_like(numbers)], axis=-1), (-1,))
        count = numbers.shape[0]
        length = ops.sqrt(ops.sum(ops.square(numbers[: count // 2]))) / count
        # The factor is 1 unless it clips.
        gradient = gradient * (norm / ops.where(length > norm, length, norm))
    if value:
        gradient = ops.where(gradient < -value, -value, gradient)
        gradient = ops.where(gradient > value, ops.zeros_like(gradient), gradient)
    return gradient


@keras.saving.register_keras_serializable("bart_tf")
class SGD(BartModifiers, keras.optimizers.SGD):
    """Stochastic gradient descent with BART's weight decay and clipping.

    ```
    w <- w - learning_rate g
    ```

    Args:
        learning_rate: float above 0 or a Keras schedule. Defaults to `0.001`.
        shrinkage: float, at least 0. BART's weight decay, see `BartModifiers`. Defaults to `0.0`.
        bart_clip_norm: float, at least 0, or None. See `clip_gradient`. Defaults to `None`.
        bart_clip_value: float, at least 0, or None. See `clip_gradient`. Defaults to `None`.
        **kwargs: Arguments of `keras.optimizers.SGD`.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        shrinkage: float = 0.0,
        bart_clip_norm: float | None = None,
        bart_clip_value: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.set_modifiers(shrinkage, bart_clip_norm, bart_clip_value)
