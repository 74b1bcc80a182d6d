"""Locks between real processes, some of which are killed."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from compare.running import locks

HOLD = """
import sys, time
from pathlib import Path
from bart_bridge.tools import process
from compare.running import locks
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    if sys.argv[2:]:
        process.run(sys.argv[2:], folder=Path(sys.argv[1]), on_line=lambda line: print(line, flush=True))
    time.sleep(60)
"""


def holder(folder, *command):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder), *command], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def is_free(folder):
    try:
        with locks.held(folder, wait=False):
            return True
    except locks.BusyError:
        return False


def test_another_process_is_kept_out_until_the_holder_is_gone_however_it_ended(tmp_path):
    process = holder(tmp_path)
    assert not is_free(tmp_path)
    with pytest.raises(locks.BusyError, match="another process works on it"), locks.held(tmp_path, wait=False):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (tmp_path / locks.NAME).exists()
    assert is_free(tmp_path)


def test_a_child_that_outlives_its_parent_keeps_the_lock(tmp_path):
    """A training that leaves a checkpoint while its parent is dead already."""
    script = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1.5), exit())); "
    script += "print('ready', flush=True); time.sleep(60)"
    process = holder(tmp_path, sys.executable, "-c", script)
    assert process.stdout.readline() == "ready\n"
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not is_free(tmp_path)
    with locks.held(tmp_path):
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_waiting_ends_when_the_lock_is_free(tmp_path):
    process = holder(tmp_path)
    waiting = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    time.sleep(1)
    os.kill(process.pid, signal.SIGKILL)
    assert waiting.stdout.readline() == "held\n"
    for one in (process, waiting):
        one.kill()
        one.communicate()
