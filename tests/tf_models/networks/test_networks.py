"""Both networks against the installed BART, with the same weights on the same files."""

import subprocess
import sys
from functools import partial
from itertools import product

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset, Split, write_split
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.network_settings import ModlSettings, SenseInitialization, VarNetSettings
from bart_bridge.reconet.training_settings import Training, stages
from bart_bridge.tools import process
from tests.helper import random_complex, relative_difference, slow_but, to_complex
from tests.tf_models.against_bart import FIXED, MODL, OWN, VARNET, images_of, images_of_bart
from tf_models.networks.build import build
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference

NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, even kernel": VarNetSettings(**{**VARNET, "kernel_x": 4}),
    "varnet, shared": VarNetSettings(**VARNET, shared_weights=True, shared_lambda=True),
    "varnet, proximal mapping": VarNetSettings(**VARNET, data_consistency="proximal-mapping", max_cg_iterations=5),
    "varnet, fixed lambda": VarNetSettings(**VARNET, fixed_lambda=0.3, normalize=False),
    "varnet, sense": VarNetSettings(**VARNET, sense_initialization=FIXED),
    "varnet, own lambda of sense": VarNetSettings(**VARNET, sense_initialization=OWN),
    "varnet, root sum of squares": VarNetSettings(**VARNET, rss_norm=True),
    "modl": ModlSettings(**MODL),
    "modl, sense": ModlSettings(**MODL, sense_initialization=SenseInitialization()),
    "modl, fixed sense": ModlSettings(**MODL, sense_initialization={"fixed_lambda": 0.2}, normalize=False),
    "modl, own lambda of sense": ModlSettings(**MODL, sense_initialization=OWN),
    "modl, own lambda by its steps": ModlSettings(**MODL, sense_initialization={"max_cg_iterations": 5}),
    "modl, own lambda beside a fixed one": ModlSettings(**MODL, fixed_lambda=0.2, sense_initialization=OWN),
    "modl, own lambda beside several": ModlSettings(**MODL, shared_lambda=False, sense_initialization={}),
    "modl, 3 layers": ModlSettings(**{**MODL, "layers": 3, "kernel_x": 5}),
    "modl, 6 layers": ModlSettings(**{**MODL, "layers": 6}),
    "modl, nothing shared": ModlSettings(**MODL, shared_weights=False, shared_lambda=False),
    "modl, no batch norm": ModlSettings(**MODL, batch_norm=False, normalize=False),
    "modl, no bias": ModlSettings(**MODL, bias=False, max_cg_iterations=4),
    "modl, gradient step": ModlSettings(**MODL, data_consistency="gradient-step", fixed_lambda=0.2),
}
# Relative l2 difference of images: what BART's own single precision leaves, in options three times what it was measured
# to leave there. MoDL amplifies rounding.
TOLERANCE = {"varnet": 1e-6, "modl": 5e-6}
OPTION_TOLERANCE = {
    "varnet, proximal mapping": 3 * 4e-7,
    "varnet, sense": 3 * 2e-6,
    "modl, sense": 3 * 2e-6,
    "modl, fixed sense": 3 * 2e-6,
}


@pytest.fixture(scope="module")
def dataset(dataset_folder):
    return Dataset.open(dataset_folder)


