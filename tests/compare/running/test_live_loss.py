"""The losses of running trainings in event files, as TensorBoard's own reader sees them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from compare.results.table import read_history
from tests.compare.conftest import TINY, bart_tf_in_process, start_bart_tf

VARNET = TINY[: TINY.index("  modl:")] + "baselines: []\n"


def losses(folder):
    """The losses in a folder of event files, by the number of their update."""
    if not folder.is_dir():
        return {}
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    if "loss" in accumulator.Tags()["scalars"]:
        return {event.step: event.value for event in accumulator.Scalars("loss")}
    if "loss" in accumulator.Tags()["tensors"]:
        return {event.step: float(make_ndarray(event.tensor_proto)) for event in accumulator.Tensors("loss")}
    return {}


@pytest.mark.usefixtures("undrawn")
def test_the_losses_are_those_of_the_history_and_a_new_training_replaces_them(tmp_path):
    config, out = tmp_path / "tiny.yaml", tmp_path / "out"
    for seed in (0, 1):
        config.write_text(VARNET + f"engines: [bart]\nseed: {seed}\n")
        said = bart_tf_in_process("compare", config, "-o", out, "--tensorboard")
        assert said.returncode == 0, said.stderr
        assert f"live losses: tensorboard --logdir {out / 'tensorboard'}" in said.stderr.splitlines()
        expected = read_history(out).loss.to_list()
        shown = losses(out / "tensorboard" / "varnet-bart")
        assert list(shown) == [1, 2, 3, 4]
        assert list(shown.values()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("engine", ["bart", "keras-tensorflow"])
def test_they_are_there_while_the_training_runs(tmp_path, engine):
    config, out = tmp_path / "long.yaml", tmp_path / "out"
    config.write_text(VARNET.replace("epochs: 2", "epochs: 100000") + f"engines: [{engine}]\n")
    process = start_bart_tf("compare", config, "-o", out, "--tensorboard")
    try:
        while len(losses(out / "tensorboard" / f"varnet-{engine}")) < 5:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.5)
        assert not (out / "runs" / f"varnet-{engine}" / "train.json").exists()
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_without_the_package_a_line_says_what_to_install(tmp_path):
    """`-S` and a path without it would lack everything else, so the finder is told that there is none."""
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "import compare.running.live_loss as live_loss\n"
        "live_loss.find_spec = lambda name: None if name == 'tensorboardX' else find(name)\n"
        "from compare.cli import main\n"
        "main()"
    )
    (tmp_path / "tiny.yaml").write_text(TINY)
    argv = [sys.executable, "-c", code, "compare", str(tmp_path / "tiny.yaml"), "--tensorboard"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path, env=dict(os.environ))
    assert said.returncode == 1
    assert said.stderr == (
        "error: tensorboardX is not installed; "
        "install bart-tf with the extra 'tensorboard' (bart-tf-compare[tensorboard])\n"
    )


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--on", "local"], "--tensorboard: only trainings of this command write for TensorBoard, not jobs"),
        (["--dry-run"], "--tensorboard: --dry-run trains nothing"),
    ],
)
def test_options_that_contradict_it_are_refused(tiny_config, options, fault):
    said = bart_tf_in_process("compare", tiny_config, "--tensorboard", *options)
    assert (said.returncode, said.stderr) == (2, f"error: {fault}\n")
