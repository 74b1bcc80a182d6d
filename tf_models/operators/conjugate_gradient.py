"""Conjugate gradients on images, and the regularized solve with its implicit derivative."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from tf_models.backend.complex_arrays import inner_product
from tf_models.backend.devices import runs_on_torch_gpu
from tf_models.backend.exporting import exports_own_derivatives, is_exporting
from tf_models.backend.ops import Tensor, custom_gradient, xla_on_cpu
from tf_models.operators.sense import SenseArrays, SenseNormal


def conjugate_gradient(operator: Callable[[Tensor], Tensor], right_hand_side: Tensor, iterations: int) -> Tensor:
    """Solve `operator(x) = right_hand_side` for each slice, starting at 0.

    ```
    alpha = <r, r> / <p, H p>
    x <- x + alpha p
    r' = r - alpha H p
    p <- r' + (<r', r'> / <r, r>) p
    ```

    As in BART there is no tolerance: all steps are taken. Only if a residual or <p, H p> is exactly 0, the solution
    stays where it is.

    Args:
        operator: H, self-adjoint and positive (semi-)definite; takes and returns images.
        right_hand_side: `(batch, y, x, 2 * maps)`.
        iterations: Number of steps, at least 0.

    Returns:
        The solution x, `(batch, y, x, 2 * maps)`.

    References:
        Hestenes and Stiefel (1952), doi 10.6028/jres.049.044.
    """

    def step(_: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        solution, residual, direction, residual_norm_sq = state
        operator_direction = operator(direction)
        alpha = _divide(residual_norm_sq, inner_product(direction, operator_direction))
        solution = solution + alpha * direction
        residual = residual - alpha * operator_direction
        next_norm_sq = inner_product(residual, residual)
        beta = _divide(next_norm_sq, residual_norm_sq)
        return solution, residual, residual + beta * direction, next_norm_sq

    residual_norm_sq = inner_product(right_hand_side, right_hand_side)
    start = (ops.zeros_like(right_hand_side), right_hand_side, right_hand_side, residual_norm_sq)
    return ops.fori_loop(0, iterations, step, start)[0]


def solve_regularized(
    normal: SenseNormal, right_hand_side: Tensor, weight: Tensor, iterations: int, derivative: str = "implicit"
) -> Tensor:
    """Solve `(A^H A + weight) x = right_hand_side` with conjugate gradients.

    The implicit derivative keeps nothing of the iterations. With g the gradient of the loss by x:

    ```
    q = (A^H A + weight)^-1 g        solved with as many steps
    gradient by right_hand_side:  q
    gradient by weight:           -<x, q>
    ```

    Warning:
        The implicit derivative is the derivative of the exact solution. If the conjugate gradients have not converged
        after `iterations` steps, it differs from the derivative of the value that is returned. BART and MoDL use it
        nevertheless.

    Args:
        normal: The operator A^H A.
        right_hand_side: `(batch, y, x, 2 * maps)`.
        weight: lambda, a scalar, at least 0.
        iterations: Conjugate gradient steps, of the solution and of the implicit derivative.
        derivative: `implicit` (default), or `unrolled` to differentiate through the steps, which keeps all of them.

    Returns:
        The solution x, `(batch, y, x, 2 * maps)`.

    References:
        Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356, section III.C.
    """

    def solve(vector: Tensor, weight: Tensor) -> Tensor:
        if runs_on_torch_gpu() and not is_exporting():
            return normal.solve_on_torch_gpu(vector, weight, iterations)
        return _solve_compiled(vector, weight, normal.arrays, iterations)

    def forward(vector: Tensor, weight: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        solution = solve(vector, weight)
        return solution, (solution, weight)

    def backward(kept: tuple[Tensor, Tensor], upstream: Tensor) -> tuple[Tensor, Tensor]:
        solution, weight = kept
        adjoint = solve(upstream, weight)
        return adjoint, -ops.sum(solution * adjoint)

    if derivative == "unrolled":
        return _solve(right_hand_side, weight, normal.arrays, iterations)
    if exports_own_derivatives():
        solution = ops.stop_gradient(solve(right_hand_side, weight))
        residual = right_hand_side - normal(solution) - weight * solution
        return implicit_solution(solution, residual, lambda upstream: solve(upstream, weight))
    return custom_gradient(forward, backward)(right_hand_side, weight)


def _solve(vector: Tensor, weight: Tensor, arrays: SenseArrays, iterations: int) -> Tensor:
    normal = SenseNormal.from_arrays(arrays)
    return conjugate_gradient(lambda image: normal(image) + weight * image, vector, iterations)


_solve_compiled = xla_on_cpu(_solve)


def implicit_solution(solution: Tensor, residual: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a solution x of H x = b with its derivative by everything that b and H depend on.

    ```
    dx = H^-1 d(b - H x),   x constant in the residual b - H x
    ```

    Args:
        solution: x, `(batch, y, x, 2 * maps)`.
        residual: b - H x, of the same shape; its value does not matter, only its derivative.
        solve: Returns H^-1 g for the gradient g of the loss by x.
    """
    differential = custom_gradient(
        lambda residual: (ops.zeros_like(residual), None), lambda _, upstream: solve(upstream)
    )
    return ops.stop_gradient(solution) + differential(residual)


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, and return 0 where the denominator is 0."""
    zero = ops.equal(denominator, 0)
    return ops.where(
        zero, ops.zeros_like(numerator), numerator / ops.where(zero, ops.ones_like(denominator), denominator)
    )
