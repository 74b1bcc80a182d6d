"""`bart-tf weights to-bart` and `from-bart`: every bit survives, images agree, and other networks are rejected."""

from pathlib import Path

import pytest

from bart_bridge.data.dataset import Dataset, Split
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process
from compare.settings.experiment import load
from tests.compare.cli.weights_cases import NETWORKS, bart_images, refused
from tests.helper import relative_difference, slow_but, to_complex
from tf_models.files import model_files
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = {
    "wgh_varnet": ("varnet", ["--network=varnet", "--normalize"], VarNetSettings(), 1e-5),
    "wgh_modl": ("modl", ["--network=modl", "-I5", "--normalize"], ModlSettings(iterations=5), 1e-4),
    "wgh_modl_one": (None, ["--network=modl", "-I1", "--normalize"], ModlSettings(iterations=1), 1e-4),
}


def same_files(first, second):
    return all(a.read_bytes() == b.read_bytes() for a, b in zip(cfl.files(first), cfl.files(second), strict=True))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_bit_survives_the_way_to_keras_and_back(name, command, tmp_path):
    """Also the sign of a zero."""
    network = NETWORKS[name]
    arrays = weights.random(network, 0)
    for key in arrays.keys() - {"lambda", "rbf"} - {key for key in arrays if key.startswith("bn")}:
        arrays[key].flat[0] = complex(-0.0, -0.0)
        arrays[key].flat[-1] = complex(-0.0, 1.0)
    weights.write(tmp_path / "bart", network, arrays)
    options = commands.apply_options(network)[1:]
    assert command("from-bart", *options, tmp_path / "bart", tmp_path / "model.keras")[0] == 0
    code, output, _ = command("to-bart", tmp_path / "model.keras", tmp_path / "once again")
    assert code == 0
    # What it says is what BART needs to know.
    assert f"bart reconet --apply {' '.join(options)} KSPACE COILS '{tmp_path}/once again' OUTPUT" in output
    assert same_files(tmp_path / "bart", tmp_path / "once again")
    assert model_files.load(tmp_path / "model.keras").network == network


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_weights_survive_too(file, command, shared, tmp_path):
    source = shared / "data" / "bart_pretrained" / file
    assert command("from-bart", *PUBLISHED[file][1], source, tmp_path / "model.keras")[0] == 0
    assert command("to-bart", tmp_path / "model.keras", tmp_path / "again")[0] == 0
    assert same_files(source, tmp_path / "again")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["vd6", "eq4"])
@pytest.mark.parametrize("file", PUBLISHED)
def test_published_weights_give_barts_images_in_keras(file, pattern, command, shared, toolbox, tmp_path):
    expected, options, network, allowed = PUBLISHED[file]
    trained, brain = shared / "data" / "bart_pretrained", shared / "data" / "real" / "brain_t1_8ch"
    assert command("from-bart", *options, trained / file, tmp_path / "model.keras")[0] == 0
    split = Split(brain / "kspace", brain / "sens", brain / f"pattern_{pattern}")
    if expected is None:
        images = tmp_path / "images"
        toolbox.run(*commands.apply_argv(toolbox, network, split, trained / file, images)[1:])
    else:
        images = trained / "expected_brain_t1_8ch" / f"{pattern}_{expected}"
    found = to_complex(model_files.load(tmp_path / "model.keras").predict(network_inputs(split), verbose=0))[0]
    assert relative_difference(found, cfl.read(images).squeeze().T) < allowed


@pytest.fixture(scope="module")
def demo():
    """The demo's networks and how they are trained, for fewer epochs."""
    chosen = load(ROOT / "configs" / "demo.yaml").networks
    epochs = {"varnet": {"epochs": 3}, "modl": {"epochs": 15, "pretraining_epochs": 15}}
    return {
        name: (one.network, Training.model_validate(one.training.model_dump() | epochs[name] | {"batch_size": 2}))
        for name, one in chosen.items()
    }


