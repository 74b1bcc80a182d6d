"""The data-consistency block of an unrolled iteration."""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import ops

from bart_bridge.reconet.network_settings import Network
from tf_models.backend.ops import Tensor
from tf_models.operators.conjugate_gradient import solve_regularized
from tf_models.operators.sense import SenseNormal


class Measured(NamedTuple):
    """The data of some slices."""

    adjoint: Tensor  # A^H y, `(batch, y, x, 2 * maps)`
    normal: SenseNormal


class DataConsistency(keras.layers.Layer):
    """Bring an image back to the measured data.

    ```
    gradient-step:     x = r - lambda_t (A^H A x_0 - A^H y)
    proximal-mapping:  x = (A^H A + lambda_t)^-1 (A^H y + lambda_t r)    by conjugate gradients
    ```

    x_0 is the image before the iteration and r the regularized image. The derivative of the proximal mapping is the one
    of `tf_models.operators.conjugate_gradient.solve_regularized`.

    Args:
        network: Sizes and options of the network, among them which of the two steps it takes.
        **kwargs: As of `keras.layers.Layer`.

    Attributes:
        lambdas: Variable of all lambda_t, `(iterations,)`, or `(1,)` if they share one; None if lambda is fixed.
    """

    def __init__(self, network: Network, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.network = network
        self.lambdas = None
        if network.fixed_lambda is None:
            shape = (1 if network.shared_lambda else network.iterations,)
            self.lambdas = self.add_weight(
                name="lambda", shape=shape, initializer="zeros", constraint=keras.constraints.NonNeg()
            )
        self.built = True

    def weight(self, iteration: int) -> Tensor:
        """Return lambda_t, a scalar."""
        if self.lambdas is None:
            return ops.convert_to_tensor(self.network.fixed_lambda, self.compute_dtype)
        return self.lambdas[0 if self.network.shared_lambda else iteration]

    def call(self, image: Tensor, regularized: Tensor, adjoint: Tensor, normal: SenseNormal, iteration: int) -> Tensor:
        """Return the image after this step; all images are `(batch, y, x, 2 * maps)`."""
        return self.compute(image, regularized, Measured(adjoint, normal), self.weight(iteration))

    def compute(self, image: Tensor, regularized: Tensor, measured: Measured, weight: Tensor) -> Tensor:
        """Return the image after this step with a given lambda, a scalar."""
        adjoint, normal = measured
        if self.network.data_consistency == "gradient-step":
            return regularized - weight * (normal(image) - adjoint)
        right_hand_side = adjoint + weight * regularized
        network = self.network
        return solve_regularized(normal, right_hand_side, weight, network.max_cg_iterations, network.cg_derivative)

    def gradient(
        self,
        image: Tensor,
        regularized: Tensor,
        result: Tensor,
        upstream: Tensor,
        measured: Measured,
        weight: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of `compute` by image, regularized image and lambda.

        Args:
            image: As for `compute`, like `regularized`, `measured` and `weight`.
            regularized: See `image`.
            result: What `compute` returned.
            upstream: The gradient by the result.
            measured: See `image`.
            weight: See `image`.
        """
        adjoint, normal = measured
        if self.network.data_consistency == "gradient-step":
            # A^H A is its own adjoint: <A^H A x, g> = <x, A^H A g>.
            normal_upstream = normal(upstream)
            grad_weight = ops.sum(adjoint * upstream - image * normal_upstream)
            return -weight * normal_upstream, upstream, grad_weight
        solved = solve_regularized(normal, upstream, weight, self.network.max_cg_iterations)
        return ops.zeros_like(image), weight * solved, ops.sum((regularized - result) * solved)
