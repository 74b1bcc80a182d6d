"""BART's weight decay, and SGD with it."""

from __future__ import annotations

from typing import Any

import keras


class Shrinkage:
    """Mix-in for Keras optimizers: weights without a constraint shrink after each update, as in BART.

        w <- w / (1 + learning_rate * shrinkage)

    This is the proximal map of a quadratic penalty. Keras's own `weight_decay` subtracts learning_rate * weight_decay
    * w before the update, for all weights.
    """

    shrinkage: float = 0.0

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the weights, then shrink them."""
        rate = self._get_current_learning_rate()  # type: ignore[attr-defined]  # before the count of updates goes up
        super().apply(grads, trainable_variables)  # type: ignore[misc]
        if not self.shrinkage:
            return
        for variable in self._trainable_variables:  # type: ignore[attr-defined]
            if variable.constraint is None:
                variable.assign(variable / (1 + rate * self.shrinkage))


@keras.saving.register_keras_serializable("bart_tf")
class SGD(Shrinkage, keras.optimizers.SGD):
    """Stochastic gradient descent w <- w - learning_rate * g, with BART's weight decay.

    Args:
        learning_rate: Defaults to 0.001.
        shrinkage: See `Shrinkage`; defaults to 0.
        **kwargs: As of `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate: Any = 0.001, shrinkage: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.shrinkage = shrinkage

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        return {**super().get_config(), "shrinkage": self.shrinkage}
