"""The inputs of the networks for a dataset: adjoint image, coil sensitivities and point spread function."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data import noncartesian
from bart_bridge.data.dataset import Split, each_slice
from bart_bridge.data.fourier import centred_ifft
from tf_models.backend.channels import complex_to_channels

_ALL = slice(None)


def network_inputs(split: Split, selection: slice = _ALL) -> dict[str, NDArray[np.float32]]:
    """Read slices of a dataset into memory, in the form that the networks take.

    Args:
        split: The files.
        selection: Slices to read. Defaults to all.

    Returns:
        Three float32 arrays. `adjoint` `(batch, y, x, 2 * maps)` is the zero-filled image of each map, A^H y = sum_c
        conj(C_c) F^-1(conj(P) y_c). `coils` is `(batch, coil, y, x, 2 * maps)`. `psf` `(batch, y, x)` is the squared
        magnitude of the centred sampling pattern; for non-Cartesian data it is `(batch, 2y, 2x)`, see
        `bart_bridge.data.noncartesian`.

    Raises:
        InputError: A file is missing or damaged, or adjoint and psf of non-Cartesian data have not been computed.
    """
    arrays = {
        name: array[selection] if name != "pattern" or len(array) > 1 else array
        for name, array in split.arrays().items()
    }
    coils = complex_to_channels(arrays["coils"])
    if split.trajectory:
        images, kernels = noncartesian.read(split)
        images = images[selection]
        kernels = kernels[selection] if len(kernels) > 1 else kernels
        kernels = np.broadcast_to(kernels.real, (len(images), *kernels.shape[1:]))
        return {"adjoint": complex_to_channels(images), "coils": coils, "psf": kernels.astype(np.float32)}
    batch, maps, _, y, x = arrays["coils"].shape
    adjoint = np.empty((batch, maps, y, x), np.complex64)
    psf = np.empty((batch, y, x), np.float32)
    for item, (kspace, sensitivities, pattern) in enumerate(each_slice(arrays)):
        adjoint[item] = np.sum(sensitivities.conj() * centred_ifft(pattern.conj() * kspace), axis=1)
        psf[item] = np.abs(pattern) ** 2
    return {"adjoint": complex_to_channels(adjoint), "coils": coils, "psf": psf}


def constant_psf_axis(slices: Split | NDArray[np.float32]) -> int | None:
    """Return the axis of the psf, 1 (y) or 2 (x), along which no slice changes; None if there is none.

    Such a psf needs no Fourier transform along that axis, see `tf_models.operators.sense.SenseNormal`.

    Args:
        slices: Files, or the psf of all slices, `(batch, y, x)`. Files without a pattern, and non-Cartesian data, have
            no such axis.
    """
    patterns: NDArray[np.generic]
    if isinstance(slices, Split):
        if slices.pattern is None or slices.trajectory is not None:
            return None
        patterns = slices.arrays()["pattern"][:, 0]
    else:
        patterns = slices
    return next((axis for axis in (1, 2) if all(_is_constant(pattern, axis - 1) for pattern in patterns)), None)


def without_constant_axis(psf: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    """Return a psf with one pixel along an axis from `constant_psf_axis`: `(batch, 1, x)` or `(batch, y, 1)`."""
    return psf if axis is None else np.take(psf, [0], axis=axis)


def _is_constant(array: NDArray[np.generic], axis: int) -> bool:
    return bool(np.all(array == np.take(array, [0], axis=axis)))


def network_reference(split: Split, selection: slice = _ALL) -> NDArray[np.float32]:
    """Read the reference of a split that has one.

    Args:
        split: The files.
        selection: Slices to read. Defaults to all.

    Returns:
        Fully sampled images, float32 `(batch, y, x, 2 * maps)`.
    """
    return complex_to_channels(split.arrays()["reference"][selection])
