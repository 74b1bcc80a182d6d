"""`model.fit` with an optimizer that evaluates the loss itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import keras
from keras import ops

from tf_models.backend import xla
from tf_models.backend.ops import Tensor, Tensors


@runtime_checkable
class ClosureOptimizer(Protocol):
    """An optimizer that evaluates the loss as often as it needs, such as `tf_models.optimizers.ipalm.IPALM`."""

    def step(
        self,
        closure: Callable[[], Tensor],
        variables: Sequence[keras.Variable],
        state: Sequence[keras.Variable] = (),
        jit_compile: bool = False,
    ) -> Tensor:
        """Update the variables once and return the loss after it; `closure` changes `state`, once an update."""

    def counts(self) -> Mapping[str, Tensor]:
        """Return how much work the updates took so far, by the names in the logs of `fit`."""


class ClosureTrainingMixin:
    """Let `model.fit` train with a `ClosureOptimizer`; other optimizers train as they do without this mix-in.

    Name it before `keras.Model` in the list of base classes. With a `ClosureOptimizer`, the loss of a batch in the logs
    is the one after the update, and the logs have the optimizer's counts.
    """

    def make_train_function(self, force: bool = False) -> Callable[..., dict[str, Tensor]]:
        """Make the training function.

        On TensorFlow, XLA compiles the loss alone where a `ClosureOptimizer` loops around it.
        """
        if self.built and not self.optimizer.built:  # type: ignore[attr-defined]
            # Keras would make the optimizer's variables in the first step, and TensorFlow traces a function that makes
            # variables a second time.
            self.optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]
        if keras.backend.backend() == "jax" or not isinstance(self.optimizer, ClosureOptimizer):  # type: ignore[attr-defined]
            return super().make_train_function(force)  # type: ignore[misc]
        jit_compile = self.jit_compile  # type: ignore[has-type]
        self.jit_compile = False
        try:
            return super().make_train_function(force)  # type: ignore[misc]
        finally:
            self.jit_compile = jit_compile

    def train_step(self, *arguments: Tensors) -> Tensors:
        """Update the weights with one batch."""
        if not isinstance(self.optimizer, ClosureOptimizer):  # type: ignore[attr-defined]
            with xla.compiling(self.jit_compile):
                return super().train_step(*arguments)  # type: ignore[misc]
        if keras.backend.backend() == "jax":
            return self._stateless_step(*arguments)
        return self._closure_step(arguments[0])

    def test_step(self, *arguments: Tensors) -> Tensors:
        """Compute the loss of one batch."""
        with xla.compiling(self.jit_compile):
            return super().test_step(*arguments)  # type: ignore[misc]

    def predict_step(self, *arguments: Tensors) -> Tensors:
        """Reconstruct one batch."""
        with xla.compiling(self.jit_compile):
            return super().predict_step(*arguments)  # type: ignore[misc]

    def _stateless_step(self: Any, state: Tensors, data: Tensors) -> tuple[dict[str, Tensor], Tensors]:
        """Update the weights as Keras's trainer on JAX does: take the values of all variables, and return the new ones.

        Args:
            state: Values of the trainable variables, of the others, of the optimizer's and of the metrics'.
            data: The batch.

        Returns:
            The logs, and the new values in the same order.
        """
        kinds = self.trainable_variables, self.non_trainable_variables, self.optimizer.variables, self.metrics_variables
        pairs = [pair for kind, values in zip(kinds, state, strict=True) for pair in zip(kind, values, strict=True)]
        with keras.StatelessScope(pairs) as scope:
            logs = self._closure_step(data)
        return logs, tuple([scope.get_current_value(variable) for variable in kind] for kind in kinds)

    def _closure_step(self: Any, data: Tensors) -> dict[str, Tensor]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        def closure() -> Tensor:
            image = self(x, training=True)
            return self.compute_loss(x=x, y=y, y_pred=image, sample_weight=sample_weight, training=True)

        changed = [*self.non_trainable_variables, *self.metrics_variables]
        loss = self.optimizer.step(closure, self.trainable_variables, changed, jit_compile=self.jit_compile)
        batch_size = ops.shape(keras.tree.flatten(x)[0])[0]
        self._loss_tracker.update_state(loss, sample_weight=batch_size)
        image = None if self._compile_metrics is None else self(x, training=False)
        return {**self.compute_metrics(x, y, image, sample_weight=sample_weight), **self.optimizer.counts()}
