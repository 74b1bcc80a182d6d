"""Validation slices whose images are not finite say nothing of the training, also where BART warns of them."""

from dataclasses import replace

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import ToolError
from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings
from bart_bridge.reconet.training_settings import Training
from compare.engines.base import TrainingTask
from compare.engines.create import create

NETWORK = ModlSettings(iterations=2, layers=3, filters=4)
EPOCHS = 4


@pytest.fixture
def train(toolbox, dataset_folder, tmp_path):
    """Train with some engine on four slices, and measure two whose k-space is not finite after each epoch."""
    dataset = Dataset.open(dataset_folder)
    kspace = np.array(cfl.read(dataset.split("validation").kspace))
    cfl.write(tmp_path / "kspace", np.full_like(kspace, np.nan))
    validation = replace(dataset.split("validation"), kspace=tmp_path / "kspace")
    weights.write(tmp_path / "initial", NETWORK, weights.random(NETWORK, 0))

    def run(engine, **settings):
        (tmp_path / engine).mkdir()
        training = Training(epochs=EPOCHS, **settings)
        task = TrainingTask(
            tmp_path / engine, NETWORK, training, dataset.split("train"), tmp_path / "initial", validation
        )
        return create(engine, "cpu", toolbox, 1).train(task, lambda progress: None)[1]

    return run


@pytest.mark.parametrize("batch_size", [2, 4], ids=["two updates an epoch", "one update an epoch"])
@pytest.mark.parametrize("engine", ["bart", "keras-tensorflow"])
def test_the_training_goes_on(train, engine, batch_size):
    (history,) = train(engine, algorithm="adam", batch_size=batch_size)
    assert np.isnan(history["nmse mag"][:, -1]).all()
    assert history["loss"].shape == (EPOCHS, 4 // batch_size)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize("batch_size", [2, 4], ids=["two updates an epoch", "one update an epoch"])
def test_a_training_that_diverges_is_ended_all_the_same(train, batch_size):
    with pytest.raises(ToolError, match="diverged at update") as raised:
        train("bart", algorithm="sgd", learning_rate=1e30, batch_size=batch_size)
    assert 2 <= raised.value.diverged_at_update <= EPOCHS * 4 // batch_size
