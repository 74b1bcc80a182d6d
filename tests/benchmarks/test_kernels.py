"""Benchmarks of the parts: `make bench`. Sizes are those of the default networks at 64 x 64, 8 coils, batch 10."""

import statistics

import numpy as np
import pytest

from bart_bridge import cfl, process
from bart_bridge.settings import ModlSettings, VarNetSettings
from tests.benchmarks.measure import ENVIRONMENT
from tests.benchmarks.memory import PeakMemory

SIZE, COILS, BATCH = 64, 8, 10
BLOCKS = {"varnet": VarNetSettings(iterations=1), "modl": ModlSettings(iterations=1)}
FEW, MANY = 20, 120


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32) / 4


def memory_of(function):
    """Peak memory of one call above what was resident before, once everything is compiled."""
    function()
    peak = PeakMemory()
    function()
    return peak.above_baseline_bytes()


@pytest.fixture
def sense(tf):
    image, coils = numbers(BATCH, SIZE, SIZE, 2), numbers(BATCH, COILS, SIZE, SIZE, 2)
    psf = (numbers(BATCH, SIZE, SIZE) > 0.15).astype(np.float32)
    return tuple(map(tf.constant, (image, coils, psf)))


def run(benchmark, function, *arguments):
    benchmark.extra_info["peak_bytes"] = memory_of(lambda: function(*arguments))
    benchmark(function, *arguments)


def test_normal_operator(benchmark, tf, sense):
    from tf_models.operators import SenseNormal

    run(benchmark, tf.function(lambda image, coils, psf: SenseNormal(coils, psf)(image)), *sense)


def test_conjugate_gradients(benchmark, tf, sense, toolbox, tmp_path):
    """BART's are those of `pics`: one slice, the difference of two commands, for the set-up."""
    from tf_models.operators import SenseNormal, conjugate_gradient

    steps = 10

    @tf.function
    def solve(image, coils, psf):
        normal = SenseNormal(coils, psf)
        return conjugate_gradient(lambda x: normal(x) + 0.05 * x, image, steps)

    run(benchmark, solve, *sense)
    image, coils, psf = (array.numpy()[0] for array in sense)
    sensitivities = np.moveaxis(coils[..., 0] + 1j * coils[..., 1], 0, -1)[:, :, None]
    kspace = np.fft.fftshift(np.fft.fft2(sensitivities * (image[..., 0] + 1j * image[..., 1])[:, :, None, None], axes=(0, 1)))
    for name, array in {"kspace": kspace * psf[:, :, None, None], "coils": sensitivities, "pattern": psf}.items():
        cfl.write(tmp_path / name, array)

    def seconds(iterations):
        argv = toolbox.argv("pics", "-S", "-l2", "-r0.05", "-w1", f"-i{iterations}", "-p", "pattern", "kspace", "coils", "x")
        finished = process.run(argv, folder=tmp_path, environment=ENVIRONMENT)
        assert finished.returncode == 0, finished.stderr
        return finished.elapsed_s

    differences = [seconds(MANY) - seconds(FEW) for _ in range(5)]
    bart_s = statistics.median(differences) / (MANY - FEW)
    ours_s = benchmark.stats.stats.median / steps / BATCH
    benchmark.extra_info |= {"bart_s_per_step_and_slice": bart_s, "times_as_fast_as_bart": bart_s / ours_s}


@pytest.mark.parametrize("direction", ["forwards", "gradient"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_regularizer_block(benchmark, tf, kind, direction):
    """One unrolled iteration's regularizer alone; no command of BART does that."""
    from bart_bridge import weights
    from tf_models.training import build

    model = build(BLOCKS[kind], weights.random(BLOCKS[kind], 0))
    image = tf.constant(numbers(BATCH, SIZE, SIZE, 2))

    @tf.function(jit_compile=False)
    def forwards(image):
        return model.regularizer(image, iteration=0, training=True)

    @tf.function(jit_compile=False)
    def gradient(image):
        variables = model.regularizer.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.regularizer(image, iteration=0, training=True) ** 2)
        return tape.gradient(loss, variables)

    run(benchmark, {"forwards": forwards, "gradient": gradient}[direction], image)


def test_reading_cfl(benchmark, tmp_path):
    """From the page cache, 10 MB; BART has no command that only reads."""
    cfl.write(tmp_path / "array", numbers(SIZE, SIZE, COILS, 4 * BATCH) + 0j)
    run(benchmark, lambda: np.array(cfl.read(tmp_path / "array")))
