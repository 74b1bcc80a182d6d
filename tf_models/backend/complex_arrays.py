"""Complex numbers as real arrays with a trailing axis of 2 (real, imaginary).

Images and coil sensitivities of several maps (sets of sensitivities) have a trailing axis of 2 * maps: real and
imaginary part of each map in turn.
"""

from __future__ import annotations

from keras import ops

from tf_models.backend.ops import Tensor


def complex_multiply(a: Tensor, b: Tensor, conjugate: bool = False) -> Tensor:
    """Multiply `a` (or its conjugate) by `b`.

    Args:
        a, b: `(..., 2)`; the other axes broadcast.
        conjugate: Multiply by the conjugate of `a`. Defaults to False.
    """
    a_real, a_imag = a[..., 0], -a[..., 1] if conjugate else a[..., 1]
    b_real, b_imag = b[..., 0], b[..., 1]
    return ops.stack([a_real * b_real - a_imag * b_imag, a_real * b_imag + a_imag * b_real], axis=-1)


def inner_product(a: Tensor, b: Tensor) -> Tensor:
    """Return the real part of the inner product of each slice, `(batch, 1, 1, 1)`."""
    return ops.sum(a * b, axis=(1, 2, 3), keepdims=True)


def split_maps(array: Tensor) -> list[Tensor]:
    """Split `(..., 2 * maps)` into one array `(..., 2)` for each map."""
    maps = array.shape[-1] // 2
    return [array] if maps == 1 else [array[..., 2 * number : 2 * number + 2] for number in range(maps)]


def join_maps(arrays: list[Tensor]) -> Tensor:
    """Join the arrays of all maps, the inverse of `split_maps`."""
    return arrays[0] if len(arrays) == 1 else ops.concatenate(arrays, axis=-1)


def squared_magnitude(array: Tensor) -> Tensor:
    """Return the squared magnitude of each map, `(..., maps)`, of an array `(..., 2 * maps)`."""
    return ops.stack([ops.sum(ops.square(values), axis=-1) for values in split_maps(array)], axis=-1)
