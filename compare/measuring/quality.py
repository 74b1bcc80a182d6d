"""PSNR, SSIM and NMSE by three definitions, each under its own name: ours, that of `bart measure`, that of fastMRI."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import ToolError
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.measures import measures as bart_measures
from bart_bridge.tools.parallel import in_parallel
from bart_bridge.tools.toolbox import Toolbox

DEFINITIONS = {
    "psnr": "20 log10(max|r| / RMSE(|x|, |r|)) of the slice, scikit-image with data_range = max|r|",
    "ssim": "scikit-image structural_similarity of |x| and |r|, 7x7 uniform window, data_range = max|r| of the slice",
    "nmse": "sum (|x| - |r|)^2 / sum |r|^2 of the slice",
}
BART_DEFINITIONS = {
    "psnr_bart": "bart measure --psnr of the slice: 20 log10(max|r| / RMSE(|x|, |r|))",
    "ssim_bart": "bart measure --ssim of the slice: range max|r|, 7x7 uniform window, population covariance",
    "nmse_bart": "bart measure --mse-mag of the slice, divided by the mean of |r|^2",
}
RECOMPUTED_DEFINITIONS = {
    "psnr_recomputed": "BART's definition of PSNR, computed by bart-tf in double precision",
    "ssim_recomputed": "BART's definition of SSIM, computed by bart-tf in double precision",
    "nmse_recomputed": "BART's mean squared error of magnitudes divided by the mean of |r|^2, computed by bart-tf",
}
FASTMRI_DEFINITIONS = {
    "psnr_fastmri": "fastMRI convention: one PSNR of magnitudes over all test slices as one volume, range its max|r|",
    "ssim_fastmri": "fastMRI convention: SSIM of each slice, 7x7 uniform window, range max|r| of all test slices",
    "nmse_fastmri": "fastMRI convention: sum (|x| - |r|)^2 / sum |r|^2 over all test slices as one volume",
}
UNITS = {"psnr": "dB", "ssim": "1", "nmse": "1"}


def combine_maps(images: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Combine the images of all maps, `(batch, map, y, x)`, into the one that is measured and shown, `(batch, y, x)`.

    With several maps (soft SENSE) it is the root sum of squares. With one map it is that image itself.
    """
    if images.shape[1] == 1:
        return images[:, 0]
    return np.sqrt(np.sum(np.abs(images) ** 2, axis=1)).astype(np.complex64)


def check_images(images: NDArray[np.complex64]) -> None:
    """Reject images that are no reconstruction: with values that are not finite, or with one value everywhere.

    A slice of zeros cannot be a correct result either, because `Split.validate` rejects k-space without a signal.

    Args:
        images: `(batch, map, y, x)`.

    Raises:
        ToolError: A slice is not usable; the message has its number.
    """
    for number, image in enumerate(combine_maps(images)):
        if not np.isfinite(image).all():
            raise ToolError(f"the reconstruction of slice {number} has values that are not finite")
        if np.all(image == image.flat[0]):
            raise ToolError(f"the reconstruction of slice {number} is {np.abs(image.flat[0]):g} everywhere")


def measures(image: NDArray[np.complex64], reference: NDArray[np.complex64]) -> dict[str, float]:
    """Compare the magnitudes of an image with those of its reference.

    Args:
        image: Reconstruction x, `(y, x)`.
        reference: Fully sampled image r, `(y, x)`.

    Returns:
        `psnr` in dB, `ssim` and `nmse`; see `DEFINITIONS`.
    """
    from skimage.metrics import structural_similarity

    x, r = np.abs(image).astype(np.float64), np.abs(reference).astype(np.float64)
    peak = float(r.max())
    return {
        "psnr": _psnr(r, x, peak),
        "ssim": float(structural_similarity(r, x, data_range=peak)),
        "nmse": float(np.sum((x - r) ** 2) / np.sum(r**2)),
    }


def measured_by_bart(
    images: NDArray[np.complex64], reference: NDArray[np.complex64], toolbox: Toolbox
) -> dict[str, NDArray[np.float64]]:
    """Compare images with their references, both `(batch, y, x)`, by `bart measure`.

    Returns:
        One value for each slice by the names of `BART_DEFINITIONS`.

    Raises:
        ToolError: BART failed.
    """
    x, r = (from_batch_coil_yx(np.ascontiguousarray(array)[:, None]) for array in (images, reference))

    def by_option(option: str) -> NDArray[np.float64]:
        return toolbox.compute("measure", option, r, x).real.ravel().astype(np.float64)

    # Each is a process on one core, whose start may take longer than its work.
    psnr, ssim, mse = in_parallel(by_option, ("--psnr", "--ssim", "--mse-mag"), 3)
    energy = np.mean(np.abs(reference.astype(np.complex128)) ** 2, axis=(1, 2))
    return {"psnr_bart": psnr, "ssim_bart": ssim, "nmse_bart": mse / energy}


def recomputed(image: NDArray[np.complex64], reference: NDArray[np.complex64]) -> dict[str, float]:
    """Compare one slice `(y, x)` by BART's definitions without BART, by the names of `RECOMPUTED_DEFINITIONS`."""
    values = bart_measures(image, reference)
    return {
        "psnr_recomputed": values["psnr"],
        "ssim_recomputed": values["ssim"],
        "nmse_recomputed": values["nmse mag"],
    }


def of_volume(
    images: NDArray[np.complex64], reference: NDArray[np.complex64]
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Compare a volume `(batch, y, x)` by the fastMRI convention (Zbontar et al. 2018, arXiv:1811.08839).

    Returns:
        `psnr_fastmri` and `nmse_fastmri` of the volume, and `ssim_fastmri` of each slice.
    """
    from skimage.metrics import structural_similarity

    x, r = np.abs(images).astype(np.float64), np.abs(reference).astype(np.float64)
    peak = float(r.max())
    ssim = [structural_similarity(truth, image, data_range=peak) for image, truth in zip(x, r, strict=True)]
    whole = {
        "psnr_fastmri": _psnr(r, x, peak),
        "nmse_fastmri": float(np.sum((x - r) ** 2) / np.sum(r**2)),
    }
    return whole, np.array(ssim)


def _psnr(reference: NDArray[np.float64], image: NDArray[np.float64], peak: float) -> float:
    """Return the peak signal-to-noise ratio in dB, infinite for a perfect image."""
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(reference, image, data_range=peak))
