"""Files of volumes and time series, written as their owners document them; images and coils as in `tests.foreign`."""

import h5py
import numpy as np

from bart_bridge.files import cfl
from tests.foreign import COILS, SLICES, Truth, X, Y, dft, write_mat73

# Positions of the truth's slices along the readout of a volume.
READOUT, FIRST = 8, 2
FRAMES = 3


def make_band_limited_truth():
    """Images without symmetry whose coil images have no frequencies beyond 10: partial k-space is all of them.

    The root sum of squares of the coils is 1, and coils tell positions half an image apart along y.
    """
    generator = np.random.default_rng(7)
    y, x = (np.exp(2j * np.pi * np.arange(size) / size) for size in (Y, X))
    amplitudes = generator.normal(size=(SLICES, 17, 17, 2)) @ [1, 1j] / 17
    waves_y, waves_x = (np.power.outer(wave, np.arange(-8, 9)) for wave in (y, x))
    images = np.einsum("yj,sjk,xk->syx", waves_y, amplitudes, waves_x)
    halves_y, halves_x = ([(1 + wave) / 2, (1 - wave) / 2] for wave in (y, x))
    coils = np.stack([np.outer(half_y, half_x) for half_y in halves_y for half_x in halves_x])
    return Truth(images.astype(np.complex64), coils.astype(np.complex64))


def write_calgary(truth, path, undersampled=None, beyond=0.0, positions=READOUT):
    """Volumes `x, ky, kz, 2 coils`, whose plain inverse DFT shows the image in the middle.

    Slices of the truth stand at positions `FIRST` and on; the others hold noise. `beyond` is what the file holds where
    the scanner measured nothing.
    """
    images = np.random.default_rng(3).normal(size=(positions, COILS, Y, X)) + 0j
    images[FIRST : FIRST + SLICES] = truth.coils * truth.images[:, None]
    # A ramp of the image's phase moves the centre of k-space from its first to its central sample.
    phase = np.exp(2j * np.pi * sum(np.ogrid[:Y, :X][axis] * (size // 2) / size for axis, size in enumerate((Y, X))))
    kspace = np.fft.fft2(images * phase, norm="ortho")
    kspace[..., int(np.ceil(0.85 * X)) :] = beyond
    if undersampled is not None:
        kspace = kspace * undersampled
    parts = np.stack([kspace.real, kspace.imag], axis=-1)  # x, coil, ky, kz, part
    with h5py.File(path, "w") as file:
        file["kspace"] = parts.transpose(0, 2, 3, 1, 4).reshape(positions, Y, X, 2 * COILS).astype(np.float32)
    return path


def cine(truth):
    """K-space `(frame, slice, coil, y, x)`: the slices take turns, and frame n is n + 1 times as bright."""
    frames = [(frame + 1) * np.roll(truth.kspace, frame, axis=0) for frame in range(FRAMES)]
    return np.stack(frames).astype(np.complex64)


def write_cmrxrecon(truth, path, name="kspace_full", mask=None, frames=True):
    """MATLAB's dimensions are x, y, coil, slice, frame."""
    kspace = cine(truth) if frames else truth.kspace
    if mask is not None:
        kspace = kspace * mask
    write_mat73(path, {name: kspace.transpose()})
    return path


def write_bart_volume(truth, path, mask=None):
    """K-space `[readout, y, z, coil]`, whose y and z are x and y of the truth's slices, from `FIRST` on."""
    images = np.zeros((COILS, Y, X, READOUT), complex)
    images[..., FIRST : FIRST + SLICES] = np.moveaxis(truth.coils * truth.images[:, None], 0, -1)
    images[..., FIRST + SLICES :] = images[..., FIRST, None]
    images[..., :FIRST] = 2 * images[..., FIRST + 1, None]
    kspace = dft(images, (-3, -2, -1))
    if mask is not None:
        kspace = kspace * mask
    cfl.write(path, kspace.transpose(3, 2, 1, 0).astype(np.complex64))
    return path
