#!/usr/bin/env bash
# torchmetrics 1.9.0: PSNR of a batch is not the mean of its PSNRs, and SSIM counts windows beyond the border.
#
# Papers report the mean over slices, so one expects that from a batch of slices. PeakSignalNoiseRatio pools the
# squared errors of all slices first: one slice of 40 and one of 20 dB give 23 dB, not 30 (`reduction` does not change
# that, only `dim` does). With the usual Gaussian window of 11 pixels, one expects the SSIM of scikit-image. It is the
# mean over all pixels, with windows at the border that see mirrored pixels, while scikit-image leaves out 5 pixels
# all around (as BART and fastMRI do 3, with their windows of 7): 0.268 against 0.313 for this image of 100 x 100
# pixels. Values of two programs cannot be compared.
#
# PyTorch comes from where pip is configured to look. A CPU build is enough, and much smaller than Linux's default.
#
# The script exits with 0 if both still hold, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torchmetrics==1.9.0 torch==2.13.0 scikit-image==0.26.0 numpy==2.4.6

"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import torch
import torchmetrics
from skimage.data import shepp_logan_phantom
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

phantom = shepp_logan_phantom()[::4, ::4]
slices = np.stack([phantom, phantom])
images = slices + np.array([0.01, 0.1])[:, None, None]
psnr = torchmetrics.image.PeakSignalNoiseRatio(data_range=1.0)
pooled = float(psnr(torch.tensor(images), torch.tensor(slices)))
mean = np.mean([peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(slices, images)])
print(f"torchmetrics {torchmetrics.__version__}: PSNR of the batch {pooled:.2f}, mean of the slices {mean:.2f}")

noisy = np.abs(phantom + 0.1 * np.random.default_rng(0).normal(size=phantom.shape))
ssim = torchmetrics.image.StructuralSimilarityIndexMeasure(data_range=1.0)
found = float(ssim(torch.tensor(noisy)[None, None], torch.tensor(phantom)[None, None]))
gaussian = {"data_range": 1, "gaussian_weights": True, "use_sample_covariance": False, "full": True}
without_border, everywhere = structural_similarity(phantom, noisy, **gaussian)
print(f"SSIM {found:.4f}; scikit-image {without_border:.4f}, mean over all of its pixels {everywhere.mean():.4f}")
sys.exit(0 if abs(pooled - 22.97) < 0.01 and abs(mean - 30) < 0.01 and without_border - found > 0.02 else 1)
PYTHON
