"""One unrolled iteration and its derivative, for the lean memory plan: the regularizer, then data consistency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tf_models.backend.ops import Tensor, after
from tf_models.networks.checkpointed import Statistics
from tf_models.networks.data_consistency import DataConsistency, Measured


@dataclass(frozen=True)
class Iteration:
    """The `forward` and `backward` of `tf_models.networks.checkpointed.Iterations`.

    The weights of an iteration are lambda, if it is trained, and the arrays of the regularizer.

    Attributes:
        regularize: Takes image, arrays and statistics; returns the regularized image and the statistics that were used.
        regularize_vjp: Takes the same; returns the regularized image, and a function from the gradient by it to the
            gradients by the image and by each array.
        data_consistency: The data-consistency block.
    """

    regularize: Callable[[Tensor, list[Tensor], Statistics | None], tuple[Tensor, Statistics]]
    regularize_vjp: Callable[[Tensor, list[Tensor], Statistics | None], tuple[Tensor, Callable[[Tensor], list[Tensor]]]]
    data_consistency: DataConsistency

    def forward(
        self, image: Tensor, weights: list[Tensor], measured: Measured, statistics: Statistics | None
    ) -> tuple[Tensor, Statistics]:
        """Return the image after the iteration and the statistics that were used."""
        weight, arrays = self._split(weights)
        regularized, used = self.regularize(image, arrays, statistics)
        return self.data_consistency.compute(image, regularized, measured, weight), used

    def backward(
        self,
        image: Tensor,
        result: Tensor,
        upstream: Tensor,
        weights: list[Tensor],
        measured: Measured,
        statistics: Statistics | None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients by the image before the iteration and by each weight."""
        weight, arrays = self._split(weights)
        regularized, product = self.regularize_vjp(image, arrays, statistics)
        upstream = after(upstream, regularized)
        direct, grad_regularized, grad_weight = self.data_consistency.gradient(
            image, regularized, result, upstream, measured, weight
        )
        grad_image, *grad_arrays = product(grad_regularized)
        trained = [] if self.data_consistency.lambdas is None else [grad_weight]
        return direct + grad_image, [*trained, *grad_arrays]

    def _split(self, weights: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return lambda and the arrays of the regularizer."""
        if self.data_consistency.lambdas is None:
            return self.data_consistency.weight(0), weights
        return weights[0], weights[1:]
