"""The image measures of `bart measure` and of `reconet`'s validation, by BART's definitions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# In the order of BART's list. Version 1.0 appends another one.
NAMES = ("mse mag", "mse", "psnr", "ssim", "mad", "mad mag", "nmse", "nmse mag")
SCALED = "mse scaled"
_SMOOTHING = 1e-12
_WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2


def measures(image: NDArray[np.complexfloating], reference: NDArray[np.complexfloating]) -> dict[str, float]:
    """Compare one image x with its reference r, both `(y, x)`.

    Returns:
        With means over the N pixels of the slice:

            mse       mean |x - r|^2                        mse mag    mean (|x| - |r|)^2
            mad       mean |Re(x - r)| + |Im(x - r)|        mad mag    mean ||x| - |r||
            nmse      sum |x - r|^2 / sum |r|^2             nmse mag   sum (|x| - |r|)^2 / sum |r|^2
            psnr      20 log10(max |r| / sqrt(mse mag))     ssim       see `ssim`
            mse scaled    mean |s x - r|^2 with s = Re(conj(x) r) / |x|^2, a number for each pixel; 0 where x is 0

        As in BART, a reference of zeros has max |r| = 1 in psnr, an ssim of 1 and an nmse of 0. Because s may differ
        between pixels, `mse scaled` measures only phases.
    """
    x, r = image.astype(np.complex128), reference.astype(np.complex128)
    difference, magnitudes = x - r, np.abs(x) - np.abs(r)
    mse_mag = float(np.mean(magnitudes**2))
    energy = float(np.sum(np.abs(r) ** 2))
    square = np.abs(x) ** 2
    scale = np.divide((x.conj() * r).real, square, out=np.zeros_like(square), where=square > 0)
    with np.errstate(divide="ignore"):
        psnr = float(20 * np.log10((np.abs(r).max() or 1) / np.sqrt(mse_mag)))
    return {
        "mse mag": mse_mag,
        "mse": float(np.mean(np.abs(difference) ** 2)),
        "psnr": psnr,
        "ssim": ssim(x, r),
        "mad": float(np.mean(np.abs(difference.real) + np.abs(difference.imag))),
        "mad mag": float(np.mean(np.abs(magnitudes))),
        "nmse": float(np.sum(np.abs(difference) ** 2)) / energy if energy else 0.0,
        "nmse mag": float(np.sum(magnitudes**2)) / energy if energy else 0.0,
        SCALED: float(np.mean(np.abs(scale * x - r) ** 2)),
    }


def measures_of_maps(
    images: NDArray[np.complexfloating], references: NDArray[np.complexfloating], nmse_of_all_maps: bool
) -> dict[str, float]:
    """Compare the maps of a slice with their references, both `(map, y, x)`.

    Args:
        images: The images.
        references: Their references.
        nmse_of_all_maps: Whether nmse has the sums over all maps; see `versions.NMSE_OF_ALL_MAPS`.

    Returns:
        Means over the maps of what `measures` returns.
    """
    of_each = [measures(*pair) for pair in zip(images, references, strict=True)]
    means = {name: float(np.mean([values[name] for values in of_each])) for name in of_each[0]}
    if nmse_of_all_maps:
        stacked = measures(np.concatenate(images), np.concatenate(references))
        means |= {name: stacked[name] for name in ("nmse", "nmse mag")}
    return means


def ssim(image: NDArray[np.complexfloating], reference: NDArray[np.complexfloating]) -> float:
    """Compute the mean structural similarity of magnitudes divided by max |r|.

    Wang et al. (2004), doi 10.1109/TIP.2003.819861, with a uniform window of 7 x 7 pixels at all positions inside the
    image, population covariance, K1 = 0.01, K2 = 0.03 and L = 1.

    Args:
        image: The image x, complex `(y, x)`.
        reference: The reference r, complex `(y, x)`.
    """
    peak = np.abs(reference).max()
    if peak == 0:
        return 1.0
    x, r = (np.sqrt((np.abs(array) / peak) ** 2 + _SMOOTHING) for array in (image, reference))
    mean_x, mean_r = _window_mean(x), _window_mean(r)
    variance_x, variance_r = _window_mean(x * x) - mean_x**2, _window_mean(r * r) - mean_r**2
    covariance = _window_mean(x * r) - mean_x * mean_r
    luminance = (2 * mean_x * mean_r + _C1) / (mean_x**2 + mean_r**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_r + _C2)
    return float(np.mean(luminance * structure))


def _window_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(values, (_WINDOW, _WINDOW))
    return np.asarray(windows.mean(axis=(-2, -1)))
