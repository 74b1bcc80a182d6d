"""The SENSE normal operator, differentiable on every backend.

Images are real arrays `(batch, y, x, 2)`, coil sensitivities `(batch, coil, y, x, 2)`. With several sets of
sensitivities, called maps, the trailing axis has 2 * maps entries, see `tf_models.backend.complex_arrays`.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import NamedTuple

import keras
from keras import ops

from tf_models.backend.complex_arrays import complex_multiply, join_maps, split_maps
from tf_models.backend.devices import runs_on_tensorflow_cpu, runs_on_torch_gpu
from tf_models.backend.exporting import is_exporting
from tf_models.backend.ops import Tensor, custom_gradient
from tf_models.kernels.padding import pad_with_zeros


class SenseArrays(NamedTuple):
    """What the operator computes with, in the form that its backend prefers; compiled functions can take it."""

    maps: list[Tensor]
    psf: Tensor
    one_dimensional: bool  # The psf is constant along y, after the exchange of y and x.
    transposed: bool  # y and x are exchanged.


class SenseNormal:
    """The normal operator A^H A of SENSE.

    ```
    A^H A x = sum_c conj(C_c) F^-1( psf F(C_c x) )
    ```

    F is the centred unitary DFT. A shift of the image by any number of pixels commutes with F^-1 psf F, and the scaling
    of F cancels. So the psf is moved to the corner once, and plain FFTs do the rest.

    A psf that is constant along one axis needs no transform along it: F^-1 psf F is the same operation on every line
    along the other axis. The shape of such a psf selects this. Lines along y are transposed, because transforms of
    contiguous values are faster.

    For non-Cartesian data A^H A is a convolution with a kernel of twice the image's size. A psf of that size selects
    this (Toeplitz embedding): images are padded with zeros before F and cropped after F^-1. Nothing wraps around, so
    the result is exactly the convolution.

    With several maps x_m and C_m (soft SENSE), C_c x becomes sum_m C_mc x_m, and the m-th image of the result has
    conj(C_mc).

    Args:
        coils: Coil sensitivities C, `(batch, coil, y, x, 2 * maps)`.
        psf: Real and centred at index `floor(n/2)`: the squared magnitude of the sampling pattern, `(batch, y, x)`;
            `(batch, 1, x)` or `(batch, y, 1)` if it is constant along y or x; or the transform of the convolution's
            kernel, `(batch, 2y, 2x)`.

    Raises:
        ValueError: The psf has none of these sizes.

    Examples:
        With one coil of sensitivity 1 and all samples measured, A^H A is the identity.

        >>> import numpy as np
        >>> from tf_models.operators.sense import SenseNormal
        >>> coils = np.zeros((1, 1, 4, 4, 2), np.float32)
        >>> coils[..., 0] = 1
        >>> normal = SenseNormal(coils, np.ones((1, 4, 4), np.float32))
        >>> image = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
        >>> bool(np.allclose(normal(image), image, atol=1e-6))
        True

    References:
        Pruessmann et al. (1999), doi 10.1002/(SICI)1522-2594(199911)42:5<952::AID-MRM16>3.0.CO;2-S. Toeplitz embedding:
        Fessler et al. (2005), doi 10.1109/TSP.2005.853152. Soft SENSE: Uecker et al. (2014), doi 10.1002/mrm.24751.
    """

    def __init__(self, coils: Tensor, psf: Tensor) -> None:
        image_y, image_x = coils.shape[-3:-1]
        allowed = [(image_y, image_x), (1, image_x), (image_y, 1), (2 * image_y, 2 * image_x)]
        size_y, size_x = psf.shape[-2:]
        if (size_y, size_x) not in allowed:
            raise ValueError(f"`psf` must have one of the sizes (y, x) {allowed}. Received: {psf.shape}")
        one_dimensional = (size_y, size_x) != (image_y, image_x) and 1 in (size_y, size_x)
        transposed = one_dimensional and size_x == 1
        if transposed:
            coils, psf = ops.swapaxes(coils, 2, 3), ops.swapaxes(psf, 1, 2)
            size_y, size_x = size_x, size_y
        maps = split_maps(coils)
        psf = ops.roll(psf, (-(size_y // 2), -(size_x // 2)), axis=(-2, -1))[:, None]
        if runs_on_tensorflow_cpu():
            import tensorflow as tf

            # Complex arrays are faster there; they are made once.
            maps = [tf.complex(coils[..., 0], coils[..., 1]) for coils in maps]
            psf = tf.complex(psf, tf.zeros_like(psf))
        else:
            # F^-1 z = conj(F conj(z)) / n: backends divide by n in a pass of its own.
            psf = psf / (size_y * size_x)
        self.arrays = SenseArrays(maps, psf, one_dimensional, transposed)

    @classmethod
    def from_arrays(cls, arrays: SenseArrays) -> SenseNormal:
        """Return the operator that has these arrays."""
        normal = cls.__new__(cls)
        normal.arrays = arrays
        return normal

    def __call__(self, image: Tensor) -> Tensor:
        """Apply the operator to images `(batch, y, x, 2 * maps)`; the result has the same shape.

        The operator is its own derivative, so nothing is kept for the backward pass. Coils and psf are constants to
        that derivative, except in an export.
        """
        if is_exporting():
            return self._apply(image)
        return custom_gradient(lambda image: (self._apply(image), None), lambda _, upstream: self._apply(upstream))(
            image
        )

    def _apply(self, image: Tensor) -> Tensor:
        if self.arrays.transposed:
            return ops.swapaxes(self._apply_along_rows(ops.swapaxes(image, 1, 2)), 1, 2)
        return self._apply_along_rows(image)

    def _apply_along_rows(self, image: Tensor) -> Tensor:
        maps, psf, one_dimensional, _ = self.arrays
        if runs_on_tensorflow_cpu():
            from tf_models.kernels.tensorflow_cpu import sense_normal

            return sense_normal(image, maps, psf, one_dimensional)
        if runs_on_torch_gpu() and not is_exporting():
            from tf_models.kernels import torch_compiled

            return torch_compiled.sense_normal(maps, psf, one_dimensional, image)
        if keras.backend.backend() == "torch":
            from tf_models.kernels import torch_complex

            return torch_complex.sense_normal(image, maps, psf, one_dimensional)
        images = split_maps(image[:, None])
        coil_images = reduce(add, map(complex_multiply, maps, images))
        (size_y, size_x), (grid_y, grid_x) = image.shape[1:3], psf.shape[-2:]
        if (size_y, size_x) != (grid_y, grid_x) and not one_dimensional:
            coil_images = pad_with_zeros(
                coil_images, ((0, 0), (0, 0), (0, grid_y - size_y), (0, grid_x - size_x), (0, 0))
            )
        transform = ops.fft if one_dimensional else ops.fft2
        real, imaginary = transform((coil_images[..., 0], coil_images[..., 1]))
        real, imaginary = transform((real * psf, -imaginary * psf))
        coil_images = ops.stack([real, -imaginary], axis=-1)[:, :, :size_y, :size_x]
        return join_maps([ops.sum(complex_multiply(coils, coil_images, conjugate=True), axis=1) for coils in maps])

    def solve_on_torch_gpu(self, right_hand_side: Tensor, weight: Tensor, iterations: int) -> Tensor:
        """Solve `(A^H A + weight) x = right_hand_side` with conjugate gradients, without a derivative."""
        from tf_models.kernels import torch_compiled

        operator = self.arrays.maps, self.arrays.psf, self.arrays.one_dimensional
        if self.arrays.transposed:
            solution = torch_compiled.conjugate_gradient(
                operator, weight, ops.swapaxes(right_hand_side, 1, 2), iterations
            )
            return ops.swapaxes(solution, 1, 2)
        return torch_compiled.conjugate_gradient(operator, weight, right_hand_side, iterations)
