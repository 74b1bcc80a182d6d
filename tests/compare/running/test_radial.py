"""A whole comparison on radial data, and what the Toeplitz normal operator costs."""

import itertools
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from bart_bridge import baselines
from bart_bridge.data.dataset import Dataset
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.data.slices import first_slice
from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.network_settings import VarNetSettings
from compare.console import Reporter
from compare.measuring import quality
from compare.results import table as results
from compare.running.prepared_data import open_dataset
from compare.settings.experiment import load
from tests.compare.cli.test_cli import one_line
from tests.compare.conftest import bart_tf, bart_tf_in_process
from tests.helper import random_images, relative_difference
from tf_models.operators.sense import SenseNormal

RADIAL = """
name: radial
dataset:
  simulate:
    {size: 32, coil_count: 4, train: 16, validation: 2, test: 4, noise: 0.01, pattern: golden-angle, spokes: 8, seed: 1}
networks:
  varnet:
    network: {kind: varnet, iterations: 4, filters: 6, kernel_x: 5, kernel_y: 5, basis: 11}
    training: {algorithm: adam, learning_rate: 0.02, batch_size: 2, epochs: 20}
  modl:
    network: {kind: modl, iterations: 3, layers: 4, filters: 8}
    training: {algorithm: adam, learning_rate: 0.003, batch_size: 2, epochs: 20}
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
    table = results.read_results(tmp_path / "out")
    psnr = table[(table.metric == "psnr") & (table.phase == "apply")].groupby(["network", "engine"]).value.mean()
    dataset = Dataset.open(tmp_path / "out" / "dataset")

    def mean_psnr(split, regularization):
        images = baselines.cg_sense(split, toolbox, regularization)[:, 0]
        references = split.arrays()["reference"][:, 0]
        return np.mean([quality.measures(*pair)["psnr"] for pair in zip(images, references, strict=True)])

    validation, test = (unweighted(dataset.split(name), tmp_path / name) for name in ("validation", "test"))
    best = max(baselines.CG_SENSE_GRID, key=lambda regularization: mean_psnr(validation, regularization))
    competitors = {"weighted": psnr["", "cg-sense"], "unweighted": mean_psnr(test, best)}
    for trained in itertools.product(("varnet", "modl"), ("bart", "keras-tensorflow")):
        assert psnr[trained] > max(competitors.values()), (psnr.to_dict(), competitors)


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
    record_property("ratio", float(ratio))
    assert ratio <= 2, elapsed_s


def test_one_slice_of_radial_data_is_what_bart_reconstructs_of_all(toolbox, tmp_path):
    """What inference is timed on: files that `reconet --trajectory` takes, with the image of that slice."""
    settings = {"size": 16, "coil_count": 2, "train": 2, "validation": 1, "test": 2, "spokes": 9}
    simulate(tmp_path / "data", Simulation(pattern="golden-angle", **settings), toolbox)
    split, network = Dataset.open(tmp_path / "data").split("test"), VarNetSettings(iterations=1, filters=2, basis=5)
    weights.write(tmp_path / "weights", network, weights.random(network, 0))
    images = []
    for name, slices in {"all": split, "one": first_slice(split, tmp_path)}.items():
        slices.validate()
        toolbox.run(*commands.apply_argv(toolbox, network, slices, tmp_path / "weights", tmp_path / name)[1:])
        images.append(to_batch_coil_yx(cfl.read(tmp_path / name))[0, 0])
    assert relative_difference(images[1], images[0]) < 1e-5


@pytest.fixture(scope="module")
def in_other_units(toolbox, tmp_path_factory):
    """Radial data, and their trajectory in cycles and in radians per pixel."""
    folder = tmp_path_factory.mktemp("units")
    settings = {"size": 16, "coil_count": 2, "train": 2, "validation": 1, "test": 1, "spokes": 9}
    simulate(folder / "data", Simulation(pattern="radial", **settings), toolbox)
    for name, factor in (("cycles", 1 / 16), ("radians", 2 * np.pi / 16)):
        cfl.write(folder / name, factor * cfl.read(folder / "data/test/trajectory"))
    return folder


def test_apply_refuses_or_doubts_a_trajectory_in_another_unit(in_other_units, tmp_path):
    """The run is none: it is not asked for before the trajectory is known to be right."""
    files = [f"--{name}={in_other_units / 'data/test' / name}" for name in ("kspace", "coils")]
    finished = {}
    for name in ("cycles", "radians"):
        trajectory = f"--trajectory={in_other_units / name}"
        finished[name] = bart_tf_in_process("apply", tmp_path / "no-run", *files, trajectory, "-o", tmp_path / "out")
    assert "in slice 0; it would fit in cycles per pixel: multiply kx by 16" in one_line(finished["cycles"], 2)
    assert "no-run: not the folder of a trained run" in one_line(finished["radians"], 2)
    (warning,) = [line for line in finished["radians"].stderr.splitlines() if line.startswith("warning: ")]
    assert "it would fit in radians per pixel: multiply kx by 16/(2 pi)" in warning


def test_reconet_refuses_or_doubts_a_trajectory_in_another_unit(in_other_units, tmp_path):
    network = VarNetSettings(iterations=1, filters=2, kernel_x=3, kernel_y=3, basis=5)
    weights.write(tmp_path / "weights", network, weights.random(network, 0))
    split = in_other_units / "data/test"
    options = ["--network=varnet", "-I1", "--varnet-block=F=2,X=3,Y=3,W=5", "--apply"]
    files = [split / "kspace", split / "coils", tmp_path / "weights", tmp_path / "image"]
    finished = bart_tf_in_process("reconet", *options, "--trajectory", in_other_units / "cycles", *files)
    assert "it would fit in cycles per pixel" in one_line(finished, 2)
    finished = bart_tf_in_process("reconet", *options, "--trajectory", in_other_units / "radians", *files)
    assert finished.returncode == 0, finished.stderr
    assert "warning: " in finished.stderr
    assert "it would fit in radians per pixel" in finished.stderr


def test_an_experiment_doubts_a_trajectory_in_another_unit(in_other_units, toolbox, tmp_path, capsys):
    shutil.copytree(in_other_units / "data", tmp_path / "data")
    cfl.write(tmp_path / "data/test/trajectory", cfl.read(in_other_units / "radians"))
    settings = f"dataset: {{folder: {tmp_path / 'data'}}}\n"
    (tmp_path / "units.yaml").write_text(f"name: units\n{settings}")
    open_dataset(load(tmp_path / "units.yaml"), tmp_path / "out", toolbox, Reporter())
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert "data/test/trajectory: |kx| and |ky| reach" in line


def test_apply_refuses_coils_in_another_order(tmp_path):
    for name in ("kspace", "coils"):
        cfl.write(tmp_path / name, np.ones((2, 16, 1, 12)))
    files = ["--kspace", tmp_path / "kspace", "--coils", tmp_path / "coils"]
    line = one_line(bart_tf_in_process("apply", tmp_path / "no-run", *files, "-o", tmp_path / "out"), 2)
    assert "coils: read as (x 2, y 16, coil 12), there are more coils than pixels" in line
