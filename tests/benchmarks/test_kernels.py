"""Benchmarks of the parts: `make bench`. Each has its memory in a process of its own; see `tests.benchmarks.parts`."""

import statistics
import sys

import numpy as np
import pytest

from bart_bridge.files import cfl
from bart_bridge.tools import process
from tests.benchmarks.measure import BART_ENVIRONMENT, ENVIRONMENT, ROOT
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.parts import BATCH, CG_ITERATIONS, COILS, PARTS, SIZE, numbers, sense

# Steps of `pics` in the two commands whose difference is measured; with many more, numbers get too small to be normal.
FEW, MANY = 20, 120


@pytest.mark.usefixtures("tf")
@pytest.mark.parametrize("name", PARTS)
def test_part(benchmark, name, toolbox, tmp_path):
    """No command of BART does one of these alone, but conjugate gradients."""
    finished = process.run([sys.executable, "-m", "tests.benchmarks.parts", name], folder=ROOT, environment=ENVIRONMENT)
    benchmark.extra_info["first_call_peak_bytes"] = int(finished.stdout[-1])
    function, arguments = PARTS[name]()
    function(*arguments)
    benchmark(function, *arguments)
    if name == "conjugate gradients":
        bart_s = seconds_of_a_step_of_pics(toolbox, tmp_path)
        ours_s = benchmark.stats.stats.median / CG_ITERATIONS / BATCH
        benchmark.extra_info |= {"bart_s_per_step_and_slice": bart_s, "times_as_fast_as_bart": bart_s / ours_s}


def seconds_of_a_step_of_pics(toolbox, folder):
    """One step for one slice, from the difference of two commands: both have the same set-up."""
    image, coils, psf = (array.numpy()[0] for array in sense())
    coils = np.moveaxis(coils[..., 0] + 1j * coils[..., 1], 0, -1)[:, :, None]
    coil_images = coils * (image[..., 0] + 1j * image[..., 1])[:, :, None, None]
    kspace = np.fft.fftshift(np.fft.fft2(coil_images, axes=(0, 1)), axes=(0, 1)) * psf[:, :, None, None]
    for name, array in {"kspace": kspace, "coils": coils, "pattern": psf}.items():
        cfl.write(folder / name, array)

    def seconds(iterations):
        options = ["-S", "-l2", "-r0.05", "-w1", f"-i{iterations}", "-p", "pattern"]
        argv = toolbox.argv("pics", *options, "kspace", "coils", "image")
        finished = process.run(argv, folder=folder, environment=BART_ENVIRONMENT)
        assert finished.returncode == 0, finished.stderr
        return finished.elapsed_s

    return statistics.median(seconds(MANY) - seconds(FEW) for _ in range(5)) / (MANY - FEW)


def test_reading_cfl(benchmark, tmp_path):
    """From the page cache, 10 MB; BART has no command that only reads."""
    cfl.write(tmp_path / "array", numbers(SIZE, SIZE, COILS, 4 * BATCH) + 0j)
    peak = PeakMemory()
    np.array(cfl.read(tmp_path / "array"))
    benchmark.extra_info["first_call_peak_bytes"] = peak.above_baseline_bytes()
    benchmark(lambda: np.array(cfl.read(tmp_path / "array")))
