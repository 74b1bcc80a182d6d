"""What version 0.2.0 wrote is read by this one: models, results, checkpoints, pickled jobs."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from compare.report.tables import difference
from compare.running import prepared_data
from compare.running.submit import Work
from compare.settings import experiment
from compare.study import rows
from compare.study import settings as study_settings
from tests.compare.conftest import bart_tf
from tests.helper import relative_difference
from tf_models.files import model_files
from tf_models.programs.worker import TrainJob, checkpoint_settings
from tf_models.training import checkpoint
from tf_models.training.batches import TrainingData
from tf_models.training.fit import Execution, train
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
    page = (folder / "index.html").read_text()
    assert "cg-sense, bart: BART 0.8.00, BLAS n/a: not in the results, built with n/a: not in the results" in page


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
    model, histories = train(VARNET, TRAINING, TrainingData(split), initial, Execution(checkpoints=kept))
    # Another processor or another TensorFlow rounds otherwise.
    for name, values in model_files.load(folder / "finished.keras").named_weights().items():
        np.testing.assert_allclose(model.named_weights()[name], values, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(histories[0]["loss"], np.load(folder / "finished_history.npz")["loss"], rtol=1e-4)


FLAT = {
    "adam_epsilon": 1e-6,
    "adam_beta_1": 0.5,
    "adam_beta_2": 0.75,
    "adam_reset_epochs": 3,
    "admm_rho": 2.0,
    "admm_relaxation": 1.5,
    "admm_dual_interval": 4,
    "admm_balancing": True,
}
NESTED = {
    "adam": {"epsilon": 1e-6, "beta_1": 0.5, "beta_2": 0.75, "reset_epochs": 3},
    "admm": {"rho": 2.0, "relaxation": 1.5, "dual_interval": 4, "balancing": True},
}


def test_flat_keys_of_a_training_are_those_of_its_algorithms():
    training = Training(**NESTED)
    assert Training(**FLAT) == training
    assert (
        Training(adam={"epsilon": 1e-6, "beta_1": 0.5, "beta_2": 0.75}, adam_reset_epochs=3, admm=NESTED["admm"])
        == training
    )
    assert Training.model_validate_json(json.dumps(FLAT), strict=True) == training
    assert {name: training.flat()[name] for name in FLAT} == FLAT
    with pytest.raises(ValidationError, match=r"admm\.rho and admm_rho are the same setting"):
        Training(**FLAT, admm={"rho": 2.0})


def test_a_pickled_training_with_flat_keys_is_that_of_the_nested_ones():
    defaults = Training()
    former = Training.__new__(Training)
    flat = {name: value for name, value in vars(defaults).items() if name not in NESTED} | FLAT
    state = {"__dict__": flat, "__pydantic_fields_set__": set(FLAT)}
    former.__setstate__(state | {"__pydantic_extra__": None, "__pydantic_private__": None})
    assert former == pickle.loads(pickle.dumps(former)) == Training(**NESTED)
    assert former.model_fields_set == set(NESTED)


def test_an_experiment_with_flat_keys_is_the_one_with_nested_keys(tmp_path):
    """So a folder of version 0.2.0 is continued, and nothing in it is computed again."""
    content = (DATA / "experiment" / "experiment.yaml").read_text()
    assert "adam_beta_1" in content
    former = experiment.load_kept(DATA / "experiment" / "experiment.yaml")
    shutil.copy(DATA / "experiment" / "experiment.yaml", tmp_path)
    written = yaml.safe_dump(former.model_dump(mode="json"), sort_keys=False)
    assert "adam_beta_1" not in written
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "experiment.yaml").write_text(written)
    present = experiment.load_kept(tmp_path / "new" / "experiment.yaml")
    assert prepared_data.changed_settings(present, tmp_path) == ""
    assert difference.read_settings(tmp_path) == difference.read_settings(tmp_path / "new")
    flat = yaml.safe_load(content)["networks"]["varnet"]["training"]
    assert present.networks["varnet"].training.flat() == flat


def test_a_study_with_flat_keys_is_the_one_with_nested_keys():
    present = study_settings.load_kept(DATA / "study" / "study.yaml")
    shared = present.model_copy(update={"training": {**present.training, "admm_balancing": True}})
    former = shared.trained("admm", {"admm_rho": 0.1})
    assert former == present.trained("admm", {"admm": {"rho": 0.1, "balancing": True}})
    assert former == shared.trained("admm", {"admm": {"rho": 0.1}})
    candidates = ({"admm_rho": 0.1}, {"admm": {"rho": 0.1}})
    studies = [present.model_dump() | {"optimizers": {"admm": [candidate]}} for candidate in candidates]
    assert study_settings.Study.model_validate(studies[0]) == study_settings.Study.model_validate(studies[1])


def test_a_checkpoint_belongs_to_the_same_settings(tmp_path):
    """Otherwise the training would begin again."""
    split = Dataset.open(DATA / "checkpoint" / "dataset").split("train")
    job = TrainJob(
        network=VARNET, training=TRAINING, split=split, initial=tmp_path / "a", output=tmp_path / "b", histories=[]
    )
    assert checkpoint_settings(job) == json.loads((DATA / "checkpoint" / "settings.json").read_text())
