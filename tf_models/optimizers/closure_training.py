"""`model.fit` with an optimizer that evaluates the loss itself."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.optimizers.ipalm import IPALM


class ClosureTrainingMixin:
    """Let `model.fit` train with `IPALM`; other optimizers train as they do without it. Name it before `keras.Model`.

    The loss of a batch, as it is recorded, is the one after the update. The logs have the counts of `IPALM.counts`.
    """

    def make_train_function(self, force: bool = False) -> Any:
        """Make the training function; for iPALM, whose loops have no fixed length, XLA compiles the loss alone."""
        if not isinstance(self.optimizer, IPALM):  # type: ignore[attr-defined]
            return super().make_train_function(force)  # type: ignore[misc]
        wanted = self.jit_compile  # type: ignore[has-type]
        self.jit_compile = False
        try:
            return super().make_train_function(force)  # type: ignore[misc]
        finally:
            self.jit_compile = wanted

    def train_step(self, *arguments: Any) -> Any:
        """Update the weights with one batch."""
        if not isinstance(self.optimizer, IPALM):  # type: ignore[attr-defined]
            return super().train_step(*arguments)  # type: ignore[misc]
        return self._closure_step(arguments[0])

    def _closure_step(self: Any, data: Any) -> dict[str, Any]:
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)

        def closure() -> Tensor:
            image = self(x, training=True)
            return self.compute_loss(x=x, y=y, y_pred=image, sample_weight=sample_weight, training=True)

        loss = self.optimizer.step(
            closure, self.trainable_variables, self.non_trainable_variables, jit_compile=self.jit_compile
        )
        first = keras.tree.flatten(x)[0]
        self._loss_tracker.update_state(loss, sample_weight=ops.shape(first)[0])
        image = None if self._compile_metrics is None else self(x, training=False)
        return {**self.compute_metrics(x, y, image, sample_weight=sample_weight), **self.optimizer.counts()}
