"""What the networks see of a dataset: adjoint image, coil sensitivities and point spread function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data import noncartesian
from bart_bridge.data.dataset import Split, each_slice
from bart_bridge.data.fourier import centred_ifft
from tf_models.backend.complex_arrays import complex_to_channels

_ALL = slice(None)


def network_inputs(split: Split, items: slice = _ALL) -> dict[str, NDArray[np.float32]]:
    """Read a split of a dataset for Keras into memory.

    Args:
        split: The files.
        items: Which slices to read, all by default.

    Returns:
        `adjoint` `(batch, y, x, 2 * maps)`: the zero-filled image A^H y = sum_c conj(C_c) F^-1(conj(P) y_c) of each
        map, `coils` `(batch, coil, y, x, 2 * maps)`, and `psf` `(batch, y, x)`: the squared magnitude of the sampling
        pattern, centred, or of non-Cartesian data `(batch, 2y, 2x)`, see `bart_bridge.data.noncartesian`. All float32.

    Raises:
        InputError: A file is missing or damaged, or adjoint and psf of non-Cartesian data were not computed yet.
    """
    arrays = {
        name: array[items] if name != "pattern" or len(array) > 1 else array for name, array in split.arrays().items()
    }
    coils = complex_to_channels(arrays["coils"])
    if split.trajectory:
        images, kernels = noncartesian.read(split)
        images = images[items]
        kernels = kernels[items] if len(kernels) > 1 else kernels
        kernels = np.broadcast_to(kernels.real, (len(images), *kernels.shape[1:]))
        return {"adjoint": complex_to_channels(images), "coils": coils, "psf": kernels.astype(np.float32)}
    batch, maps, _, y, x = arrays["coils"].shape
    adjoint = np.empty((batch, maps, y, x), np.complex64)
    psf = np.empty((batch, y, x), np.float32)
    for item, (kspace, sensitivities, pattern) in enumerate(each_slice(arrays)):
        adjoint[item] = np.sum(sensitivities.conj() * centred_ifft(pattern.conj() * kspace), axis=1)
        psf[item] = np.abs(pattern) ** 2
    return {"adjoint": complex_to_channels(adjoint), "coils": coils, "psf": psf}


def network_reference(split: Split, items: slice = _ALL) -> NDArray[np.float32]:
    """Read the reference of a split that has one, float32 `(batch, y, x, 2 * maps)`; all slices or some."""
    return complex_to_channels(split.arrays()["reference"][items])
