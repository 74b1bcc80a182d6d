"""What version 0.2.0 wrote is read by this one: models, results, checkpoints, pickled jobs."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from compare.running.submit import Work
from compare.settings import experiment
from compare.study import rows
from compare.study import settings as study_settings
from tests.compare.conftest import bart_tf
from tests.helper import relative_difference
from tf_models.files import model_files
from tf_models.programs.worker import TrainJob, checkpoint_settings
from tf_models.training import checkpoint
from tf_models.training.fit import train_slices
from tf_models.training.network_inputs import network_inputs

DATA = Path(__file__).parent / "data" / "version-0.2.0"
VARNET = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=3, basis=5)
TRAINING = Training(algorithm="adam", learning_rate=0.01, batch_size=2, epochs=2, adam_beta_1=0.8)


@pytest.mark.parametrize("name", ["varnet", "modl"])
def test_a_model_computes_what_it_computed(name):
    slices = network_inputs(Dataset.open(DATA / "checkpoint" / "dataset").split("train"), slice(0, 2))
    images = model_files.load(DATA / f"{name}.keras").predict(slices, verbose=0)
    assert relative_difference(images, np.load(DATA / f"{name}-images.npy")) < 1e-5


def test_a_report_is_made_of_an_experiment(tmp_path):
    folder = tmp_path / "experiment"
    shutil.copytree(DATA / "experiment", folder)
    finished = bart_tf("report", folder)
    assert finished.returncode == 0, finished.stderr
    assert "0.8.00" in (folder / "index.html").read_text()


def test_a_study_is_read():
    study, choices, table, curves = rows.read(DATA / "study")
    assert study.optimizers["adam"] == [{"learning_rate": 0.01}, {"learning_rate": 0.001}]
    assert choices["choices"]["varnet-adam"]["chosen"] in study.optimizers["adam"]
    assert set(table.optimizer) == set(curves.optimizer) == {"sgd", "adam"}


def test_a_pickled_study_and_a_pickled_job_are_those_of_their_files():
    study = pickle.loads((DATA / "study.pickle").read_bytes())
    assert study == study_settings.load_kept(DATA / "study" / "study.yaml")
    job = pickle.loads((DATA / "job.pickle").read_bytes())
    assert type(job) is Work
    assert job.experiment == experiment.load_kept(DATA / "experiment" / "experiment.yaml")
    assert job.parts == [("varnet", "keras-tensorflow")]


def test_a_stopped_training_goes_on(tmp_path):
    folder = DATA / "checkpoint"
    shutil.copy(folder / "training.npz", tmp_path)
    kept = checkpoint.Checkpoints(tmp_path, str(np.load(folder / "training.npz")["fingerprint"]))
    assert kept.state
    assert kept.state.updates == 1
    split = Dataset.open(folder / "dataset").split("train")
    initial = weights.read(folder / "initial", VARNET)
    model, histories = train_slices(VARNET, TRAINING, split, initial, lambda progress: None, checkpoints=kept)
    # Another processor or another TensorFlow rounds otherwise.
    for name, values in model_files.load(folder / "finished.keras").named_weights().items():
        np.testing.assert_allclose(model.named_weights()[name], values, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(histories[0]["loss"], np.load(folder / "finished_history.npz")["loss"], rtol=1e-4)


def test_a_checkpoint_belongs_to_the_same_settings(tmp_path):
    """Otherwise the training would begin again."""
    split = Dataset.open(DATA / "checkpoint" / "dataset").split("train")
    job = TrainJob(
        network=VARNET, training=TRAINING, split=split, initial=tmp_path / "a", output=tmp_path / "b", histories=[]
    )
    assert checkpoint_settings(job) == json.loads((DATA / "checkpoint" / "settings.json").read_text())