def differences(network, arrays, split, toolbox, folder):
    """Relative differences to BART's images, of our networks in single and in double precision."""
    expected = images_of_bart(network, arrays, split, toolbox, folder)
    for dtype in ("float32", "float64"):
        yield relative_difference(images_of(network, arrays, split, dtype), expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_images_are_those_of_bart(name, dataset, toolbox, tmp_path):
    network = NETWORKS[name]
    allowed = max(TOLERANCE[network.kind], OPTION_TOLERANCE.get(name, 0))
    found = list(differences(network, weights.random(network, 0), dataset.split("test"), toolbox, tmp_path))
    assert max(found) < allowed, found


def test_sense_initialization_without_lambda(toolbox, tmp_path):
    """VarNet's default: 30 steps without regularization, on data that is conditioned well enough for single precision.

    With four-fold acceleration BART is 5e-5 from our double precision here.
    """
    settings = Simulation(size=24, coil_count=3, train=2, validation=1, test=2, acceleration=2, seed=1)
    simulate(tmp_path / "data", settings, toolbox)
    network = VarNetSettings(**VARNET, sense_initialization=SenseInitialization())
    assert network.initial_solver() == (0.0, 30)
    split = Dataset.open(tmp_path / "data").split("test")
    found = list(differences(network, weights.random(network, 0), split, toolbox, tmp_path))
    assert max(found) < 3 * 1.5e-5, found


def sized(size_y, size_x, pattern, toolbox, folder):
    """Three slices of two coils of any size; the pattern is shared, one for each slice, or has weights."""
    generator = np.random.default_rng(0)

    numbers = partial(random_complex, generator)
    masks = (generator.uniform(size=(1 if pattern == "shared" else 3, 1, size_y, size_x)) < 0.6).astype(np.complex64)
    if pattern == "weighted":
        masks = masks * generator.uniform(0.2, 1.5, size=masks.shape)
    arrays = {"kspace": numbers(3, 2, size_y, size_x), "coils": numbers(3, 2, size_y, size_x) / 2, "pattern": masks}
    write_split(folder / "data", {name: from_batch_coil_yx(values) for name, values in arrays.items()})
    return Split.in_folder(folder / "data")


SIZES, PATTERNS = [(16, 16), (15, 21), (12, 17)], ["shared", "per slice", "weighted"]


# Each size and each pattern once.
@pytest.mark.parametrize("case", slow_but([*product(SIZES, PATTERNS)], *zip(SIZES, PATTERNS, strict=True)), ids=str)
@pytest.mark.parametrize("name", ["varnet", "modl"])
def test_every_size_and_pattern(name, case, toolbox, tmp_path):
    size, pattern = case
    network = NETWORKS[name]
    split = sized(*size, pattern, toolbox, tmp_path)
    found = list(differences(network, weights.random(network, 0), split, toolbox, tmp_path))
    assert max(found) < TOLERANCE[name], found


@pytest.mark.parametrize(
    "network", [VarNetSettings(), pytest.param(ModlSettings(), marks=pytest.mark.slow)], ids=["varnet", "modl"]
)
def test_networks_of_default_size(network, dataset, toolbox, tmp_path):
    found = list(differences(network, weights.random(network, 0), dataset.split("test"), toolbox, tmp_path))
    assert max(found) < {"varnet": 1e-5, "modl": 1e-4}[network.kind], found


PUBLISHED = {
    "varnet": ("wgh_varnet", VarNetSettings(), 1e-5),
    "modl": ("wgh_modl", ModlSettings(iterations=5), 1e-4),
    "modl_mad": ("wgh_modl_mad", ModlSettings(iterations=5, sense_initialization=SenseInitialization()), 1e-4),
}


@pytest.mark.parametrize("pattern", slow_but(["vd6", "eq4"], "vd6"))
@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_of_the_authors_of_bart_give_their_images(name, pattern, shared):
    file, network, allowed = PUBLISHED[name]
    trained, brain = shared / "data" / "bart_pretrained", shared / "data" / "real" / "brain_t1_8ch"
    split = Split(brain / "kspace", brain / "sens", brain / f"pattern_{pattern}")
    expected = cfl.read(trained / "expected_brain_t1_8ch" / f"{pattern}_{name}").squeeze().T
    model = build(network, weights.read(trained / file, network))
    found = to_complex(model.predict(network_inputs(split), verbose=0))[0]
    assert relative_difference(found, expected) < allowed


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_go_in_and_out_unchanged(name):
    network = NETWORKS[name]
    arrays = weights.random(network, 0)
    found = build(network, arrays).named_weights()
    assert list(found) == [array.name for array in weights.layout(network)]
    for key, values in arrays.items():
        np.testing.assert_array_equal(found[key], values)


@pytest.mark.parametrize("name", ["varnet", "modl"])
@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_training_follows_bart(name, algorithm, dataset, toolbox, tmp_path):
    """Same weights, same batches: the losses of every update."""
    training = Training(algorithm=algorithm, learning_rate=0.003, batch_size=3, epochs=6)
    assert_training_follows_bart(NETWORKS[name], training, dataset.split("train"), toolbox, tmp_path)


def test_both_stages_of_modl_follow_bart(dataset, toolbox, tmp_path):
    """Each engine starts the second stage from its own weights."""
    training = Training(learning_rate=0.003, batch_size=3, epochs=3, pretraining_epochs=2)
    assert_training_follows_bart(NETWORKS["modl"], training, dataset.split("train"), toolbox, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("network", [VarNetSettings(), ModlSettings()], ids=lambda network: network.kind)
@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_training_of_default_size_follows_bart(network, algorithm, dataset, toolbox, tmp_path):
    training = Training(algorithm=algorithm, batch_size=4, epochs=3)
    assert_training_follows_bart(network, training, dataset.split("train"), toolbox, tmp_path)


def assert_training_follows_bart(network, training, split, toolbox, tmp_path):
    first = stages(network, training)[0][0]
    initial = tmp_path / "initial"
    weights.write(initial, first, weights.initial(first, 0))
    data = TrainingData((network_inputs(split), network_reference(split)))
    _, histories = train(network, training, data, weights.read(initial, first))
    for number, (stage, epochs) in enumerate(stages(network, training)):
        trained, path = tmp_path / f"weights{number}", tmp_path / f"history{number}"
        argv = commands.train_argv(
            toolbox, stage, training, epochs, commands.TrainingFiles(split, trained, initial, path)
        )
        commands.check_trained(argv, process.run(argv, folder=tmp_path), stage, trained, path)
        history = read_history(path, stage)
        # Four slices in batches of three: one batch, the fourth slice is left out.
        assert history["loss"].shape == histories[number]["loss"].shape == (epochs, 1)
        allowed = {"varnet": 1e-5, "modl": 5e-5}[network.kind]
        np.testing.assert_allclose(histories[number]["loss"], history["loss"], rtol=allowed)
        # Adam divides gradients by their size, and with them their rounding: measured 1e-4.
        for column in history.keys() - {"seconds", "loss"}:
            np.testing.assert_allclose(histories[number][column], history[column], rtol=20 * allowed)
        initial = trained


def test_saved_models_give_the_same_images_in_a_fresh_process(dataset, tmp_path):
    inputs, models = network_inputs(dataset.split("test")), {}
    for name in ("varnet", "modl"):
        models[name] = build(NETWORKS[name], weights.random(NETWORKS[name], 0))
        models[name].save(tmp_path / f"{name}.keras")
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = (
        "import sys, keras, numpy as np, tf_models.training.fit\n"
        "folder, *names = sys.argv[1:]\n"
        "inputs = dict(np.load(f'{folder}/inputs.npz'))\n"
        "for name in names:\n"
        "    model = keras.saving.load_model(f'{folder}/{name}.keras')\n"
        "    np.save(f'{folder}/{name}', model.predict(inputs, verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path, *models], check=True, capture_output=True)
    for name, model in models.items():
        np.testing.assert_allclose(np.load(tmp_path / f"{name}.npy"), model.predict(inputs, verbose=0), atol=1e-7)


def test_a_model_of_sgd_stops_at_a_negative_lambda(dataset):
    """The constraint acts on the initial weights too, as in BART."""
    network, split = NETWORKS["varnet"], dataset.split("train")
    arrays = weights.random(network, 0)
    arrays["lambda"][0] = -0.1
    training = Training(algorithm="sgd", learning_rate=1e-6, batch_size=4, epochs=1)
    model, histories = train(network, training, TrainingData((network_inputs(split), network_reference(split))), arrays)
    assert histories[0]["lambda_0"][0, 0] == pytest.approx(0, abs=1e-5)
    assert (model.named_weights()["lambda"].real >= 0).all()
