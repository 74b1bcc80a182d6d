"""MoDL as its authors wrote it in TensorFlow 1, for the weights that they published."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import keras
from keras import ops
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from tf_models.backend.complex_arrays import inner_product
from tf_models.backend.exporting import exports_own_derivatives
from tf_models.backend.ops import Tensor, custom_gradient
from tf_models.backend.precision import use_full_precision
from tf_models.operators.conjugate_gradient import implicit_solution
from tf_models.operators.sense import SenseNormal


class ModlOriginalSettings(BaseModel):
    """Sizes and options of `MoDLOriginal`, with the defaults of its authors.

    Attributes:
        iterations: Unrolled iterations, K; all of them have the same weights.
        layers: Convolutions of the residual block, at least 2.
        filters: Real filters of each convolution but the last.
        max_cg_iterations: Most conjugate gradient steps of a data-consistency block.
        cg_tolerance: A slice stops before that where the squared norm of its residual is at most this.
        gradient: Derivative of the data-consistency block: `implicit` (default) solves once more, `unrolled` goes
            through the steps and keeps all of them, `modl_legacy` is the authors' own, without lambda's part in the
            operator that is inverted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["modl-original"] = "modl-original"
    iterations: PositiveInt = 10
    layers: int = Field(5, ge=2)
    filters: PositiveInt = 64
    max_cg_iterations: PositiveInt = 10
    cg_tolerance: PositiveFloat = 1e-10
    gradient: Literal["implicit", "unrolled", "modl_legacy"] = "implicit"


@keras.saving.register_keras_serializable("bart_tf")
class MoDLOriginal(keras.Model):
    """MoDL as its authors wrote it in TensorFlow 1.

    ```
    z_k = x_{k-1} + N(x_{k-1})
    x_k = (A^H A + lambda)^-1 (A^H y + lambda z_k)
    x_0 = A^H y
    ```

    N has real 3x3 convolutions without bias over the channels (real, imaginary), with zero padding. Each one is
    followed by batch normalization with scale and offset (epsilon 1e-3, momentum 0.99), and by a ReLU except the last.

    Images are not normalized: the published weights are for a maximum magnitude of about 1. Lambda is not constrained
    and may become negative. In training, the moving statistics of batch norm are updated once for each iteration.

    Inputs: `{"adjoint": (batch, y, x, 2), "coils": (batch, coil, y, x, 2), "psf": (batch, y, x)}`, float32, as from
    `tf_models.training.network_inputs.network_inputs`: the psf is centred (the authors' masks are in corner order:
    `fftshift` them).
    Output: the image `(batch, y, x, 2)`.

    A new network has random convolutions (Glorot uniform) and lambda 0.05. Train it with `compile` and `fit`.

    Args:
        network: Sizes and options, or a dictionary of them. Defaults to those of the authors.
        **kwargs: As of `keras.Model`; `dtype="float64"` computes in double precision.

    References:
        Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356, and the authors' code, github.com/hkaggarwal/modl.
    """

    def __init__(self, network: ModlOriginalSettings | dict[str, object] | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        use_full_precision()
        self.network = ModlOriginalSettings.model_validate(network or {})
        policy = self.dtype_policy
        channels = [2, *[self.network.filters] * (self.network.layers - 1), 2]
        self.convolutions, self.norms = [], []
        for number, (inputs, filters) in enumerate(pairwise(channels), start=1):
            convolution = keras.layers.Conv2D(
                filters, 3, padding="same", use_bias=False, name=f"layer_{number}", dtype=policy
            )
            norm = keras.layers.BatchNormalization(epsilon=1e-3, name=f"norm_{number}", dtype=policy)
            convolution.build((None, None, None, inputs))
            norm.build((None, None, None, filters))
            self.convolutions.append(convolution)
            self.norms.append(norm)
        self.weighting = self.add_weight(name="lambda", shape=(), initializer=keras.initializers.Constant(0.05))
        self.built = True

    def named_variables(self) -> dict[str, keras.Variable]:
        """Return the variables, moving statistics included, by their names in the authors' checkpoints.

        Kernels are `(y, x, in, out)`.
        """
        variables = {}
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), start=1):
            variables[f"Wts/Layer{number}/W"] = convolution.kernel
            for name in ("gamma", "beta", "moving_mean", "moving_variance"):
                variables[f"Wts/Layer{number}/BN/{name}"] = getattr(norm, name)
        return variables | {"Wts/lam1": self.weighting}

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> Tensor:
        """Reconstruct a batch."""
        normal = SenseNormal(inputs["coils"], inputs["psf"])
        adjoint = inputs["adjoint"]
        # A tensor: TensorFlow's custom gradients take no variable as an argument.
        weight = ops.reshape(self.weighting, ())
        image = adjoint
        for _ in range(self.network.iterations):
            regularized = self.regularize(image, training)
            image = solve(normal, adjoint + weight * regularized, weight, self.network)
        return image

    def regularize(self, image: Tensor, training: bool = False) -> Tensor:
        """Return z for images `(batch, y, x, 2)`, same shape."""
        features = image
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            features = norm(convolution(features), training=training)
            if norm is not self.norms[-1]:
                features = ops.relu(features)
        return image + features

    def get_config(self) -> dict[str, object]:
        """Return the arguments."""
        return {"network": self.network.model_dump(), "name": self.name, "dtype": self.dtype_policy.name}


