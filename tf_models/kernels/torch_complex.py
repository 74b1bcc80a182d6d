"""The SENSE normal operator in PyTorch's complex numbers, with fewer passes over memory than in real ones."""

from __future__ import annotations

from functools import reduce
from operator import add

from tf_models.backend.complex_arrays import join_maps, split_maps
from tf_models.backend.ops import Tensor


def sense_normal(image: Tensor, maps: list[Tensor], psf: Tensor, one_dimensional: bool) -> Tensor:
    """Apply `tf_models.operators.sense.SenseNormal`.

    Args:
        image: `(batch, y, x, 2 * maps)`.
        maps: Coil sensitivities of each map, `(batch, coil, y, x, 2)`.
        psf: Centred in the corner, `(batch, 1, y, x)`, `(batch, 1, 1, x)` or `(batch, 1, 2y, 2x)`; divided by the
            number of values that are transformed together.
        one_dimensional: Whether the psf is constant along y.

    Returns:
        `(batch, y, x, 2 * maps)`.
    """
    import torch

    coils = [torch.view_as_complex(values.contiguous()) for values in maps]
    images = [torch.view_as_complex(values.contiguous()) for values in split_maps(image[:, None])]
    coil_images = reduce(add, [c * x for c, x in zip(coils, images, strict=True)])
    if one_dimensional:
        coil_images = torch.fft.ifft(torch.fft.fft(coil_images).mul_(psf), norm="forward")
    else:
        size_y, size_x = image.shape[1:3]
        # Pads with zeros where the psf is larger.
        spectrum = torch.fft.fft2(coil_images, s=psf.shape[-2:])
        coil_images = torch.fft.ifft2(spectrum.mul_(psf), norm="forward")[..., :size_y, :size_x]
    return join_maps([torch.view_as_real(torch.sum(c.conj() * coil_images, dim=1)) for c in coils])
