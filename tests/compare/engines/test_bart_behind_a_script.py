"""A BART that a script or a container runs is measured and judged as BART itself."""

import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.reconet import weights
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools.toolbox import Toolbox
from compare.engines.bart import BartEngine
from compare.engines.base import TrainingTask

MIB = 2**20
NETWORK = VarNetSettings(iterations=1, filters=2, kernel_x=3, kernel_y=3, basis=3)
HELD_MIB = 40
# A runtime that stays beside the program that it started, and takes memory of its own.
RUNTIME = f"""
import subprocess, sys
held = bytearray(b"x") * ({HELD_MIB} << 20)
code = subprocess.call(sys.argv[1:])
sys.exit(code if code >= 0 else 128 - code)
"""
SCRIPTS = {
    "exec": 'exec {bart} "$@"',
    "no exec": '{bart} "$@"\nexit $?',
    "container": "exec python3 -S -c '{runtime}' {bart} \"$@\"",
}


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    path = tmp_path_factory.mktemp("initial") / "weights"
    weights.write(path, NETWORK, weights.random(NETWORK, 0))
    return path


@pytest.fixture(scope="module")
def apply(dataset_folder, initial, tmp_path_factory):
    """Reconstruct the test slices with a BART and return what it used."""

    def measure(toolbox):
        folder = tmp_path_factory.mktemp("run")
        test = Dataset.open(dataset_folder).split("test")
        return BartEngine(toolbox, "cpu", 1).apply(folder, NETWORK, test, initial, folder / "images")

    return measure


@pytest.fixture(scope="module")
def directly(apply, toolbox):
    return apply(toolbox)


@pytest.fixture(params=SCRIPTS)
def behind(request, toolbox, tmp_path):
    """The toolbox behind a script, and what the script takes itself."""
    script = tmp_path / "bart"
    script.write_text("#!/bin/sh\n" + SCRIPTS[request.param].format(bart=toolbox.path, runtime=RUNTIME) + "\n")
    script.chmod(0o755)
    return Toolbox.find(script), HELD_MIB * MIB if request.param == "container" else 0


def test_the_baseline_is_that_of_bart_and_of_what_runs_it(apply, directly, behind):
    toolbox, beside_bytes = behind
    used = apply(toolbox)
    assert used.baseline_rss_bytes >= directly.baseline_rss_bytes * 0.9 + beside_bytes
    # Python itself takes some MiB, a shell less than one.
    assert used.baseline_rss_bytes <= directly.baseline_rss_bytes + beside_bytes + (15 if beside_bytes else 2) * MIB


def test_a_training_that_aborts_after_everything_is_written_has_succeeded(behind, dataset_folder, initial, tmp_path):
    data = Dataset.open(dataset_folder)
    engine = BartEngine(behind[0], "cpu", 1)
    training = Training(algorithm="adam", epochs=1, batch_size=2)
    task = TrainingTask(tmp_path, NETWORK, training, data.split("train"), initial)
    used, histories = engine.train(task, lambda progress: None)
    assert histories[0]["loss"].shape == (1, 2)
    assert read_history(tmp_path / "history-stage1", NETWORK)["loss"].shape == (1, 2)
    assert used.ending in {"exited with code 0", "was ended by SIGABRT", "exited with code 134 (SIGABRT)"}
