"""An objective as a function of one variable, on each of Keras's backends.

TensorFlow and PyTorch change variables in place. On JAX, an evaluation takes the values of all variables and returns
those that it has changed, so that a loop can be compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from tf_models.backend import xla
from tf_models.backend.ops import Tensor
from tf_models.backend.replicas import replica_count

BACKENDS = ("tensorflow", "jax", "torch")
Closure = Callable[[], Tensor]


@dataclass(frozen=True)
class Block:
    """The objective H as a function of one variable x, the others being what they are when the block is made.

    Attributes:
        variable: The variable.
        loss: Takes a value of x; returns H, and the values that the state has after the evaluation.
        loss_and_gradient: Takes a value of x; returns H and its gradient by x.
        state: Variables that evaluations change; each evaluation starts from the same values. Empty where `loss` leaves
            the values in the variables.
    """

    variable: keras.Variable
    loss: Callable[[Tensor], tuple[Tensor, list[Tensor]]]
    loss_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]]
    state: Sequence[keras.Variable] = ()

    def accept(self, point: Tensor, state_values: Sequence[Tensor]) -> None:
        """Assign the point of the last call of `loss`, and what it returned of the state."""
        self.variable.assign(point)
        for variable, value in zip(self.state, state_values, strict=True):
            variable.assign(value)


def blocks(
    closure: Closure, variables: Sequence[keras.Variable], state: Sequence[keras.Variable], jit_compile: bool
) -> Callable[[keras.Variable], Block]:
    """Return a function that makes the block of a variable; see `tf_models.optimizers.ipalm.IPALM.step`."""
    if keras.backend.backend() == "jax":
        return _functional_blocks(closure, variables, state)
    evaluate = _as_one_function(closure, jit_compile)

    def block(variable: keras.Variable) -> Block:
        differentiate = _as_one_function(_value_and_gradient(closure, variable), jit_compile)
        before = [(each, copy_of(each)) for each in state]

        def move_to(point: Tensor) -> None:
            for each, value in before:
                each.assign(value)
            variable.assign(point)

        def loss(point: Tensor) -> tuple[Tensor, list[Tensor]]:
            move_to(point)
            return evaluate(), []

        def loss_and_gradient(point: Tensor) -> tuple[Tensor, Tensor]:
            move_to(point)
            return differentiate()

        return Block(variable, loss, loss_and_gradient)

    return block


def _functional_blocks(
    closure: Closure, variables: Sequence[keras.Variable], state: Sequence[keras.Variable]
) -> Callable[[keras.Variable], Block]:
    import jax

    known = [*variables, *state]

    def evaluate(values: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        with keras.StatelessScope(zip(known, values, strict=True), collect_losses=True) as scope:
            if scope.original_scope is not None:
                # Keras looks for a value in the innermost scope only.
                scope.state_mapping = {**scope.original_scope.state_mapping, **scope.state_mapping}
            loss = closure()
        return loss, [scope.get_current_value(each) for each in state]

    # Traced once for the tries of all blocks. Derivatives need a trace of their own: those that are written in Python
    # use arrays of the trace that they are made in.
    evaluate_all = jax.jit(evaluate)

    def block(variable: keras.Variable) -> Block:
        before = [each.value for each in known]
        index = [each is variable for each in known].index(True)

        def values_at(point: Tensor) -> list[Tensor]:
            return [*before[:index], point, *before[index + 1 :]]

        def loss(point: Tensor) -> tuple[Tensor, list[Tensor]]:
            return evaluate_all(values_at(point))

        def loss_and_gradient(point: Tensor) -> tuple[Tensor, Tensor]:
            differentiate = jax.value_and_grad(lambda point: evaluate(values_at(point)), has_aux=True)
            (value, _), gradient = differentiate(point)
            return value, gradient

        return Block(variable, loss, loss_and_gradient, state)

    return block


def copy_of(variable: keras.Variable) -> Tensor:
    """Return the value of a variable as a constant that stays when the variable changes."""
    return ops.stop_gradient(ops.copy(variable.value))


def refuse_replicas(name: str) -> None:
    """Refuse to train on several devices.

    Args:
        name: Name of the optimizer.

    Raises:
        ValueError: There are several replicas.
    """
    count = replica_count()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        count = tf.distribute.get_strategy().num_replicas_in_sync
    if count > 1:
        raise ValueError(f"{name} is not for data-parallel training. Received: {count} replicas")


def _value_and_gradient(closure: Closure, variable: keras.Variable) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a function that evaluates the closure and its gradient by a variable."""

    def in_tensorflow() -> tuple[Tensor, Tensor]:
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variable.value)
            loss = closure()
        return loss, tape.gradient(loss, variable.value, unconnected_gradients="zero")

    def in_torch() -> tuple[Tensor, Tensor]:
        import torch

        value, trainable = variable.value, variable.value.requires_grad
        value.requires_grad_()
        try:
            with torch.enable_grad():
                loss = closure()
            # A constant has no graph to go through.
            gradient = torch.autograd.grad(loss, value, allow_unused=True)[0] if loss.requires_grad else None
        finally:
            value.requires_grad_(trainable)
        return loss.detach(), ops.zeros_like(value) if gradient is None else gradient

    return in_torch if keras.backend.backend() == "torch" else in_tensorflow


def _as_one_function(function: Callable[[], Any], jit_compile: bool) -> Callable[[], Any]:
    """Make a function one node of TensorFlow's graph; copied to each of its calls, it would take minutes to prepare."""
    if keras.backend.backend() == "torch":
        import torch

        return torch.no_grad()(function)
    import tensorflow as tf

    if tf.executing_eagerly():
        return function
    attributes = None if jit_compile else {"_noinline": True}

    def traced() -> Any:
        with xla.compiling(jit_compile):
            return function()

    graph_function: Callable[[], Any] = tf.function(
        traced, autograph=False, jit_compile=jit_compile or None, experimental_attributes=attributes
    )
    return graph_function
