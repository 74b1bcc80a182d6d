"""Slices along dimensions 13 and 14: to `compare`, `apply` and `parity` each stands for itself, in both engines."""

import numpy as np
import pytest
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.data.slices import along_batch
from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from compare.engines.base import TrainingTask
from compare.engines.create import create
from tests.compare.conftest import TINY, bart_tf
from tests.helper import write_slices

NETWORK = VarNetSettings(iterations=2, filters=3, kernel_x=3, kernel_y=3, basis=5)
SMALL = {"size": 24, "coil_count": 2, "train": 4, "validation": 4, "test": 4, "noise": 0.02, "seed": 3}
SIMULATIONS = {
    "cartesian": Simulation(**SMALL, reference_size=6),
    "radial": Simulation(**SMALL, pattern="golden-angle", spokes=9),
}


@pytest.fixture(scope="module", params=SIMULATIONS)
def datasets(request, toolbox, tmp_path_factory):
    """The same slices along dimension 15, and along 13 and 14."""
    folder = tmp_path_factory.mktemp(request.param)
    simulate(folder / "15", SIMULATIONS[request.param], toolbox)
    for name in ("train", "validation", "test"):
        write_slices(folder / "13" / name, Dataset.open(folder / "15").split(name), (2, 2, 1))
    (folder / "13" / "dataset.yaml").write_text((folder / "15" / "dataset.yaml").read_text())
    return {name: Dataset.open(folder / name) for name in ("15", "13")}


def test_bart_computes_the_same_wherever_slices_lie(datasets, toolbox, tmp_path):
    engine = create("bart", "cpu", toolbox, 1)
    weights.write(tmp_path / "initial", NETWORK, weights.random(NETWORK, 0))
    training = Training(algorithm="ipalm", epochs=2, batch_size=3)
    written = []
    for name, dataset in datasets.items():
        folder = tmp_path / name
        folder.mkdir()
        train, validation = (dataset.split(split) for split in ("train", "validation"))
        task = TrainingTask(folder, NETWORK, training, train, tmp_path / "initial", validation)
        _, (history,) = engine.train(task, lambda progress: None)
        engine.apply(folder, NETWORK, dataset.split("test"), folder / "weights", folder / "images")
        values = [column for column_name, column in history.items() if column_name != "seconds"]
        written.append([*values, *weights.read(folder / "weights", NETWORK).values(), cfl.read(folder / "images")])
        assert not list(folder.glob("along-batch-*"))
    for ours, theirs in zip(*written, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_is_copied(datasets, tmp_path):
    split = datasets["13"].split("test")
    linked = along_batch(split, tmp_path / "linked")
    assert cfl.read_dims(linked.kspace)[13:] == (1, 1, 4)
    assert cfl.files(linked.kspace)[0].readlink() == cfl.files(split.kspace)[0].resolve()
    for name, array in linked.arrays().items():
        np.testing.assert_array_equal(array, split.arrays()[name])
    assert along_batch(datasets["15"].split("test"), tmp_path / "unused") == datasets["15"].split("test")
    assert not (tmp_path / "unused").exists()


@pytest.mark.slow
def test_parity_takes_slices_along_13(datasets, tmp_path):
    content = yaml.safe_load(TINY) | {"dataset": {"folder": str(datasets["13"].folder)}}
    del content["networks"]["modl"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    finished = bart_tf("parity", tmp_path / "config.yaml")
    assert finished.returncode == 0, finished.stdout + finished.stderr
