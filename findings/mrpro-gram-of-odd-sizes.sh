#!/usr/bin/env bash
# mrpro 0.261015: for images of odd size, the non-Cartesian `gram` is not the adjoint after the forward transform.
#
# `operator.gram` computes A^H A by a convolution, and iterative reconstructions use it. One expects what
# `operator.adjoint` of `operator` gives, to the accuracy of the NUFFT (1e-6). This holds for 32 x 32 pixels. For 33 x
# 33 or 32 x 33 pixels the relative difference is about 1: no error, no warning, and an image that does not fit its
# data. Forward and adjoint are right for all sizes. (The phase that moves the kernel's centre is that of half the
# size, which is between two pixels for odd sizes.)
#
# PyTorch comes from where pip is configured to look. A CPU build is enough, and much smaller than Linux's default.
# mrpro imports torchvision for its downloaded phantoms only. An empty module stands in, because torchvision would need
# the CUDA build of PyTorch.
#
# The script exits with 0 if gram is still right for 32 and wrong for 33 pixels, and with 1 otherwise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check \
    torch==2.13.0 numpy==2.4.6 pytorch-finufft==0.1.0 finufft==2.5.1 torchnd==0.3.0 ismrmrd==1.15.0 nibabel==5.4.2 \
    einops==0.8.2 pydicom==3.0.2 pypulseq==1.5.0.post1 ptwt==0.1.9 requests==2.34.2 platformdirs==4.14.8 tqdm==4.70.1
"$folder/venv/bin/python" -m pip install --quiet --no-compile --disable-pip-version-check --no-deps mrpro==0.261015

"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import types

for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
    sys.modules[name] = types.ModuleType(name)

import torch
from mrpro.data import KTrajectory, SpatialDimension
from mrpro.operators import FourierOp

torch.manual_seed(0)
zero = torch.zeros(1, 1, 1, 1, 1)


def difference(*size: int) -> float:
    ky, kx = ((torch.rand(1, 1, 1, 1, 400) - 0.5) * pixels for pixels in size)
    matrix = SpatialDimension(1, *size)
    operator = FourierOp(recon_matrix=matrix, encoding_matrix=matrix, traj=KTrajectory(kz=zero, ky=ky, kx=kx))
    image = torch.randn(1, 1, 1, *size, dtype=torch.complex64)
    (by_gram,), (expected,) = operator.gram(image), operator.adjoint(*operator(image))
    return float(torch.linalg.norm(by_gram - expected) / torch.linalg.norm(expected))


differences = {size: difference(*size) for size in ((32, 32), (32, 33), (33, 33))}
for size, value in differences.items():
    print(f"mrpro, {size[0]} x {size[1]} pixels: relative difference of gram from adjoint(forward) {value:.1e}")
sys.exit(0 if differences[32, 32] < 1e-4 and min(differences[32, 33], differences[33, 33]) > 0.3 else 1)
PYTHON
