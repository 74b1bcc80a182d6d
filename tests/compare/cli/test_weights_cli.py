"""`bart-tf weights`: every way in and out, bit by bit, and what is refused."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bart_bridge.data.dataset import Dataset, Split
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process
from compare.cli import main
from compare.settings.experiment import load
from tests.helper import relative_difference, slow_but, to_complex
from tf_models.files import model_files
from tf_models.networks.build import build
from tf_models.networks.modl_original import MoDLOriginal
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference

ROOT = Path(__file__).resolve().parents[3]
VARNET = {"iterations": 2, "filters": 3, "kernel_x": 5, "kernel_y": 3, "basis": 5}
MODL = {"iterations": 2, "layers": 4, "filters": 3, "kernel_x": 5}
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, shared": VarNetSettings(**VARNET, shared_weights=True, shared_lambda=True),
    "varnet, fixed lambda": VarNetSettings(**VARNET, fixed_lambda=0.3, normalize=False),
    "modl": ModlSettings(**MODL),
    "modl, 3 layers": ModlSettings(**{**MODL, "layers": 3}),
    "modl, nothing shared": ModlSettings(**MODL, shared_weights=False, shared_lambda=False),
    "modl, no batch norm": ModlSettings(**MODL, batch_norm=False),
    "modl, no bias": ModlSettings(**MODL, bias=False),
}
PUBLISHED = {
    "wgh_varnet": ("varnet", ["--network=varnet", "--normalize"], VarNetSettings(), 1e-5),
    "wgh_modl": ("modl", ["--network=modl", "-I5", "--normalize"], ModlSettings(iterations=5), 1e-4),
    "wgh_modl_one": (None, ["--network=modl", "-I1", "--normalize"], ModlSettings(iterations=1), 1e-4),
}


@pytest.fixture
def command(monkeypatch, capsys):
    """Run `bart-tf weights` in this process, which has TensorFlow already; return exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bart-tf", "weights", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run


def refused(result):
    """Check that a command failed as wrong input, with one line, and return it."""
    code, output, errors = result
    assert (code, output) == (2, ""), errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    return errors


def same_files(first, second):
    return all(a.read_bytes() == b.read_bytes() for a, b in zip(cfl.files(first), cfl.files(second), strict=True))


@pytest.mark.parametrize("name", ["info", "to-bart", "from-bart", "from-tf1", "to-savedmodel"])
def test_every_command_shows_an_example(name, command):
    code, output, _ = command(name, "--help")
    assert code == 0
    assert f"bart-tf weights {name}" in output


# To and from BART


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
    code, output, _ = command("to-bart", tmp_path / "model.keras", tmp_path / "again")
    assert code == 0
    # What it says is what BART needs to know.
    assert f"bart reconet --apply {' '.join(options)} KSPACE COILS" in output
    assert same_files(tmp_path / "bart", tmp_path / "again")
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


def bart_images(toolbox, network, split, path, folder):
    toolbox.run(*commands.apply_argv(toolbox, network, split, path, folder / "images")[1:])
    return to_batch_coil_yx(cfl.read(folder / "images"))[:, 0]


@pytest.mark.parametrize("name", slow_but(["varnet", "modl"], "varnet"))
def test_bart_reconstructs_with_what_keras_trained(name, demo, dataset_folder, command, toolbox, tmp_path):
    network, training = demo[name]
    dataset = Dataset.open(dataset_folder)
    learn, test = dataset.split("train"), dataset.split("test")
    first = network.model_copy(update={"iterations": 1}) if training.pretraining_epochs else network
    references = network_reference(learn)
    model, _ = train(network, training, network_inputs(learn), references, weights.initial(first, 0))
    model_files.save(model, tmp_path / "model.keras")
    assert command("to-bart", tmp_path / "model.keras", tmp_path / "weights")[0] == 0
    found = bart_images(toolbox, network, test, tmp_path / "weights", tmp_path)
    expected = to_complex(model.predict(network_inputs(test), verbose=0))
    assert relative_difference(found, expected) < 1e-5


