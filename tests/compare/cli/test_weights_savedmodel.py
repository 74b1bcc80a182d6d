"""`bart-tf weights to-savedmodel`: a SavedModel runs without our code."""

import shlex
import subprocess
import sys

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import weights
from tests.compare.cli.weights_cases import NETWORKS, refused
from tests.compare.conftest import bart_tf_in_process
from tests.helper import relative_difference
from tf_models.files import model_files
from tf_models.networks.build import build
from tf_models.networks.modl_original import MoDLOriginal
from tf_models.training.network_inputs import network_inputs


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


@pytest.fixture
def small_model(tmp_path):
    model_files.save(build(NETWORKS["varnet"], weights.random(NETWORKS["varnet"], 0)), tmp_path / "model.keras")
    return tmp_path / "model.keras"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("--for bart", "--coils: the network needs it"),
        ("--for bart --part prior --coils 3", "--coils: the prior has no coils"),
        ("--for bart --coils 3 --iteration 0", "--iteration: only with --part"),
        ("--part prior", "--part: only with --for bart"),
        ("--for bart --part regularizer --iteration 2", "there is no iteration 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, fault, command, small_model):
    line = f"--x 24 --y 20 {options}".split()
    assert fault in refused(command("to-savedmodel", small_model, small_model.parent / "saved", *line))
    assert not (small_model.parent / "saved").exists()


def test_savedmodel_for_bart_says_how_to_run_it(command, small_model):
    """Its words can be pasted into a shell."""
    folder = small_model.parent / "a prior"
    line = ("--x", 24, "--y", 20, "--for", "bart", "--part")
    code, output, errors = command("to-savedmodel", small_model, folder, *line, "prior")
    assert code == 0, errors
    assert f"-R 'TF:{{{folder}}}:LAMBDA'" in output
    assert (folder / "bart_config.dat").exists()
    denoiser = small_model.parent / "it's a denoiser"
    code, output, errors = command("to-savedmodel", small_model, denoiser, *line, "regularizer")
    assert code == 0, errors
    assert str(denoiser) in shlex.split(output.partition("apply: ")[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--x", "1000000", "--y", "8"), "'--x': Input should be less than or equal to 4096"),
        (("--x", "8", "--y", "8", "--for", "bart", "--part", "foo"), "Invalid value for '--part': 'foo' is not one of"),
        (("--x", "8", "--y", "8", "--for", "bart", "--part", "prior"), "takes no path with a brace"),
    ],
)
def test_wrong_arguments_are_told_in_one_line(arguments, message, tmp_path):
    finished = bart_tf_in_process("weights", "to-savedmodel", tmp_path / "modl.keras", tmp_path / "a}b", *arguments)
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert message in line
