"""PSNR, SSIM and NMSE of one slice, each with one written definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DEFINITIONS = {
    "psnr": "20 log10(max|r| / RMSE(|x|, |r|)) of the slice, scikit-image with data_range = max|r|",
    "ssim": "scikit-image structural_similarity of |x| and |r|, 7x7 uniform window, data_range = max|r| of the slice",
    "nmse": "sum (|x| - |r|)^2 / sum |r|^2 of the slice",
}
UNITS = {"psnr": "dB", "ssim": "1", "nmse": "1"}


def measures(image: NDArray[np.complex64], reference: NDArray[np.complex64]) -> dict[str, float]:
    """Compare the magnitudes of an image with those of its reference.

    Args:
        image: Reconstruction x, `(y, x)`.
        reference: Fully sampled image r, `(y, x)`.

    Returns:
        `psnr` in dB, `ssim` and `nmse`; see `DEFINITIONS`.
    """
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    x, r = np.abs(image).astype(np.float64), np.abs(reference).astype(np.float64)
    peak = float(r.max())
    return {
        "psnr": float(peak_signal_noise_ratio(r, x, data_range=peak)),
        "ssim": float(structural_similarity(r, x, data_range=peak)),
        "nmse": float(np.sum((x - r) ** 2) / np.sum(r**2)),
    }
