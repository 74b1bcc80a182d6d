"""Keras trainings that diverge end at that update, and say which it was."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.command_line import parse
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training, stages
from tf_models.programs import reconet
from tf_models.programs.worker import TrainJob
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train
from tf_models.training.history import Hooks, TrainingDivergedError

VARNET = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=3, basis=5)
MODL = ModlSettings(iterations=2, layers=3, filters=2, max_cg_iterations=3)
DIVERGING = {"algorithm": "sgd", "learning_rate": 1e20, "batch_size": 2, "epochs": 100_000}


@pytest.fixture
def split(dataset_folder):
    return Dataset.open(dataset_folder).split("train")


def run(network, training, split, **hooks):
    first = stages(network, training)[0][0]
    return train(network, training, TrainingData(split), weights.initial(first, 0), hooks=Hooks(**hooks))


@pytest.mark.parametrize("network", [VARNET, MODL], ids=["varnet", "modl"])
def test_a_training_that_diverges_ends(network, split):
    shown = []
    with pytest.raises(TrainingDivergedError, match=r"diverged at update [23]: the loss is (nan|inf)") as raised:
        run(network, Training(**DIVERGING), split, on_batch=shown.append)
    update = raised.value.diverged_at_update
    assert update == len(shown)
    # Whole epochs of two batches; what was not reached is NaN.
    finite = np.isfinite(raised.value.history["loss"])
    assert finite.shape == ((update + 1) // 2, 2)
    assert finite.ravel().tolist() == [number < update - 1 for number in range(finite.size)]


def test_updates_are_counted_over_all_stages(split):
    settings = Training(**DIVERGING | {"learning_rate": 1e-3, "epochs": 1, "pretraining_epochs": 1})
    lost = np.nan

    def spoil(epoch, model):
        # The second stage is built anew.
        if model.network.iterations > 1:
            model.data_consistency.lambdas.assign([lost])

    with pytest.raises(TrainingDivergedError, match="diverged at update 3: the loss is nan"):
        run(MODL, settings, split, on_epoch=spoil)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_weights_that_only_the_last_update_spoilt(split):
    """The loss of an update is that before it."""
    settings = Training(**DIVERGING | {"batch_size": 4, "epochs": 1, "learning_rate": 1e45})
    with pytest.raises(TrainingDivergedError, match="diverged at update 1: the weights are not finite after it"):
        run(VARNET, settings, split)


# Reads batches as from a slow disk: the next one is still read when the training ends.
SLOW_DISK = """
import time
from tf_models.programs import worker
from tf_models.training.batches import SliceBatches
at_once = SliceBatches.__getitem__
def slowly(batches, index):
    time.sleep(0.5)
    return at_once(batches, index)
SliceBatches.__getitem__ = slowly
worker.run()
"""


@pytest.mark.parametrize("program", [["-m", "tf_models.programs.worker"], ["-c", SLOW_DISK]], ids=["", "slow disk"])
def test_the_child_process_says_where_and_ends(program, split, tmp_path):
    weights.write(tmp_path / "initial", VARNET, weights.initial(VARNET, 0))
    job = TrainJob(
        network=VARNET,
        training=Training(**DIVERGING | {"batch_size": 1}),  # the epoch goes on after the second update
        split=split,
        initial=tmp_path / "initial",
        output=tmp_path / "weights.keras",
        histories=[tmp_path / "history.npz"],
        report=tmp_path / "report.json",
        checkpoint=tmp_path / "checkpoint",
    )
    (tmp_path / "job.json").write_text(job.model_dump_json())
    finished = subprocess.run(
        [sys.executable, *program, tmp_path / "job.json"],
        env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert finished.returncode == 1
    assert "diverged at update 2: the loss is" in finished.stderr
    assert json.loads((tmp_path / "report.json").read_text())["diverged_at_update"] == 2
    assert not job.output.exists()


def test_the_drop_in_keeps_weights_and_writes_the_history(dataset_folder, tmp_path, monkeypatch):
    """BART would go on to the end and overwrite the weights with NaN."""
    monkeypatch.chdir(tmp_path)
    folder = dataset_folder / "train"
    options = ["--train", "--network=varnet", "-I2", "--varnet-block=F=2,X=3,Y=3,W=5", "-n", "-b2"]
    options += ["-Tsgd,r=1e20,e=7,export-history=h,dump-mod=1", f"--pattern={folder / 'pattern'}"]
    command = parse([*options, str(folder / "kspace"), str(folder / "coils"), "w", str(folder / "reference")])
    weights.write(tmp_path / "w", command.network, weights.initial(command.network, 3))
    before = (tmp_path / "w.cfl").read_bytes()
    with pytest.raises(TrainingDivergedError, match="diverged at update 2"):
        reconet.run(command, lambda progress: None)
    assert (tmp_path / "w.cfl").read_bytes() == before
    assert cfl.exists(tmp_path / "w_0")
    acquired, values = np.moveaxis(cfl.read(tmp_path / "h").real, 2, 0)
    assert acquired.shape == (7, 2, 4)
    # Both updates were made, the loss of the second is not finite; nothing after them.
    assert acquired[0].all()
    assert not acquired[1:].any()
    assert np.isfinite(values[0, :, 1]).tolist() == [True, False]
