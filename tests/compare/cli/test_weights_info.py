"""`bart-tf weights info`: what it shows of weights of every kind, and what it rejects."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from bart_bridge.files import cfl, multi_cfl
from bart_bridge.reconet import weights
from tests.compare.cli.weights_cases import NETWORKS, refused, rows
from tf_models.files import model_files
from tf_models.networks.build import build


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


def test_info_refuses_what_is_no_weights_file(command, tmp_path):
    (tmp_path / "notes.txt").write_text("weights")
    cfl.write(tmp_path / "image", np.ones((4, 4)))
    multi_cfl.write(tmp_path / "arrays", [np.ones((4, 4)), np.ones(3)])
    assert "no such file: no absent.hdr, no absent.index" in refused(command("info", tmp_path / "absent"))
    assert "a folder; name BART weights" in refused(command("info", tmp_path))
    assert "neither BART weights, nor a .keras file" in refused(command("info", tmp_path / "notes.txt"))
    assert "not a file of several arrays" in refused(command("info", tmp_path / "image"))
    assert "not weights of VarNet or MoDL (arrays of 2, 1 dimensions)" in refused(command("info", tmp_path / "arrays"))


@pytest.mark.slow
def test_the_command_says_one_line_in_a_fresh_process(tmp_path):
    """Also TensorFlow, which writes to standard error when it is imported, is silent; as in test_terminal.py."""
    shutil.copy(__file__, tmp_path / "model.keras")
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    argv = [sys.executable, "-c", "from compare.cli import main; main()", "weights", "info", tmp_path / "model.keras"]
    finished = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)
    assert refused((finished.returncode, finished.stdout, finished.stderr))
