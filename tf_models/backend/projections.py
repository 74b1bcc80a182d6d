"""Euclidean projections of weights onto sets: constraints of networks, proximal maps of optimizers.

Each function returns the point of its set that is nearest to its argument, and takes and returns tensors of the same
shape and floating-point type. Filters have the axes `(iteration, y, x, in, out, 2)`, the last one for real and
imaginary part; a sum over a filter is over y, x and both parts, a mean over y and x alone.
"""

from __future__ import annotations

from keras import ops

from tf_models.backend.ops import Tensor


def project_box(values: Tensor, lower: float, upper: float) -> Tensor:
    """Return argmin_x |x - v|^2 over lower <= x_i <= upper."""
    return ops.clip(values, lower, upper)


def project_non_negative(values: Tensor) -> Tensor:
    """Return argmin_x |x - v|^2 over x_i >= 0."""
    return ops.relu(values)


def project_unit_ball(values: Tensor) -> Tensor:
    """Return argmin_x |x - v|^2 over |x| <= 1, the l2 norm of the whole array."""
    norm = ops.sqrt(ops.sum(values * values))
    return values / ops.where(norm > 1, norm, 1)


def project_zero_mean_unit_sphere(filters: Tensor) -> Tensor:
    """Return argmin_x |x - v|^2 over mean(x) = 0, |x| = 1 for each filter, as BART does.

    It subtracts the complex mean over the pixels and divides by the norm. A constant filter has no nearest point; it
    becomes 0.
    """
    centred, norm = _centre(filters)
    return centred / ops.where(norm > 0, norm, 1)


def project_zero_mean_unit_ball(filters: Tensor) -> Tensor:
    """Return argmin_x |x - v|^2 over mean(x) = 0, |x| <= 1 for each filter, as the original VarNet code does.

    Hammernik et al. (2018), doi 10.1002/mrm.26977. A constant filter becomes 0.
    """
    centred, norm = _centre(filters)
    return centred / ops.where(norm > 1, norm, 1)


def _centre(filters: Tensor) -> tuple[Tensor, Tensor]:
    centred = filters - ops.mean(filters, axis=(1, 2), keepdims=True)
    return centred, ops.sqrt(ops.sum(centred * centred, axis=(1, 2, 5), keepdims=True))
