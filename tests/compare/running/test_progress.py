"""What a person sees while an experiment runs: on a terminal, in a log, and with --quiet."""

import os
import pty
import re
import struct
import subprocess
import termios
from fcntl import ioctl

import pytest

from compare.console import Reporter
from compare.running import runner
from compare.settings.experiment import load
from tests.compare.conftest import COMMAND, TINY, bart_tf_in_process

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LEFT = r"(time left unknown|(?:about \d+ s|< 1 s) left)(?: and (\d+) steps? of unknown time)?"
STEP = re.compile(r"step (\d+) of (\d+), " + LEFT)
LINE = re.compile(r"\[(\d+)/9\] (.*); all steps: " + LEFT)


@pytest.fixture
def quick(tmp_path):
    """An experiment of BART alone, which takes seconds: a training is repeated twice."""
    path = tmp_path / "quick.yaml"
    varnet = TINY[: TINY.index("  modl:")]
    path.write_text(varnet + "engines: [bart]\nrepeats: 3\ninference_calls: 3\nbaselines: []\n")
    return path


def on_terminal(*arguments):
    """Run the command line on a terminal of 100 columns, and return what it wrote there."""
    master, slave = pty.openpty()
    ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    child = subprocess.Popen([*COMMAND, *map(str, arguments)], stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    written = b""
    while True:
        try:
            chunk = os.read(master, 65536)
        except OSError:  # the child closed the terminal
            break
        if not chunk:
            break
        written += chunk
    os.close(master)
    assert child.wait() == 0, written.decode()
    return written.decode()


def test_a_terminal_shows_the_whole_experiment_above_the_running_step(quick, tmp_path):
    raw = on_terminal("compare", quick, "-o", tmp_path / "out")
    text = CONTROL.sub("", raw)
    screens = re.findall(r"step \d+ of \d+, [^\r\n]*\r?\n\[\d+/\d+\][^\r\n]*", text)
    assert any("train 2 epochs" in screen and "━" in screen for screen in screens)
    assert {number for number, *_ in STEP.findall(text)} >= {"3", "6"}
    # What is over leaves one line, and the lines of progress are gone at the end.
    assert re.search(r"\[6/9\] varnet on bart: train 2 epochs \(repeat 1\): (< 1|\d+) s", text)
    *_, last = [line for line in text.splitlines() if line.strip()]
    assert last.startswith("report: ")
    assert "\x1b[?25h" in raw  # the cursor is back


@pytest.mark.usefixtures("undrawn")
def test_a_log_says_the_same_in_plain_lines(quick, tmp_path):
    said = bart_tf_in_process("compare", quick, "-o", tmp_path / "out")
    assert said.returncode == 0, said.stderr
    assert "\x1b" not in said.stderr
    lines = said.stderr.splitlines()
    whole = [match.groups() for line in lines if (match := LINE.fullmatch(line))]
    assert [int(number) for number, *_ in whole] == list(range(1, 10))
    # A step has one line, and below it those of its epochs or slices.
    assert sum(" varnet" in line or line.startswith("[") for line in lines) == 9
    assert not any(STEP.search(line) for line in lines)
    assert whole[5][1] == "varnet on bart: train 2 epochs (repeat 1)"
    # Before the first training and timing, nothing says how long the others take; then the repeats are known.
    assert whole[0][2] == "time left unknown"
    assert [unknown for *_, unknown in whole[5:]] == [None] * 4
    assert whole[3][3] == "4"


@pytest.mark.usefixtures("undrawn")
def test_quiet_says_nothing_of_it(quick, tmp_path):
    said = bart_tf_in_process("compare", quick, "-o", tmp_path / "out", "--quiet")
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.usefixtures("undrawn")
def test_time_left_is_that_of_the_earlier_run_less_what_has_passed(quick, tmp_path, toolbox):
    assert bart_tf_in_process("compare", quick, "-o", tmp_path / "out").returncode == 0
    schedule = runner.plan(load(quick), tmp_path / "other", toolbox, Reporter(-1))
    total = schedule.time_left()
    estimates = [step.estimate.seconds for step in schedule.plan()]
    assert (total.steps, total.unknown) == (9, 0)
    assert total.seconds == pytest.approx(sum(estimates))
    first, second, *_ = schedule.steps
    schedule.finish(first)
    assert schedule.time_left().seconds == pytest.approx(sum(estimates[1:]))
    schedule.start(second)
    assert sum(estimates[2:]) <= schedule.time_left().seconds < sum(estimates[1:])
    assert schedule.describe().startswith("step 2 of 9, ")
