"""The centred unitary DFT, and readout oversampling; the centre is at index `floor(n/2)` as in BART.

Results have the precision of the input: complex64 stays complex64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError

IMAGE = (-2, -1)
_READOUT = (-1,)
Precision = TypeVar("Precision", bound=np.complexfloating)
Number = TypeVar("Number", bound=np.number)


def centred_fft(image: NDArray[Precision], axes: tuple[int, ...] = IMAGE) -> NDArray[Precision]:
    """Transform an image to k-space along `axes`, by default the last two, as `bart fft -u` does."""
    return _centred(np.fft.fftn, image, axes)


def centred_ifft(kspace: NDArray[Precision], axes: tuple[int, ...] = IMAGE) -> NDArray[Precision]:
    """Transform k-space to an image along `axes`, by default the last two, as `bart fft -u -i` does."""
    return _centred(np.fft.ifftn, kspace, axes)


def idft_matrix(size: int, positions: NDArray[np.integer]) -> NDArray[np.complex64]:
    """Return the matrix of the centred unitary inverse DFT at some positions.

    `kspace @ matrix` transforms k-space `(..., size)`. For few positions this is faster than an FFT.

    Args:
        size: Number of samples.
        positions: Positions in the image, counted from 0.

    Returns:
        Matrix `(size, positions)`.
    """
    centre = size // 2
    cycles = np.outer(np.arange(size) - centre, positions - centre) % size / size
    return (np.exp(2j * np.pi * cycles) / np.sqrt(size)).astype(np.complex64)


def crop_readout(image: NDArray[Number], pixels: int) -> NDArray[Number]:
    """Keep the central pixels of the last axis, as `bart resize -c 0 pixels` does."""
    start = image.shape[-1] // 2 - pixels // 2
    return image[..., start : start + pixels]


def remove_oversampling(kspace: NDArray[Precision], pixels: int) -> NDArray[Precision]:
    """Crop the image of k-space `(..., x)` along the readout; the values that remain do not change.

    This is exact if the whole readout was measured.

    Raises:
        InputError: The readout has fewer samples than `pixels`.
    """
    size = kspace.shape[-1]
    if not 0 < pixels <= size:
        raise InputError(f"the readout of {size} samples must be at least the {pixels} pixels of the image")
    if pixels == size:
        return kspace
    return centred_fft(crop_readout(centred_ifft(kspace, _READOUT), pixels), _READOUT)


def _centred(
    transform: Callable[..., NDArray[np.complexfloating]], array: NDArray[Precision], axes: tuple[int, ...]
) -> NDArray[Precision]:
    transformed = transform(np.fft.ifftshift(array, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(transformed, axes=axes)
