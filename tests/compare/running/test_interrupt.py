"""Ctrl-C and SIGTERM end a command at once, whatever tool it waits for, and leave nothing unfinished."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

from bart_bridge.files import atomic
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


# The line and the exit code after each signal.
ENDED = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("ended by SIGTERM", 143)}
both = pytest.mark.parametrize("number", ENDED, ids=lambda number: number.name)


def interrupt(tmp_path, *arguments, number=signal.SIGINT, again=None, **options):
    """Start a command, send a signal when its tool has started, and return its exit code and standard error.

    With `again`, this signal follows until the command is over.
    """
    argv = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes, **options) as running:
        while not (tmp_path / "started").exists():
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        running.send_signal(number)
        while again and running.poll() is None:
            time.sleep(0.1)
            running.send_signal(again)
        try:
            # Half of the tool's own time limit, for which it must not wait.
            stderr = running.communicate(timeout=job_states.TIMEOUT_S / 2)[1]
        finally:
            running.kill()
    return running.returncode, stderr


@both
def test_while_bart_does_not_answer(tmp_path, waiting_tool, number):
    text, exit_code = ENDED[number]
    said = interrupt(tmp_path, "doctor", "--bart", waiting_tool("bart"), number=number)
    assert said == (exit_code, f"error: {text}\n")


def test_while_slurm_does_not_answer(tmp_path, waiting_tool):
    squeue = waiting_tool("squeue")
    (tmp_path / "short.yaml").write_text(SHORT)
    jobs = tmp_path / "out" / "jobs" / "jobs.json"
    jobs.parent.mkdir(parents=True)
    jobs.write_text(json.dumps([{"on": "slurm", "job_id": "1_0", "parts": [["", "references"]]}]))
    environment = os.environ | {"PATH": f"{squeue.parent}:{os.environ['PATH']}"}
    command = ["jobs", "status", tmp_path / "short.yaml", "-o", tmp_path / "out"]
    assert interrupt(tmp_path, *command, env=environment) == (130, "error: interrupted\n")


def waiting_in(tmp_path, tool, before=""):
    """Make a BART that says that one of its tools was started to work, not to show its usage, and then hangs."""
    works = f'[ "$1" = {tool} ] && [ "$2" != -h ]'
    return bart_script(tmp_path, Toolbox.find(), f"{works} && {before}touch {tmp_path}/started && exec sleep 300")


def unfinished(folder):
    return [str(path) for path in folder.rglob(f"{atomic.PREFIX}*")]


@both
def test_a_training_says_how_it_goes_on(tmp_path, number):
    (tmp_path / "short.yaml").write_text(SHORT)
    script = waiting_in(tmp_path, "reconet")
    name = next(iter(yaml.safe_load(SHORT)["networks"]))
    command = ["train", tmp_path / "short.yaml", "--network", name, "--engine", "bart", "-o", tmp_path / "out"]
    text, exit_code = ENDED[number]
    said = interrupt(tmp_path, *command, "--bart", script, "-q", number=number)
    assert said == (exit_code, f"error: {text}; what was finished is kept, run the same command to continue\n")
    assert (tmp_path / "out" / "dataset" / "dataset.yaml").exists()
    assert unfinished(tmp_path) == []


@both
@pytest.mark.parametrize("command", ["simulate", "compare"])
def test_a_simulation_that_is_ended_leaves_nothing(tmp_path, number, command):
    (tmp_path / "short.yaml").write_text(SHORT)
    script, out = waiting_in(tmp_path, "phantom"), tmp_path / "out"
    out.mkdir()
    arguments = {"simulate": [out / "data"], "compare": [tmp_path / "short.yaml", "-o", out]}[command]
    text, exit_code = ENDED[number]
    code, stderr = interrupt(tmp_path, command, *arguments, "--bart", script, "-q", number=number)
    assert code == exit_code
    assert stderr.startswith(f"error: {text}")
    assert stderr.count("\n") == 1
    assert unfinished(tmp_path) == []
    if command == "simulate":
        assert list(out.iterdir()) == []


@pytest.mark.parametrize(("number", "again"), [(signal.SIGTERM, signal.SIGINT), (signal.SIGINT, signal.SIGTERM)])
def test_a_second_signal_does_not_disturb_the_cleanup(tmp_path, number, again):
    """The tool ignores SIGTERM, so that it takes seconds until it is killed and the cleanup begins."""
    script = waiting_in(tmp_path, "phantom", before="trap '' TERM && ")
    (tmp_path / "out").mkdir()
    text, exit_code = ENDED[number]
    command = ["simulate", tmp_path / "out" / "data", "--bart", script, "-q"]
    said = interrupt(tmp_path, *command, number=number, again=again)
    assert said == (exit_code, f"error: {text}\n")
    assert list((tmp_path / "out").iterdir()) == []
