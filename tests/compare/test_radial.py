"""A whole comparison on radial data, and what the Toeplitz normal operator costs."""

import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from bart_bridge import baselines, cfl
from bart_bridge.dataset import Dataset
from compare import quality, results
from tests.helper import random_images
from tf_models.operators import SenseNormal

from .conftest import bart_tf

RADIAL = """
name: radial
dataset:
  simulate:
    {size: 32, coil_count: 4, train: 16, validation: 2, test: 4, noise: 0.01, pattern: golden-angle, spokes: 8, seed: 1}
networks:
  varnet:
    network: {kind: varnet, iterations: 4, filters: 6, kernel_x: 5, kernel_y: 5, basis: 11}
    training: {algorithm: adam, learning_rate: 0.02, batch_size: 2, epochs: 20}
"""


def unweighted(split, folder):
    """The same samples without weights: what CG-SENSE would rather have where noise is what limits it."""
    folder.mkdir()
    cfl.write(folder / "kspace", cfl.read(split.kspace) / cfl.read(split.pattern))
    return replace(split, kspace=folder / "kspace", pattern=None)


@pytest.mark.slow
def test_trained_networks_beat_tuned_cg_sense_in_both_engines(toolbox, tmp_path):
    (tmp_path / "radial.yaml").write_text(RADIAL)
    finished = bart_tf("compare", tmp_path / "radial.yaml", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    table, _ = results.read(tmp_path / "out")
    psnr = table[(table.metric == "psnr") & (table.phase == "apply")].groupby("engine").value.mean()
    dataset = Dataset.open(tmp_path / "out" / "dataset")

    def mean_psnr(split, regularization):
        images = baselines.cg_sense(split, toolbox, regularization)
        references = split.arrays()["reference"][:, 0]
        return np.mean([quality.measures(*pair)["psnr"] for pair in zip(images, references, strict=True)])

    validation, test = (unweighted(dataset.split(name), tmp_path / name) for name in ("validation", "test"))
    best = max(baselines.CG_SENSE_GRID, key=lambda regularization: mean_psnr(validation, regularization))
    competitors = {"weighted": psnr["cg-sense"], "unweighted": mean_psnr(test, best)}
    for engine in ("bart", "keras-tensorflow"):
        assert psnr[engine] > max(competitors.values()), (psnr.to_dict(), competitors)


@pytest.mark.slow
def test_toeplitz_costs_at_most_twice_its_transforms(record_property):
    """Of a slice of 256 x 256 pixels and 8 coils; medians of runs that alternate, so that both see the same machine."""
    normal = SenseNormal(random_images((1, 8, 256, 256, 2)), np.abs(random_images((1, 512, 512))))
    image = tf.constant(random_images((1, 256, 256, 2)))
    grid = tf.complex(*(tf.constant(random_images((1, 8, 512, 512), seed)) for seed in (0, 1)))
    functions = {
        "normal": (tf.function(lambda value: normal(value)), image),
        "transforms": (tf.function(lambda value: tf.signal.ifft2d(tf.signal.fft2d(value))), grid),
    }
    elapsed_s = {name: [] for name in functions}
    for _ in range(11):
        for name, (function, argument) in functions.items():
            start = time.perf_counter()
            function(argument)
            elapsed_s[name].append(time.perf_counter() - start)
    ratio = np.median(elapsed_s["normal"]) / np.median(elapsed_s["transforms"])
    record_property("ratio", ratio)
    assert ratio <= 2, elapsed_s