def conjugate_gradient(
    normal: SenseNormal, right_hand_side: Tensor, weight: Tensor, iterations: int, tolerance: float
) -> Tensor:
    """Solve `(A^H A + weight) x = right_hand_side` for each slice, starting at 0, with the authors' stopping rule.

    The steps are those of `tf_models.operators.conjugate_gradient.conjugate_gradient`. Before each step, a slice whose
    squared residual norm is not above the tolerance stops and stays where it is.

    Args:
        normal: The operator A^H A.
        right_hand_side: `(batch, y, x, 2)`.
        weight: Scalar, lambda.
        iterations: The most steps.
        tolerance: Squared norm, absolute.

    Returns:
        The solution, `(batch, y, x, 2)`.
    """

    def step(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        solution, residual, direction, residual_norm_sq = state
        runs = residual_norm_sq > tolerance
        operator_direction = normal(direction) + weight * direction
        alpha = _divide(runs, residual_norm_sq, inner_product(direction, operator_direction))
        residual = residual - alpha * operator_direction
        next_norm_sq = ops.where(runs, inner_product(residual, residual), residual_norm_sq)
        beta = _divide(runs, next_norm_sq, residual_norm_sq)
        return solution + alpha * direction, residual, residual + beta * direction, next_norm_sq

    residual_norm_sq = inner_product(right_hand_side, right_hand_side)
    start = (ops.zeros_like(right_hand_side), right_hand_side, right_hand_side, residual_norm_sq)
    return ops.fori_loop(0, iterations, step, start)[0]


def solve(normal: SenseNormal, right_hand_side: Tensor, weight: Tensor, network: ModlOriginalSettings) -> Tensor:
    """Solve `(A^H A + weight) x = right_hand_side` and differentiate as `network.gradient` says.

    The implicit derivative is the one of `tf_models.operators.conjugate_gradient.solve_regularized`. The authors' code
    (`modl_legacy`) leaves out the gradient by the weight, so that lambda learns through the right-hand side only. It
    also applies the absolute tolerance to the solve of the gradient, so a small gradient takes no step; `implicit`
    takes all steps there.

    Warning:
        The implicit derivative is the derivative of the exact solution, whether or not the steps have converged.

    Args:
        normal: The operator A^H A.
        right_hand_side: `(batch, y, x, 2)`.
        weight: Scalar, lambda.
        network: Stopping rule and kind of derivative.
    """
    steps, tolerance = network.max_cg_iterations, network.cg_tolerance
    legacy = network.gradient == "modl_legacy"
    if network.gradient == "unrolled":
        return conjugate_gradient(normal, right_hand_side, weight, steps, tolerance)

    def forward(vector: Tensor, weight: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        solution = conjugate_gradient(normal, vector, weight, steps, tolerance)
        return solution, (solution, weight)

    def backward(kept: tuple[Tensor, Tensor], upstream: Tensor) -> tuple[Tensor, Tensor]:
        solution, weight = kept
        adjoint = conjugate_gradient(normal, upstream, weight, steps, tolerance if legacy else 0.0)
        if legacy:
            return adjoint, ops.zeros_like(weight)
        return adjoint, -ops.sum(solution * adjoint)

    if exports_own_derivatives():
        solution = ops.stop_gradient(forward(right_hand_side, weight)[0])
        residual = right_hand_side - normal(solution) - weight * solution
        return implicit_solution(solution, residual, lambda upstream: backward((solution, weight), upstream)[0])
    return custom_gradient(forward, backward)(right_hand_side, weight)


def _divide(runs: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide where a slice runs; 0 elsewhere, also in the derivative."""
    return ops.where(runs, numerator, ops.zeros_like(numerator)) / ops.where(
        runs, denominator, ops.ones_like(denominator)
    )
