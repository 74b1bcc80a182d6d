"""Several commands at the same time."""

import subprocess
import sys
import time

import psutil
import pytest

from bart_bridge.errors import ToolError
from bart_bridge.tools import process
from bart_bridge.tools.parallel import in_parallel, usable_threads


def test_commands_run_at_the_same_time_and_results_keep_their_order(tmp_path):
    """Each ends once all three are there, the first started as the last."""
    script = "touch meet-$0; while [ $(ls | grep -c meet-) -lt 3 ]; do sleep 0.02; done; sleep 0.$0; echo $0"

    def work(number):
        return process.run(["/bin/sh", "-c", script, str(number)], folder=tmp_path, timeout_s=30).stdout

    assert list(in_parallel(work, (5, 1, 3), 3)) == [("5",), ("1",), ("3",)]


def test_no_more_run_than_are_allowed(tmp_path):
    script = "touch run-$0; ls | grep -c run-; sleep 0.3; rm run-$0"

    def work(number):
        return int(process.run(["/bin/sh", "-c", script, str(number)], folder=tmp_path).stdout[0])

    assert max(in_parallel(work, range(6), 2)) == 2


def test_a_failure_ends_what_runs_and_gives_up_the_rest(tmp_path):
    def work(number):
        if number == 1:
            time.sleep(0.5)
            raise ToolError("no such luck")
        process.run(["/bin/sh", "-c", f"touch started-{number}; exec sleep 60"], folder=tmp_path)

    begin_s = time.monotonic()
    with pytest.raises(ToolError, match="no such luck"):
        list(in_parallel(work, range(1, 5), 2))
    assert time.monotonic() - begin_s < 40
    assert not (tmp_path / "started-4").exists()
    assert not [child for child in psutil.Process().children(recursive=True) if child.name() == "sleep"]


def test_an_interruption_ends_the_commands(tmp_path):
    # A shell may have started us with it ignored.
    script = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += (
        "from pathlib import Path\nfrom bart_bridge.tools import process\n"
        "from bart_bridge.tools.parallel import in_parallel\n"
        "run = lambda n: process.run(['/bin/sh', '-c', f'echo $$ > {n}; exec sleep 60'], folder=Path.cwd())\n"
        "list(in_parallel(run, range(4), 2))\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as running:
        deadline_s = time.monotonic() + 30
        while len([path for path in tmp_path.iterdir() if path.stat().st_size]) < 2 and time.monotonic() < deadline_s:
            time.sleep(0.05)
        pids = [int(path.read_text()) for path in tmp_path.iterdir()]
        running.send_signal(2)
        assert "KeyboardInterrupt" in running.communicate(timeout=40)[1]
    assert len(pids) == 2
    assert not any(map(psutil.pid_exists, pids))
    assert len(list(tmp_path.iterdir())) == 2


def test_settings_of_the_caller_hold_in_all(tmp_path):
    command = ["/bin/sh", "-c", "echo $GREETING"]
    with process.prefixed(["/usr/bin/env", "GREETING=hello"]):
        said = list(in_parallel(lambda _: process.run(command, folder=tmp_path).stdout, range(2), 2))
    assert said == [("hello",)] * 2


def test_the_number_of_threads_is_that_of_openmp(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert usable_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert usable_threads() >= 1