@pytest.mark.parametrize("name", slow_but(["varnet", "modl"], "varnet"))
def test_bart_reconstructs_with_what_keras_trained(name, demo, dataset_folder, command, toolbox, tmp_path):
    network, training = demo[name]
    dataset = Dataset.open(dataset_folder)
    learn, test = dataset.split("train"), dataset.split("test")
    first = network.model_copy(update={"iterations": 1}) if training.pretraining_epochs else network
    references = network_reference(learn)
    model, _ = train(network, training, TrainingData((network_inputs(learn), references)), weights.initial(first, 0))
    model_files.save(model, tmp_path / "model.keras")
    assert command("to-bart", tmp_path / "model.keras", tmp_path / "weights")[0] == 0
    found = bart_images(toolbox, network, test, tmp_path / "weights", tmp_path)
    expected = to_complex(model.predict(network_inputs(test), verbose=0))
    assert relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("name", slow_but(["varnet", "modl"], "modl"))
def test_keras_reconstructs_with_what_bart_trained(name, demo, dataset_folder, command, toolbox, tmp_path):
    network, training = demo[name]
    dataset = Dataset.open(dataset_folder)
    learn, test = dataset.split("train"), dataset.split("test")
    trained, history = tmp_path / "trained", tmp_path / "history"
    weights.write(tmp_path / "initial", network, weights.initial(network, 0))
    # Statistics of the last batch: BART's own need many more updates to settle.
    training = training.model_copy(update={"batch_norm_momentum": 0.0})
    epochs = 2
    files = commands.TrainingFiles(learn, trained, tmp_path / "initial", history)
    argv = commands.train_argv(toolbox, network, training, epochs, files)
    commands.check_trained(argv, process.run(argv, folder=tmp_path), network, trained, history)
    bart_options = commands.apply_options(network)[1:]
    assert command("from-bart", *bart_options, trained, tmp_path / "model.keras")[0] == 0
    expected = bart_images(toolbox, network, test, trained, tmp_path)
    model = model_files.load(tmp_path / "model.keras")
    found = to_complex(model.predict(network_inputs(test), verbose=0))
    assert relative_difference(found, expected) < 1e-5
    assert command("to-bart", tmp_path / "model.keras", tmp_path / "again")[0] == 0
    # BART's header also says which command wrote it.
    for ours, barts in zip(multi_cfl.read(tmp_path / "again"), multi_cfl.read(trained), strict=True):
        assert ours.tobytes() == barts.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network=modl", "-I3", "--resnet-block=F=3,L=4,X=5"], "'gamma' must have dimensions (1, 1, 1, 1, 1, 3)"),
        (["--network=modl", "-I2", "--resnet-block=F=4,L=4,X=5"], "'conv_0' must have dimensions (4, 1, 5, 3, 1, 1)"),
        (["--network=varnet", "-I2"], "'lambda' must have dimensions (2,), found (1,)"),
        (["--network=modl", "--gpu"], "--gpu does not describe a network"),
        (["--network=unet"], "'unet' is not supported"),
        ([], "--network=varnet or --network=modl is needed"),
    ],
)
def test_from_bart_refuses_another_network(options, message, command, tmp_path):
    network = NETWORKS["modl"]
    weights.write(tmp_path / "bart", network, weights.random(network, 0))
    assert message in refused(command("from-bart", *options, tmp_path / "bart", tmp_path / "model.keras"))
    assert not (tmp_path / "model.keras").exists()


def test_weights_that_keras_cannot_hold_are_refused(command, tmp_path):
    network = NETWORKS["varnet"]
    arrays = weights.random(network, 0)
    arrays["rbf"][0, 1, 1] += 0.5j
    weights.write(tmp_path / "bart", network, arrays)
    options = commands.apply_options(network)[1:]
    message = refused(command("from-bart", *options, tmp_path / "bart", tmp_path / "model.keras"))
    assert "array 'rbf' has imaginary parts where varnet has real numbers" in message


def test_the_name_of_a_model_ends_with_keras(command, tmp_path):
    network = NETWORKS["varnet"]
    weights.write(tmp_path / "bart", network, weights.random(network, 0))
    line = refused(command("from-bart", *commands.apply_options(network)[1:], tmp_path / "bart", tmp_path / "model.h5"))
    assert "the name of a Keras model must end with .keras" in line
