"""`bart-tf weights to-savedmodel`: a SavedModel runs without our code."""

import subprocess
import sys

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import weights
from tests.compare.cli.weights_cases import NETWORKS, refused
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