@pytest.mark.parametrize("name", ["varnet", "modl"])
def test_keras_reconstructs_with_what_bart_trained(name, demo, dataset_folder, command, toolbox, tmp_path):
    network, training = demo[name]
    dataset = Dataset.open(dataset_folder)
    learn, test = dataset.split("train"), dataset.split("test")
    trained, history = tmp_path / "trained", tmp_path / "history"
    weights.write(tmp_path / "initial", network, weights.initial(network, 0))
    # Statistics of the last batch: BART's own need many more updates to settle.
    training = training.model_copy(update={"batch_norm_momentum": 0.0})
    epochs = 2
    options = {"initial": tmp_path / "initial", "history": history}
    argv = commands.train_argv(toolbox, network, training, epochs, learn, trained, **options)
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
        (["--network=modl", "--gpu"], "--gpu says nothing about the network"),
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


# TensorFlow 1 checkpoints


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
    assert "iterations: Input should be greater than 0" in refused(
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


# Info


def rows(result):
    """What `info` said, by name."""
    code, output, errors = result
    assert code == 0, errors
    return {line[:22].strip(): line[22:].strip() for line in output.splitlines()}


def test_info_of_published_weights(command, shared):
    data = shared / "data"
    varnet = rows(command("info", data / "bart_pretrained" / "wgh_varnet"))
    assert (varnet["network"], varnet["iterations"], varnet["kernel"]) == ("VarNet", "10", "11 x 11")
    # 10 sets of 24 filters of 11 x 11, of 24 x 31 weights and of one lambda.
    assert varnet["trained parameters"] == "29040 complex and 7450 real: 65530 real numbers"
    assert len(varnet["lambda"].split()) == 10
    modl = rows(command("info", data / "bart_pretrained" / "wgh_modl.cfl"))
    assert (modl["iterations"], modl["layers"], modl["filters"]) == ("5", "5", "32 complex")
    # 28,224 of convolutions, 129 biases and 5 factors; 129 complex means and real variances in 5 iterations.
    assert modl["trained parameters"].startswith("28358 complex and 1 real")
    assert modl["batch norm statistics"] == f"{129 * 5 * 3} real numbers"
    prefix = data / "modl_pretrained" / "04Jun_0243pm_5L_1K_100E_AG" / "model-100"
    original = rows(command("info", prefix))
    assert original == rows(command("info", prefix.with_name("model-100.index")))
    assert original["iterations"] == "not in the file"
    assert original["trained parameters"] == "0 complex and 113413 real: 113413 real numbers"
    assert original["batch norm statistics"] == "516 real numbers"
    assert float(original["lambda"]) == pytest.approx(0.032351, abs=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_info_of_a_model_is_that_of_its_weights(name, command, tmp_path):
    network = NETWORKS[name]
    model = build(network, weights.random(network, 0))
    model_files.save(model, tmp_path / "model.keras")
    weights.write(tmp_path / "bart", network, model.named_weights())
    of_model, of_file = rows(command("info", tmp_path / "model.keras")), rows(command("info", tmp_path / "bart"))
    assert of_model.pop("iterations") == "2"
    # One set of everything may serve any number of iterations.
    everything_shared = name in {"varnet, shared", "modl, no batch norm"}
    assert of_file.pop("iterations") == ("not in the file" if everything_shared else "2")
    assert of_model == of_file
    stored = sum(array.size for array in multi_cfl.read(tmp_path / "bart"))
    complex_count, _, real_count = of_file["trained parameters"].split(":")[0].partition(" complex and ")
    statistics = int(of_file["batch norm statistics"].split()[0])
    assert int(complex_count) + int(real_count.split()[0]) + statistics * 2 // 3 == stored


# SavedModel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["varnet", "modl", "original"])
def test_savedmodel_runs_without_our_code(name, command, tmp_path, dataset_folder):
    inputs = network_inputs(Dataset.open(dataset_folder).split("test"))
    if name == "original":
        model = MoDLOriginal({"iterations": 2, "layers": 3, "filters": 4})
    else:
        model = build(NETWORKS[name], weights.random(NETWORKS[name], 0))
    model_files.save(model, tmp_path / "model.keras")
    code, output, errors = command("to-savedmodel", tmp_path / "model.keras", tmp_path / "saved", "--x", 24, "--y", 24)
    assert code == 0, errors
    assert "relative difference when reloaded" in output
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.keras", "saved"]

    outside = tmp_path / "outside"
    outside.mkdir()
    np.savez(outside / "inputs.npz", **inputs)
    code_without_ours = (
        "import sys, numpy as np, tensorflow as tf\n"
        "reconstruct = tf.saved_model.load('../saved').signatures['reconstruct']\n"
        "image = reconstruct(**{k: tf.constant(v) for k, v in np.load('inputs.npz').items()})['image']\n"
        "np.save('image', image.numpy())\n"
        "assert not {'tf_models', 'bart_bridge', 'compare'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-I", "-c", code_without_ours], cwd=outside, check=True, capture_output=True, text=True
    )
    found, expected = np.load(outside / "image.npy"), model.predict(inputs, verbose=0)
    assert relative_difference(found, expected) < 1e-5

    result = command("to-savedmodel", tmp_path / "model.keras", tmp_path / "saved", "--x", 24, "--y", 24)
    assert "already exists" in refused(result)


# Damaged Keras models and other things that are not weights


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model_files.save(build(NETWORKS["modl"], weights.random(NETWORKS["modl"], 0)), path)
    return path


def rewritten(source, target, member, change):
    """Copy an archive with the bytes of one member changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(old.read(name)) if name == member else old.read(name))


def truncated(source, target):
    target.write_bytes(source.read_bytes()[:-3000])


def flipped(source, target):
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)


def a_folder(source, target):
    target.mkdir()


def text(source, target):
    target.write_text("weights")


def empty(source, target):
    target.touch()


def other_class(source, target):
    rewritten(source, target, "config.json", lambda data: data.replace(b'"Modl"', b'"Sequential"'))


def other_sizes(source, target):
    rewritten(source, target, "config.json", lambda data: data.replace(b'"filters": 3', b'"filters": 4'))


def wrong_sizes(source, target):
    rewritten(source, target, "config.json", lambda data: data.replace(b'"filters": 3', b'"filters": -4'))


def no_arrays(source, target):
    rewritten(source, target, "model.weights.h5", lambda data: data[:1000])


def not_a_number(source, target):
    model = model_files.load(source)
    model.data_consistency.lambdas.assign([np.nan])
    model.save(target)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "not a Keras model, or a damaged one"),
        (flipped, "damaged"),
        (a_folder, "a folder, not a Keras model"),
        (text, "not a Keras model, or a damaged one"),
        (empty, "not a Keras model, or a damaged one"),
        (other_class, "a network of bart-tf is needed (VarNet, Modl, MoDLOriginal), found 'Sequential'"),
        (other_sizes, "weights do not belong to the network"),
        (wrong_sizes, "Modl: filters: Input should be greater than 0"),
        (no_arrays, "weights do not belong to the network"),
        (not_a_number, "must be finite, found NaN or infinity"),
    ],
)
def test_damaged_models_are_refused(damage, message, model_file, command, tmp_path):
    damage(model_file, tmp_path / "model.keras")
    for arguments in (["info"], ["to-bart"], ["to-savedmodel", "--x", 24, "--y", 24]):
        target = [] if arguments == ["info"] else [tmp_path / "out"]
        line = refused(command(arguments[0], tmp_path / "model.keras", *target, *arguments[1:]))
        assert message in line
        assert str(tmp_path / "model.keras") in line
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_info_refuses_what_is_no_weights_file(command, tmp_path):
    (tmp_path / "notes.txt").write_text("weights")
    cfl.write(tmp_path / "image", np.ones((4, 4)))
    multi_cfl.write(tmp_path / "arrays", [np.ones((4, 4)), np.ones(3)])
    assert "no such file: no absent.hdr, no absent.index" in refused(command("info", tmp_path / "absent"))
    assert "a folder; name BART weights" in refused(command("info", tmp_path))
    assert "neither BART weights, nor a .keras file" in refused(command("info", tmp_path / "notes.txt"))
    assert "not a file of several arrays" in refused(command("info", tmp_path / "image"))
    assert "not weights of VarNet or MoDL (arrays of 2, 1 dimensions)" in refused(command("info", tmp_path / "arrays"))


def test_the_name_of_a_model_ends_with_keras(command, tmp_path):
    network = NETWORKS["varnet"]
    weights.write(tmp_path / "bart", network, weights.random(network, 0))
    line = refused(command("from-bart", *commands.apply_options(network)[1:], tmp_path / "bart", tmp_path / "model.h5"))
    assert "the name of a Keras model must end with .keras" in line


def test_the_command_says_one_line_in_a_fresh_process(tmp_path):
    """Also TensorFlow, which writes to standard error when it is imported, is silent."""
    shutil.copy(__file__, tmp_path / "model.keras")
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    argv = [sys.executable, "-c", "from compare.cli import main; main()", "weights", "info", tmp_path / "model.keras"]
    finished = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert refused((finished.returncode, finished.stdout, finished.stderr))
