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


def centred_fft(image: NDArray[Precision], axes: tuple[int, ...] = IMAGE) -> NDArray[Precision]:
    """Transform an image to k-space along `axes`, by default the last two, as `bart fft -u` does."""
    return _centred(np.fft.fftn, image, axes)


def centred_ifft(kspace: NDArray[Precision], axes: tuple[int, ...] = IMAGE) -> NDArray[Precision]:
    """Transform k-space to an image along `axes`, by default the last two, as `bart fft -u -i` does."""
    return _centred(np.fft.ifftn, kspace, axes)


def crop_readout(image: NDArray[Precision], pixels: int) -> NDArray[Precision]:
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
