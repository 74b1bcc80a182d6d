"""Ctrl-C ends a command at once, whatever tool it waits for."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from bart_bridge.tools.toolbox import Toolbox
from compare.running import job_states
from tests.compare.conftest import bart_script
from tests.compare.running.disturbed import SHORT

# As on a terminal: what starts tests in the background may have SIGINT ignored.
COMMAND = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from compare.cli import main
main()
"""


@pytest.fixture
def waiting_tool(tmp_path):
    """Make a program that says that it was started, and then hangs."""

    def make(name):
        path = tmp_path / "bin" / name
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexec sleep 300\n")
        path.chmod(0o755)
        return path

    return make


def interrupt(tmp_path, *arguments, number=signal.SIGINT, **options):
    """Start a command, send a signal when its tool has started, and return its exit code and standard error."""
    argv = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes, **options) as running:
        while not (tmp_path / "started").exists():
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        running.send_signal(number)
        try:
            # Half of the tool's own time limit, for which it must not wait.
            stderr = running.communicate(timeout=job_states.TIMEOUT_S / 2)[1]
        finally:
            running.kill()
    return running.returncode, stderr


def test_while_bart_does_not_answer(tmp_path, waiting_tool):
    assert interrupt(tmp_path, "doctor", "--bart", waiting_tool("bart")) == (130, "")


def test_while_slurm_does_not_answer(tmp_path, waiting_tool):
    squeue = waiting_tool("squeue")
    (tmp_path / "short.yaml").write_text(SHORT)
    jobs = tmp_path / "out" / "jobs" / "jobs.json"
    jobs.parent.mkdir(parents=True)
    jobs.write_text(json.dumps([{"on": "slurm", "job_id": "1_0", "parts": [["", "references"]]}]))
    environment = os.environ | {"PATH": f"{squeue.parent}:{os.environ['PATH']}"}
    command = ["jobs", "status", tmp_path / "short.yaml", "-o", tmp_path / "out"]
    assert interrupt(tmp_path, *command, env=environment) == (130, "")


def waiting_in(tmp_path, tool):
    """Make a BART that says that one of its tools was started, which then hangs."""
    return bart_script(tmp_path, Toolbox.find(), f'[ "$1" = {tool} ] && touch {tmp_path}/started && exec sleep 300')


def test_a_training_says_how_it_goes_on(tmp_path):
    (tmp_path / "short.yaml").write_text(SHORT)
    script = waiting_in(tmp_path, "reconet")
    name = next(iter(yaml.safe_load(SHORT)["networks"]))
    command = ["train", tmp_path / "short.yaml", "--network", name, "--engine", "bart", "-o", tmp_path / "out"]
    exit_code, stderr = interrupt(tmp_path, *command, "--bart", script, "-q")
    assert exit_code == 1
    assert stderr == "error: interrupted; what was finished is kept, run the same command to continue\n"


def test_a_simulation_that_is_ended_leaves_nothing(tmp_path):
    script = waiting_in(tmp_path, "phantom")
    (tmp_path / "out").mkdir()
    exit_code, stderr = interrupt(
        tmp_path, "simulate", tmp_path / "out" / "data", "--bart", script, "-q", number=signal.SIGTERM
    )
    assert (exit_code, stderr) == (128 + signal.SIGTERM, "")
    assert list((tmp_path / "out").iterdir()) == []
