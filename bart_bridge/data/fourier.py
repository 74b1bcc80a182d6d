"""The centred unitary DFT, and readout oversampling; the centre is at index `floor(n/2)` as in BART."""

from __future__ import annotations

import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.importers.source import Complex

IMAGE = (-2, -1)
_X = (-1,)


def centred_fft(image: Complex, axes: tuple[int, ...] = IMAGE) -> Complex:
    """Transform to k-space, `bart fft -u`."""
    shifted = np.fft.ifftshift(image, axes=axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes).astype(np.complex64, copy=False)


def centred_ifft(kspace: Complex, axes: tuple[int, ...] = IMAGE) -> Complex:
    """Transform to the image, `bart fft -u -i`."""
    shifted = np.fft.ifftshift(kspace, axes=axes)
    return np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes=axes).astype(np.complex64, copy=False)


def crop_readout(image: Complex, pixels: int) -> Complex:
    """Keep the centre of the last axis, `bart resize -c 0 pixels`."""
    start = image.shape[-1] // 2 - pixels // 2
    return image[..., start : start + pixels]


def remove_oversampling(kspace: Complex, pixels: int) -> Complex:
    """Crop the image of k-space `(..., x)` along the readout; the values of the image stay what they are.

    Exact where all of the readout was measured.

    Raises:
        InputError: There are fewer pixels than wanted.
    """
    size = kspace.shape[-1]
    if not 0 < pixels <= size:
        raise InputError(f"the readout of {size} samples must be at least the {pixels} pixels of the image")
    if pixels == size:
        return kspace
    return centred_fft(crop_readout(centred_ifft(kspace, _X), pixels), _X)
