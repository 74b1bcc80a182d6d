"""BART's weight decay and clipping of gradients, and SGD with them."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from bart_bridge.reconet.weights import REAL
from tf_models.optimizers import check_number, check_rate


class BartModifiers:
    """Mix-in for Keras optimizers: what BART does to gradients before an update and to weights after it.

        g <- clip(g)                              all weights
        w <- w / (1 + learning_rate * shrinkage)  weights without a constraint

    The shrinkage is the proximal map of a quadratic penalty. Keras's own `weight_decay` subtracts learning_rate *
    weight_decay * w before the update, for all weights. For the clipping, which is not Keras's either, see
    `clip_gradient`.
    """

    shrinkage: float = 0.0
    bart_clip_norm: float | None = None
    bart_clip_value: float | None = None

    def set_modifiers(self, shrinkage: float, bart_clip_norm: float | None, bart_clip_value: float | None) -> None:
        """Take over the arguments.

        Raises:
            ValueError: One of them is below 0.
        """
        check_number("shrinkage", shrinkage, least=0)
        check_number("bart_clip_norm", bart_clip_norm, least=0)
        check_number("bart_clip_value", bart_clip_value, least=0)
        self.shrinkage, self.bart_clip_norm, self.bart_clip_value = shrinkage, bart_clip_norm, bart_clip_value

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Clip the gradients, update the weights, shrink them."""
        if self.bart_clip_norm or self.bart_clip_value:
            variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)  # type: ignore[attr-defined]
            pairs = zip(grads, variables, strict=True)
            grads = [clip_gradient(*pair, self.bart_clip_norm, self.bart_clip_value) for pair in pairs]
        rate = self._get_current_learning_rate()  # type: ignore[attr-defined]  # before the count of updates goes up
        super().apply(grads, trainable_variables)  # type: ignore[misc]
        if not self.shrinkage:
            return
        for variable in self._trainable_variables:  # type: ignore[attr-defined]
            if variable.constraint is None:
                variable.assign(variable / (1 + rate * self.shrinkage))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        own = ("shrinkage", "bart_clip_norm", "bart_clip_value")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}  # type: ignore[misc]


def clip_gradient(gradient: Any, variable: Any, norm: float | None, value: float | None) -> Any:
    """Clip the gradient of one array as `clip-norm` and `clip-value` of `reconet` do.

        g <- g * min(1, norm / |h|),  |h| = (l2 norm of the first half of g's numbers) / (their number in g)
        g <- -value where g < -value,  0 where g > value

    Both look like slips of BART (`docs/bart-notes.md`, 7 and 8) and are repeated here so that trainings agree. Numbers
    are real and imaginary parts in the order of BART's file, in which weights that are real have imaginary parts of 0
    and the hidden layers of MoDL are reversed.

    Args:
        gradient: Of any shape, with a trailing axis of 2 if the weights are complex.
        variable: The weights.
        norm: None or 0 does not clip.
        value: None or 0 does not clip.
    """
    if norm:
        stored = ops.flip(gradient, axis=1) if variable.name in ("conv_i", "bias_i") else gradient
        numbers = ops.reshape(stored, (-1,))
        if variable.name in REAL:
            numbers = ops.reshape(ops.stack([numbers, ops.zeros_like(numbers)], axis=-1), (-1,))
        count = numbers.shape[0]
        length = ops.sqrt(ops.sum(ops.square(numbers[: count // 2]))) / count
        gradient = gradient * ops.where(length > norm, norm / ops.maximum(length, norm), 1.0)
    if value:
        gradient = ops.maximum(gradient, -value)
        gradient = ops.where(gradient > value, ops.zeros_like(gradient), gradient)
    return gradient


@keras.saving.register_keras_serializable("bart_tf")
class SGD(BartModifiers, keras.optimizers.SGD):
    """Stochastic gradient descent w <- w - learning_rate * g, with BART's weight decay and clipping.

    Args:
        learning_rate: Defaults to 0.001.
        shrinkage: See `BartModifiers`; defaults to 0.
        bart_clip_norm, bart_clip_value: See `clip_gradient`; defaults to None.
        **kwargs: As of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        shrinkage: float = 0.0,
        bart_clip_norm: float | None = None,
        bart_clip_value: float | None = None,
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.set_modifiers(shrinkage, bart_clip_norm, bart_clip_value)
