"""`bart-tf train` that is stopped or killed, as a user or a queue does it, and called again."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from compare.results import cost_rows
from compare.running.run_files import Run
from tests.compare.conftest import TINY, bart_tf, start_bart_tf
from tests.helper import slow_but

# VarNet, whose training starts sooner; MoDL with its statistics goes on in tests/tf_models/training/test_checkpoint.py.
LONGER = TINY.replace("learning_rate: 0.01, batch_size: 2, epochs: 2", "learning_rate: 0.01, batch_size: 2, epochs: 40")
NAMES = ("varnet", "keras-tensorflow")
ARGUMENTS = ("--network", NAMES[0], "--engine", NAMES[1])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("longer") / "longer.yaml"
    path.write_text(LONGER + "threads: 1\n")
    return path


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    return finish(config, tmp_path_factory.mktemp("undisturbed"))


def finish(config, folder):
    from tf_models.files.model_files import load

    finished = bart_tf("train", config, *ARGUMENTS, "-o", folder)
    assert finished.returncode == 0, finished.stderr
    run = folder / "runs" / "varnet-keras-tensorflow"
    assert not (run / "checkpoint").exists()
    record = json.loads((run / "train.json").read_text())
    return load(run / "weights.keras").named_weights(), dict(np.load(run / "history.npz")), record


@pytest.mark.parametrize("number", slow_but([signal.SIGTERM, signal.SIGKILL, signal.SIGINT], signal.SIGKILL))
def test_goes_on_from_its_checkpoint(config, undisturbed, tmp_path, number):
    """The command ends at once; its child, which is told so, leaves a checkpoint of the batch that it was at."""
    process = start_bart_tf("train", config, *ARGUMENTS, "-o", tmp_path)
    checkpoint = tmp_path / "runs" / "varnet-keras-tensorflow" / "checkpoint" / "training.npz"
    while not checkpoint.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    weights, history, record = finish(config, tmp_path)
    assert "continued after" in record["measurement"]["ending"]
    for name, values in undisturbed[0].items():
        np.testing.assert_array_equal(weights[name], values)
    for name in undisturbed[1].keys() - {"stage1_seconds"}:
        np.testing.assert_array_equal(history[name], undisturbed[1][name])
    seconds = record["seconds"]
    assert sum(seconds[part] for part in ("setup", "compilation", "training")) == pytest.approx(
        record["measurement"]["elapsed_s"]
    )
    assert seconds["setup"] > 0
    assert record["updates"] == undisturbed[2]["updates"] == 80
    # In the results it has no times: they are those of two processes.
    timed = ("elapsed", "cpu", "setup", "compilation", "training", "epoch")
    rows = {metric: (value, why) for metric, value, _, why in cost_rows.costs_of_phase(Run(tmp_path, *NAMES), "train")}
    (reason,) = {rows[metric][1] for metric in timed}
    assert re.fullmatch(r"n/a: continued after \d+ updates", reason)
    assert {rows[metric][0] for metric in timed} == {None}
    assert rows["updates"][0] == 80


@pytest.mark.slow
def test_memory_of_a_process_that_found_all_done_is_not_that_of_training(tmp_path):
    """As if it had been killed after the last update and before its record: there is nothing left to train."""
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY + "threads: 1\n")
    argv = [sys.executable, "-c", "from compare.cli import main; main()", "train", str(config), *ARGUMENTS]
    run, kept = tmp_path / "runs" / "varnet-keras-tensorflow", tmp_path / "kept"
    process = subprocess.Popen([*argv, "-o", str(tmp_path)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with contextlib.suppress(OSError):
            kept.write_bytes((run / "checkpoint" / "training.npz").read_bytes())
        time.sleep(0.01)
    assert process.returncode == 0
    (run / "train.json").unlink()
    (run / "checkpoint").mkdir()
    (run / "checkpoint" / "training.npz").write_bytes(kept.read_bytes())
    record = finish(config, tmp_path)[2]
    assert record["measurement"]["ending"].endswith(f"continued after {record['updates']} updates")
    costs = cost_rows.costs_of_phase(Run(tmp_path, *NAMES), "train")
    rows = {metric: (value, reason) for metric, value, _, reason in costs}
    for metric in ("peak_rss", "rss_before_growth", "rss_above_baseline", "gpu_peak", "allocator_peak"):
        value, reason = rows[metric]
        assert value is None
        assert "the process before this one trained to the end" in reason
    assert rows["elapsed"] == (None, f"n/a: continued after {record['updates']} updates")


@pytest.mark.slow
def test_begins_again_if_it_is_told_so(config, undisturbed, tmp_path):
    folder = tmp_path / "runs" / "varnet-keras-tensorflow" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / "training.npz").write_bytes(b"what a training left")
    finished = bart_tf("train", config, *ARGUMENTS, "--no-resume", "-o", tmp_path)
    assert finished.returncode == 0, finished.stderr
    record = json.loads((folder.parent / "train.json").read_text())
    assert record["measurement"]["ending"] == "exited with code 0"
