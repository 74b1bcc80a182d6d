"""The SENSE normal operator and the conjugate gradients that invert it, differentiable on every backend.

Images are real arrays `(batch, y, x, 2)`, coil sensitivities `(batch, coil, y, x, 2)`. With several sets of
sensitivities, called maps, the trailing axis holds real and imaginary part of each in turn, 2 * maps in all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

from keras import ops

from tf_models.backend.ops import Tensor, runs_on_tensorflow_cpu


def complex_multiply(a: Tensor, b: Tensor, conjugate: bool = False) -> Tensor:
    """Multiply `a` (or its conjugate) with `b`; both have a trailing axis of 2 and broadcast otherwise."""
    a_real, a_imag = a[..., 0], -a[..., 1] if conjugate else a[..., 1]
    b_real, b_imag = b[..., 0], b[..., 1]
    return ops.stack([a_real * b_real - a_imag * b_imag, a_real * b_imag + a_imag * b_real], axis=-1)


def inner_product(a: Tensor, b: Tensor) -> Tensor:
    """Real part of the inner product of each slice, `(batch, 1, 1, 1)`."""
    return ops.sum(a * b, axis=(1, 2, 3), keepdims=True)


def each_map(array: Tensor) -> list[Tensor]:
    """Cut the trailing axis of 2 * maps into one of 2 for each map."""
    maps = array.shape[-1] // 2
    return [array] if maps == 1 else [array[..., 2 * number : 2 * number + 2] for number in range(maps)]


def of_all_maps(arrays: list[Tensor]) -> Tensor:
    """Join what `each_map` has cut."""
    return arrays[0] if len(arrays) == 1 else ops.concatenate(arrays, axis=-1)


class SenseNormal:
    """The normal operator A^H A x = sum_c conj(C_c) F^-1( psf F(C_c x) ) of SENSE.

    Pruessmann et al. (1999), doi 10.1002/(SICI)1522-2594(199911)42:5<952::AID-MRM16>3.0.CO;2-S. F is the centred
    unitary DFT. A shift of the image by any number of pixels commutes with F^-1 psf F, and scaling cancels, so only the
    psf is moved to the corner, once.

    For non-Cartesian data A^H A is a convolution with a kernel of twice the image's size. A psf of that size selects
    this: images are padded with zeros to it before F and cropped after F^-1 (Toeplitz embedding; Fessler et al. 2005,
    doi 10.1109/TSP.2005.853152). Nothing wraps around, so the result is that of the convolution.

    With several maps x_m and C_m (soft SENSE; Uecker et al. 2014, doi 10.1002/mrm.24751), C_c x is sum_m C_mc x_m, and
    the m-th image of the result has conj(C_mc).

    Args:
        coils: Coil sensitivities C, `(batch, coil, y, x, 2 * maps)`.
        psf: Centred at index `floor(n/2)`: the squared magnitude of the sampling pattern, `(batch, y, x)`, or the
            transform of the convolution's kernel, `(batch, 2y, 2x)`; real, as both operators are self-adjoint.
    """

    def __init__(self, coils: Tensor, psf: Tensor) -> None:
        allowed = [tuple(factor * size for size in coils.shape[-3:-1]) for factor in (1, 2)]
        maps = each_map(coils)
        size_y, size_x = psf.shape[-2:]
        if (size_y, size_x) not in allowed:
            raise ValueError(f"`psf` must have the size of the image or twice that, {allowed}. Received: {psf.shape}")
        psf = ops.roll(psf, (-(size_y // 2), -(size_x // 2)), axis=(-2, -1))[:, None]
        if runs_on_tensorflow_cpu():
            import tensorflow as tf

            # It is faster with complex numbers, once they are there.
            maps, psf = [tf.complex(own[..., 0], own[..., 1]) for own in maps], tf.complex(psf, tf.zeros_like(psf))
        else:
            # F^-1 z = conj(F conj(z)) / n: backends divide by n in a pass of its own.
            psf = psf / (size_y * size_x)
        self.maps, self.psf = maps, psf

    def __call__(self, image: Tensor) -> Tensor:
        """Apply the operator to images `(batch, y, x, 2 * maps)`; the result has the same shape.

        It is its own derivative, so nothing is kept for that.
        """

        @ops.custom_gradient
        def apply(image: Tensor) -> Any:
            def gradient(*arguments: Tensor, upstream: Tensor = None) -> Tensor:
                return self._apply(arguments[0] if upstream is None else upstream)

            return self._apply(image), gradient

        return apply(image)

    def _apply(self, image: Tensor) -> Tensor:
        if runs_on_tensorflow_cpu():
            from tf_models.kernels.tensorflow_cpu import sense_normal

            return sense_normal(image, self.maps, self.psf)
        images = each_map(image[:, None])
        coil_images = reduce(add, map(complex_multiply, self.maps, images))
        (size_y, size_x), (grid_y, grid_x) = image.shape[1:3], self.psf.shape[-2:]
        if (size_y, size_x) != (grid_y, grid_x):
            coil_images = ops.pad(coil_images, ((0, 0), (0, 0), (0, grid_y - size_y), (0, grid_x - size_x), (0, 0)))
        real, imaginary = ops.fft2((coil_images[..., 0], coil_images[..., 1]))
        real, imaginary = ops.fft2((real * self.psf, -imaginary * self.psf))
        coil_images = ops.stack([real, -imaginary], axis=-1)[:, :, :size_y, :size_x]
        return of_all_maps(
            [ops.sum(complex_multiply(coils, coil_images, conjugate=True), axis=1) for coils in self.maps]
        )


def conjugate_gradient(operator: Callable[[Tensor], Tensor], right_hand_side: Tensor, iterations: int) -> Tensor:
    """Solve `operator(x) = right_hand_side` for each slice, starting at 0.

        alpha = <r, r> / <p, H p>;  x <- x + alpha p;  r' = r - alpha H p;  p <- r' + (<r', r'> / <r, r>) p

    Hestenes and Stiefel (1952), doi 10.6028/jres.049.044. As in BART there is no tolerance: it takes all its steps
    unless a residual or <p, H p> is exactly 0, and then stays where it is.

    Args:
        operator: Self-adjoint and positive (semi-)definite.
        right_hand_side: `(batch, y, x, 2 * maps)`.
        iterations: Number of steps.

    Returns:
        The solution, `(batch, y, x, 2 * maps)`.
    """

    def step(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        solution, residual, direction, energy = state
        image = operator(direction)
        length = _divide(energy, inner_product(direction, image))
        solution = solution + length * direction
        residual = residual - length * image
        next_energy = inner_product(residual, residual)
        direction = residual + _divide(next_energy, energy) * direction
        return solution, residual, direction, next_energy

    energy = inner_product(right_hand_side, right_hand_side)
    start = (ops.zeros_like(right_hand_side), right_hand_side, right_hand_side, energy)
    return ops.fori_loop(0, iterations, step, start)[0]


def solve_regularized(
    normal: SenseNormal, right_hand_side: Tensor, weight: Tensor, iterations: int, derivative: str = "implicit"
) -> Tensor:
    """Solve `(A^H A + weight) x = right_hand_side` with conjugate gradients and differentiate implicitly.

    With g the gradient of the loss by x and q the same solve of g, the gradient by the right-hand side is q and the
    one by the weight is -<x, q>, as in BART (Aggarwal et al. 2019, section III.C): nothing of the iterations is kept.

    Args:
        normal: The operator A^H A.
        right_hand_side: `(batch, y, x, 2 * maps)`.
        weight: Scalar, lambda.
        iterations: Conjugate gradient steps, forwards and for the derivative.
        derivative: `unrolled` differentiates through the iterations instead, which keeps all of them.
    """

    def solve(vector: Tensor, weight: Tensor) -> Tensor:
        return conjugate_gradient(lambda image: normal(image) + weight * image, vector, iterations)

    if derivative == "unrolled":
        return solve(right_hand_side, weight)

    @ops.custom_gradient
    def solution_of(vector: Tensor, weight: Tensor) -> Any:
        solution = solve(vector, weight)
        # PyTorch: with the returned tensor itself in it, the derivative would keep itself and all of its graph alive.
        constant = ops.stop_gradient(solution)

        def gradient(*arguments: Tensor, upstream: Tensor = None) -> tuple[Tensor, Tensor]:
            if upstream is None:
                (upstream,) = arguments
            adjoint = solve(upstream, weight)
            return adjoint, -ops.sum(constant * adjoint)

        return solution, gradient

    return solution_of(right_hand_side, weight)


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, and return 0 where the denominator is 0."""
    zero = ops.equal(denominator, 0)
    return ops.where(
        zero, ops.zeros_like(numerator), numerator / ops.where(zero, ops.ones_like(denominator), denominator)
    )
