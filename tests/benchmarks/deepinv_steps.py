"""deepinv's MoDL of the size of ours on an NVIDIA GPU: what somebody on PyTorch would take instead.

    python -m tests.benchmarks.deepinv_steps OUT.json

Needs the package deepinv (0.5.0 is what the table shows) and PyTorch, installed by hand. 256 x 232 pixels, 12 coils,
batches of 10, 10 iterations with shared weights, 5 layers of 64 channels without batch norm, in single precision with
and without TF32. Its data consistency solves with LSQR, up to 50 steps; ours takes 10 steps of conjugate gradients.
The loss of this random problem may diverge: only time and memory are shown.
"""

import json
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

SIZE_Y, SIZE_X, COILS, BATCH, ITERATIONS = 256, 232, 12, 10, 10
REPEATS = 9


def main():
    import torch

    results = {"deepinv": metadata.version("deepinv"), "torch": torch.__version__, "device": device_name(torch)}
    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        results["tf32" if tf32 else "single"] = measure(torch)
    Path(sys.argv[1]).write_text(json.dumps(results, indent=1))
    print(json.dumps(results))


def device_name(torch):
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def measure(torch):
    import deepinv

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    mask = (torch.rand(BATCH, 1, SIZE_Y, SIZE_X, device=device) < 0.25).float().expand(-1, 2, -1, -1)
    coils = torch.randn(BATCH, COILS, SIZE_Y, SIZE_X, dtype=torch.complex64, device=device) / COILS**0.5
    physics = deepinv.physics.MultiCoilMRI(mask=mask, coil_maps=coils, img_size=(2, SIZE_Y, SIZE_X), device=device)
    reference = torch.randn(BATCH, 2, SIZE_Y, SIZE_X, device=device)
    denoiser = deepinv.models.DnCNN(2, 2, depth=5, nf=64, pretrained=None, device=device)
    model = deepinv.models.MoDL(denoiser=denoiser, num_iter=ITERATIONS).to(device)
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    with torch.no_grad():
        measured = physics.A(reference)

    def step():
        optimizer.zero_grad()
        loss = (model(measured, physics) - reference).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        with torch.no_grad():
            return model(measured, physics).cpu()

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step_s = median_s(step)
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else None
    return {"step_s": step_s, "allocator_peak_gib": peak, "inference_s": {str(BATCH): median_s(infer)}}


def median_s(work):
    """Return the median time of work that ends on the host, after two runs to warm up."""
    seconds = []
    for _ in range(REPEATS + 2):
        start_s = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start_s)
    return statistics.median(seconds[2:])


if __name__ == "__main__":
    main()
