"""What the networks see of a dataset: adjoint image, coil sensitivities and point spread function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bart_bridge import gridding
from bart_bridge.dataset import Split, each_slice

_IMAGE = (-2, -1)
_ALL = slice(None)


def centred_ifft(kspace: NDArray[np.complexfloating]) -> NDArray[np.complexfloating]:
    """Transform the last two axes with the centred unitary inverse DFT; the centre is at index `floor(n/2)`."""
    shifted = np.fft.ifftshift(kspace, axes=_IMAGE)
    return np.fft.fftshift(np.fft.ifft2(shifted, axes=_IMAGE, norm="ortho"), axes=_IMAGE)


def to_real(array: NDArray[np.complexfloating]) -> NDArray[np.float32]:
    """Turn complex numbers into a trailing axis of 2."""
    return np.stack([array.real, array.imag], axis=-1).astype(np.float32)


def to_complex(array: NDArray[np.floating]) -> NDArray[np.complex64]:
    """Turn a trailing axis of 2 into complex numbers."""
    return (array[..., 0] + 1j * array[..., 1]).astype(np.complex64)


def network_inputs(split: Split, items: slice = _ALL) -> dict[str, NDArray[np.float32]]:
    """Read a split of a dataset for Keras into memory.

    Args:
        split: The files.
        items: Which slices to read, all by default.

    Returns:
        `adjoint` `(batch, y, x, 2)`: the zero-filled image A^H y = sum_c conj(C_c) F^-1(conj(P) y_c),
        `coils` `(batch, coil, y, x, 2)`, and `psf` `(batch, y, x)`: the squared magnitude of the sampling pattern,
        centred, or of non-Cartesian data `(batch, 2y, 2x)`, see `bart_bridge.gridding`. All float32.

    Raises:
        InputError: A file is missing or damaged, or adjoint and psf of non-Cartesian data were not computed yet.
    """
    arrays = {
        name: array[items] if name != "pattern" or len(array) > 1 else array for name, array in split.arrays().items()
    }
    if split.trajectory:
        images, kernels = gridding.read(split)
        images = images[items]
        kernels = kernels[items] if len(kernels) > 1 else kernels
        kernels = np.broadcast_to(kernels.real, (len(images), *kernels.shape[1:]))
        return {"adjoint": to_real(images), "coils": to_real(arrays["coils"]), "psf": kernels.astype(np.float32)}
    batch, _, y, x = arrays["kspace"].shape
    adjoint = np.empty((batch, y, x), np.complex64)
    psf = np.empty((batch, y, x), np.float32)
    for item, (kspace, coils, pattern) in enumerate(each_slice(arrays)):
        adjoint[item] = np.sum(coils.conj() * centred_ifft(pattern.conj() * kspace), axis=0)
        psf[item] = np.abs(pattern) ** 2
    return {"adjoint": to_real(adjoint), "coils": to_real(arrays["coils"]), "psf": psf}


def reference_images(split: Split, items: slice = _ALL) -> NDArray[np.complex64]:
    """Read the reference of a split that has one, complex64 `(batch, y, x)`; all slices or some."""
    return np.ascontiguousarray(split.arrays()["reference"][items, 0])
