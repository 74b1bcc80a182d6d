"""The SENSE normal operator and conjugate gradients for PyTorch on a GPU, in few passes over memory.

`torch.compile` fuses real arithmetic, but not that of complex numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add

from tf_models.backend.complex_arrays import complex_multiply, inner_product, join_maps, split_maps
from tf_models.backend.ops import Tensor
from tf_models.backend.torch_compile import compiled_on_torch_gpu
from tf_models.kernels import torch_graphs


def conjugate_gradient(
    operator: tuple[list[Tensor], Tensor, bool], weight: Tensor, right_hand_side: Tensor, iterations: int
) -> Tensor:
    """Solve `(A^H A + weight) x = right_hand_side`, as `tf_models.operators.conjugate_gradient` does.

    On a GPU all steps are one CUDA graph, see `tf_models.kernels.torch_graphs`.

    Args:
        operator: Arguments of `sense_normal` but the image.
        weight: A scalar.
        right_hand_side: `(batch, y, x, 2 * maps)`.
        iterations: Number of steps.
    """
    maps, psf, one_dimensional = operator
    arrays = right_hand_side.detach().contiguous(), weight.detach(), psf, *maps
    return torch_graphs.run(_solve, arrays, one_dimensional, iterations)


def _solve(arrays: Sequence[Tensor], one_dimensional: bool, iterations: int) -> Tensor:
    import torch

    residual, weight, psf, *maps = arrays
    state = torch.zeros_like(residual), residual, residual, inner_product(residual, residual)
    for _ in range(iterations):
        state = _step(maps, psf, one_dimensional, weight, state)
    return state[0]


@compiled_on_torch_gpu
def sense_normal(maps: list[Tensor], psf: Tensor, one_dimensional: bool, image: Tensor) -> Tensor:
    """Apply `tf_models.operators.sense.SenseNormal`; see `tf_models.kernels.torch_complex.sense_normal`."""
    import torch

    coil_images = torch.view_as_complex(reduce(add, map(complex_multiply, maps, split_maps(image[:, None]))))
    size_y, size_x = image.shape[1:3]
    # Pads with zeros where the psf is larger.
    spectrum = torch.fft.fft(coil_images) if one_dimensional else torch.fft.fft2(coil_images, s=psf.shape[-2:])
    spectrum = torch.view_as_complex(torch.view_as_real(spectrum) * psf[..., None])
    inverse = torch.fft.ifft if one_dimensional else torch.fft.ifft2
    coil_images = torch.view_as_real(inverse(spectrum, norm="forward"))[:, :, :size_y, :size_x]
    return join_maps([complex_multiply(coils, coil_images, conjugate=True).sum(1) for coils in maps])


@compiled_on_torch_gpu
def _step(
    maps: list[Tensor], psf: Tensor, one_dimensional: bool, weight: Tensor, state: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    solution, residual, direction, residual_norm_sq = state
    operator_direction = sense_normal(maps, psf, one_dimensional, direction) + weight * direction
    alpha = _divide(residual_norm_sq, inner_product(direction, operator_direction))
    solution = solution + alpha * direction
    residual = residual - alpha * operator_direction
    next_norm_sq = inner_product(residual, residual)
    return solution, residual, residual + _divide(next_norm_sq, residual_norm_sq) * direction, next_norm_sq


def _divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, and return 0 where the denominator is 0."""
    import torch

    return torch.where(denominator == 0, torch.zeros_like(numerator), numerator / denominator)
