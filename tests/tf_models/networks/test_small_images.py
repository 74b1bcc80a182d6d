"""VarNet on images that its filters reach beyond: the smallest that can be mirrored, and those that cannot."""

import pytest
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tests.compare.conftest import bart_tf_in_process
from tests.helper import random_images, relative_difference
from tests.tf_models.against_bart import images_of, images_of_bart
from tests.tf_models.networks.test_networks import TOLERANCE
from tf_models.files import savedmodel
from tf_models.kernels import padding
from tf_models.networks.build import build

# The images of `dataset_folder` have 24 x 24 pixels.
FITS = VarNetSettings(iterations=1, filters=2, kernel_x=25, kernel_y=3, basis=5)
TOO_LARGE = FITS.model_copy(update={"kernel_x": 26})
MESSAGE = "filters of 26 x 3 pixels need images of at least 25 x 2, found 24 x 24"


def strong(network):
    """Weights under which the regularizer changes the image: at the usual ones it hardly matters."""
    start = weights.random(network, 0)
    return start | {"rbf": 100 * start["rbf"]}


def test_the_smallest_images_are_those_of_bart(dataset_folder, toolbox, tmp_path):
    split = Dataset.open(dataset_folder).split("test")
    expected = images_of_bart(FITS, strong(FITS), split, toolbox, tmp_path)
    found, without = (images_of(FITS, values, split) for values in (strong(FITS), weights.random(FITS, 0)))
    assert relative_difference(found, expected) < TOLERANCE["varnet"]
    assert relative_difference(without, expected) > 0.01


def test_bart_is_not_asked(dataset_folder, toolbox, tmp_path):
    split, files = Dataset.open(dataset_folder).split("train"), [tmp_path / "weights", tmp_path / "images"]
    with pytest.raises(InputError, match=MESSAGE):
        commands.apply_argv(toolbox, TOO_LARGE, split, *files)
    training_files = commands.TrainingFiles(split, files[0], tmp_path / "initial", tmp_path / "history")
    with pytest.raises(InputError, match=MESSAGE):
        commands.train_argv(toolbox, TOO_LARGE, Training(), 1, training_files)


def test_commands_refuse_in_one_line(dataset_folder, tmp_path):
    experiment = {
        "name": "small",
        "dataset": {"folder": str(dataset_folder)},
        "networks": {"vn": {"network": TOO_LARGE.model_dump(), "training": {"epochs": 1, "batch_size": 2}}},
        "engines": ["keras-tensorflow"],
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(experiment))
    run = tmp_path / "run"
    run.mkdir()
    content = {"engine": "keras-tensorflow", "device": "cpu", "network": TOO_LARGE.model_dump()}
    (run / "run.yaml").write_text(yaml.safe_dump(content))
    test = dataset_folder / "test"
    network = ["--network=varnet", "--iterations=1", "--varnet-block=F=2,X=26,Y=3,W=5"]
    files = [f"--pattern={test / 'pattern'}", test / "kspace", test / "coils", tmp_path / "weights", tmp_path / "out"]
    weights.write(tmp_path / "weights", TOO_LARGE, weights.random(TOO_LARGE, 0))
    for command in (
        ["compare", tmp_path / "small.yaml", "-o", tmp_path / "compared"],
        ["parity", tmp_path / "small.yaml"],
        ["apply", run, "--dataset", dataset_folder, "-o", tmp_path / "applied"],
        ["reconet", "--apply", *network, *files],
    ):
        finished = bart_tf_in_process(*command)
        assert finished.returncode == 2, finished
        assert finished.stderr.splitlines()[-1].endswith(MESSAGE), finished.stderr
        assert "Traceback" not in finished.stderr


def test_a_saved_model_of_such_images_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^images: filters of 26 x 3 pixels"):
        savedmodel.export(build(TOO_LARGE, weights.random(TOO_LARGE, 0)), tmp_path / "saved", 24, 24)
    assert not (tmp_path / "saved").exists()


def test_the_layer_says_what_it_needs():
    with pytest.raises(ValueError, match=r"at least 2 x 25 pixels .* for filters of 3 x 26. Received: 24 x 24"):
        padding.pad_symmetric(random_images((1, 24, 24, 2)), 2, 25)
