"""What iPALM evaluates while it updates one block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tf_models.backend.ops import Tensor

Closure = Callable[[], Tensor]


@dataclass(frozen=True)
class Block:
    """One variable x while iPALM updates it.

    Attributes:
        variable: The Keras variable.
        position: x before the update.
        change: x - x_old.
        state_before: Variables that evaluations change, and their values before the update.
        evaluate: Returns H.
        differentiate: Returns H and its gradient by x.
    """

    variable: keras.Variable
    position: Tensor
    change: Tensor
    state_before: Sequence[tuple[keras.Variable, Tensor]]
    evaluate: Closure
    differentiate: Callable[[], tuple[Tensor, Tensor]]

    def extrapolate(self, inertia: Tensor) -> Tensor:
        """Return x + inertia (x - x_old)."""
        return self.position + inertia * self.change

    def linearize(self, inertia: Tensor) -> tuple[Tensor, Tensor]:
        """Return H and its gradient at an extrapolated point."""
        self._move_to(self.extrapolate(inertia))
        loss, gradient = self.differentiate()
        return ops.cast(loss, self.variable.dtype), gradient

    def loss_at(self, point: Tensor) -> Tensor:
        """Move the variable to a point and return H there."""
        self._move_to(point)
        return ops.cast(self.evaluate(), self.variable.dtype)

    def _move_to(self, point: Tensor) -> None:
        for variable, value in self.state_before:
            variable.assign(value)
        self.variable.assign(point)


def value_and_gradient(closure: Closure, variable: keras.Variable) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a function that evaluates the closure and its gradient by a variable."""
    import tensorflow as tf

    def differentiate() -> tuple[Tensor, Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variable.value)
            loss = closure()
        return loss, tape.gradient(loss, variable.value, unconnected_gradients="zero")

    return differentiate


def as_one_function(function: Callable[[], Any], jit_compile: bool) -> Callable[[], Any]:
    """Make a function one node of the graph; copied to each of its calls, it would take minutes to prepare."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return function
    attributes = None if jit_compile else {"_noinline": True}
    graph_function: Callable[[], Any] = tf.function(
        function, autograph=False, jit_compile=jit_compile or None, experimental_attributes=attributes
    )
    return graph_function
