"""Both networks against the installed BART, with the same weights on the same files."""

import subprocess
import sys

import numpy as np
import pytest

from bart_bridge import cfl, process, reconet, weights
from bart_bridge.dataset import Dataset
from bart_bridge.dims import to_batch_coil_yx
from bart_bridge.settings import ModlSettings, Training, VarNetSettings, stages
from tests.helper import relative_difference
from tf_models.inputs import network_inputs, reference_images, to_complex, to_real
from tf_models.training import build, train

VARNET = {"iterations": 3, "filters": 4, "kernel_x": 5, "kernel_y": 3, "basis": 9}
MODL = {"iterations": 2, "layers": 4, "filters": 5}
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, even kernel": VarNetSettings(**{**VARNET, "kernel_x": 4}),
    "varnet, shared": VarNetSettings(**VARNET, shared_weights=True, shared_lambda=True),
    "varnet, proximal mapping": VarNetSettings(**VARNET, data_consistency="proximal-mapping", max_cg_iterations=5),
    "varnet, fixed lambda": VarNetSettings(**VARNET, fixed_lambda=0.3, normalize=False),
    "modl": ModlSettings(**MODL),
    "modl, 3 layers": ModlSettings(**{**MODL, "layers": 3, "kernel_x": 5}),
    "modl, 6 layers": ModlSettings(**{**MODL, "layers": 6}),
    "modl, nothing shared": ModlSettings(**MODL, shared_weights=False, shared_lambda=False),
    "modl, no batch norm": ModlSettings(**MODL, batch_norm=False, normalize=False),
    "modl, no bias": ModlSettings(**MODL, bias=False, max_cg_iterations=4),
    "modl, gradient step": ModlSettings(**MODL, data_consistency="gradient-step", fixed_lambda=0.2),
}
# From the reference measurements of BART's own single precision.
TOLERANCE = {"varnet": 4e-6, "modl": 2e-5}


@pytest.fixture(scope="module")
def dataset(dataset_folder):
    return Dataset.open(dataset_folder)


def some_weights(network):
    """Initial weights, and random numbers where those are 0 and would hide a mistake."""
    arrays = weights.initial(network, 0)
    generator = np.random.default_rng(1)
    for name, values in arrays.items():
        if name.startswith(("bias", "gamma", "bn")):
            values[:] = 0.3 * (generator.normal(size=values.shape) + 1j * generator.normal(size=values.shape))
        if name.startswith("bn"):
            values[..., 1, :] = generator.uniform(0.3, 1, size=values[..., 1, :].shape)
    return arrays


@pytest.mark.parametrize("name", NETWORKS)
def test_images_are_those_of_bart(name, dataset, toolbox, tmp_path):
    network, split = NETWORKS[name], dataset.split("test")
    arrays = some_weights(network)
    weights.write(tmp_path / "weights", network, arrays)
    toolbox.run(*reconet.apply_argv(toolbox, network, split, tmp_path / "weights", tmp_path / "images")[1:])
    expected = to_batch_coil_yx(cfl.read(tmp_path / "images"))[:, 0]
    found = to_complex(build(network, arrays).predict(network_inputs(split), verbose=0))
    assert relative_difference(found, expected) < TOLERANCE[network.kind]


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_go_in_and_out_unchanged(name):
    network = NETWORKS[name]
    arrays = some_weights(network)
    found = build(network, arrays).named_weights()
    assert list(found) == [array.name for array in weights.layout(network)]
    for key, values in arrays.items():
        np.testing.assert_array_equal(found[key], values)


@pytest.mark.parametrize("name", ["varnet", "modl"])
@pytest.mark.parametrize("algorithm", ["adam", "sgd"])
def test_training_follows_bart(name, algorithm, dataset, toolbox, tmp_path):
    """Same weights, same batches: the losses of every update, through both stages of MoDL."""
    network, split = NETWORKS[name], dataset.split("train")
    pretraining = 2 if name == "modl" else 0
    training = Training(
        algorithm=algorithm, learning_rate=0.003, batch_size=3, epochs=3, pretraining_epochs=pretraining
    )
    first = stages(network, training)[0][0]
    initial = tmp_path / "initial"
    weights.write(initial, first, weights.initial(first, 0))
    _, histories = train(
        network,
        training,
        network_inputs(split),
        to_real(reference_images(split)),
        weights.read(initial, first),
    )
    for number, (stage, epochs) in enumerate(stages(network, training)):
        trained, path = tmp_path / f"weights{number}", tmp_path / f"history{number}"
        argv = reconet.train_argv(toolbox, stage, training, epochs, split, trained, initial=initial, history=path)
        reconet.check_trained(argv, process.run(argv, folder=tmp_path), stage, trained, path)
        history = reconet.read_history(path, stage)
        # Four slices in batches of three: one batch, the fourth slice is left out.
        assert history["loss"].shape == histories[number]["loss"].shape == (epochs, 1)
        for column in history.keys() - {"seconds"}:
            np.testing.assert_allclose(histories[number][column], history[column], rtol=5e-5)
        initial = trained


@pytest.mark.parametrize("name", ["varnet", "modl"])
def test_a_saved_model_gives_the_same_images_in_a_fresh_process(name, dataset, tmp_path):
    network, inputs = NETWORKS[name], network_inputs(dataset.split("test"))
    model = build(network, some_weights(network))
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "inputs.npz", **inputs)
    code = (
        "import sys, keras, numpy as np, tf_models.training\n"
        "model = keras.saving.load_model(sys.argv[1] + '/model.keras')\n"
        "np.save(sys.argv[1] + '/images', model.predict(dict(np.load(sys.argv[1] + '/inputs.npz')), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "images.npy"), model.predict(inputs, verbose=0), atol=1e-7)


def test_a_model_of_sgd_stops_at_a_negative_lambda(dataset):
    """The constraint acts on the initial weights too, as in BART."""
    network, split = NETWORKS["varnet"], dataset.split("train")
    arrays = some_weights(network)
    arrays["lambda"][0] = -0.1
    training = Training(algorithm="sgd", learning_rate=1e-6, batch_size=4, epochs=1)
    model, histories = train(network, training, network_inputs(split), to_real(reference_images(split)), arrays)
    assert histories[0]["lambda_0"][0, 0] == pytest.approx(0, abs=1e-5)
    assert (model.named_weights()["lambda"].real >= 0).all()
