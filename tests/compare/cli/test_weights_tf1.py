"""`bart-tf weights from-tf1`: checkpoints of the original VarNet and MoDL."""

import numpy as np
import pytest
import tensorflow as tf

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import VarNetSettings
from tests.compare.cli.weights_cases import VARNET, bart_images, refused, rows
from tests.helper import relative_difference, to_complex
from tf_models.files import model_files
from tf_models.training.network_inputs import network_inputs


def write_checkpoint(prefix, arrays):
    """Write variables as TensorFlow 1 did, with an optimizer's slot beside one of them."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        stored = {**arrays, "lambda/Adam": np.zeros(1, np.float32), "global_step": np.array(3)}
        variables = [tf.compat.v1.Variable(values, name=name) for name, values in stored.items()]
        session.run(tf.compat.v1.variables_initializer(variables))
        tf.compat.v1.train.Saver(variables).save(session, str(prefix))


def varnet_variables(arrays, scale):
    """Named weights of VarNet as the original's variables, through BART's order of dimensions."""
    conv, rbf = arrays["conv"].transpose(4, 3, 2, 1, 0), arrays["rbf"].transpose(2, 1, 0)
    return {
        "k1": conv.transpose(4, 2, 3, 1, 0),  # [filter, 1, x, y, T] to [T, x, y, 1, filter]
        "w1": (rbf.real / np.float32(scale)).transpose(2, 0, 1),  # [filter, basis, T] to [T, filter, basis]
        "lambda": arrays["lambda"].real[:, None],
    }


@pytest.mark.parametrize(("activation", "scale"), [("tensorflow-icg", 1.0), ("optox", 0.4)])
def test_varnet_of_tensorflow_1(activation, scale, command, tmp_path, dataset_folder, toolbox):
    network = VarNetSettings(**VARNET)
    arrays = weights.random(network, 0)
    weights.write(tmp_path / "bart", network, arrays)
    write_checkpoint(tmp_path / "model-7", varnet_variables(arrays, scale))
    code, _, errors = command("from-tf1", tmp_path / "model-7", tmp_path / "model.keras", "--activation", activation)
    assert code == 0, errors
    split = Dataset.open(dataset_folder).split("test")
    expected = bart_images(toolbox, network, split, tmp_path / "bart", tmp_path)
    found = to_complex(model_files.load(tmp_path / "model.keras").predict(network_inputs(split), verbose=0))
    assert relative_difference(found, expected) < 3e-6
    assert "2" in rows(command("info", tmp_path / "model-7"))["iterations"]


def test_modl_of_tensorflow_1(command, shared, tmp_path):
    prefix = shared / "data" / "modl_pretrained" / "04Jun_0356pm_5L_10K_50E_AG" / "model-50"
    options = ["--iterations", 10, "--gradient", "modl_legacy"]
    assert command("from-tf1", prefix, tmp_path / "model.keras", *options)[0] == 0
    model = model_files.load(tmp_path / "model.keras")
    assert (model.network.iterations, model.network.gradient) == (10, "modl_legacy")
    reader = tf.train.load_checkpoint(str(prefix))
    stored = reader.get_tensor("Wts/Layer1/W")
    # Its first image axis is BART's x, ours is y.
    np.testing.assert_array_equal(model.named_variables()["Wts/Layer1/W"], stored.transpose(1, 0, 2, 3))
    assert "MoDLOriginal cannot become weights of BART" in refused(
        command("to-bart", tmp_path / "model.keras", tmp_path / "weights")
    )
    assert "--iterations: MoDL needs it" in refused(command("from-tf1", prefix, tmp_path / "other.keras"))
    assert "iterations: must be greater than 0" in refused(
        command("from-tf1", prefix, tmp_path / "other.keras", "-I", 0)
    )
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def without_lambda(variables):
    del variables["lambda"]


def other_width(variables):
    variables["w1"] = variables["w1"][:, :2]


def not_finite(variables):
    variables["k1"][0, 0, 0, 0, 0] = np.nan


def real_filters(variables):
    variables["k1"] = variables["k1"].real


def unknown(variables):
    for name in list(variables):
        variables[f"other/{name}"] = variables.pop(name)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_lambda, "variable 'lambda' (2, 1) is missing"),
        (other_width, "variable 'w1' must have shape (2, 3, 5), found (2, 2, 5)"),
        (not_finite, "variable 'k1' must be finite, found NaN"),
        (real_filters, "variable 'k1' must be complex, found float32"),
        (unknown, "neither variables of MoDL (Wts/...) nor of VarNet"),
    ],
)
def test_from_tf1_refuses(damage, message, command, tmp_path):
    variables = varnet_variables(weights.random(VarNetSettings(**VARNET), 0), 1)
    damage(variables)
    write_checkpoint(tmp_path / "model", variables)
    result = command("from-tf1", tmp_path / "model", tmp_path / "model.keras", "--activation", "optox")
    assert message in refused(result)
    assert not (tmp_path / "model.keras").exists()


def test_from_tf1_wants_the_activation(command, tmp_path):
    write_checkpoint(tmp_path / "model", varnet_variables(weights.random(VarNetSettings(**VARNET), 0), 1))
    assert "--activation: VarNet needs one of tensorflow-icg, optox, received none" in refused(
        command("from-tf1", tmp_path / "model", tmp_path / "model.keras")
    )
