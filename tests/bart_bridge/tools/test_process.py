"""Child processes: how they end, what they print, what they use, and that they never outlive us."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bart_bridge.errors import InputError, ToolError
from bart_bridge.tools import process

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(tmp_path):
    """Run a command in a temporary folder."""
    return lambda *argv, **options: process.run(argv, folder=tmp_path, **options)


def wait_until_gone(pid):
    """Wait for the end of a process that need not be our child."""
    try:
        psutil.Process(pid).wait(20)
    except psutil.NoSuchProcess:
        return


def python(code, **options):
    """Start a Python process that can import the package."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True, **options}
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **options)


# How it ends


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_exit_code(run, code):
    finished = run("sh", "-c", f"exit {code}")
    assert finished.returncode == code
    assert not finished.crashed
    assert finished.signal_number is None
    assert finished.describe() == f"exited with code {code}"


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV", "SIGKILL", "SIGTERM"])
def test_signal(run, name):
    finished = run("sh", "-c", f"kill -{name.removeprefix('SIG')} $$")
    assert finished.returncode == -signal.Signals[name]
    assert finished.crashed
    assert finished.signal_number == signal.Signals[name]
    assert finished.describe() == f"was ended by {name}"


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV"])
def test_signal_that_a_script_hands_on(run, name):
    finished = run("sh", "-c", f"sh -c 'kill -{name.removeprefix('SIG')} $$'; exit $?")
    assert finished.signal_number == signal.Signals[name]
    assert finished.describe() == f"exited with code {128 + signal.Signals[name]} ({name})"


def test_program_that_does_not_exist(run):
    with pytest.raises(ToolError, match=r"^cannot be started; command: no-such-program -x; .*No such file") as raised:
        run("no-such-program", "-x")
    assert raised.value.argv == ("no-such-program", "-x")
    assert raised.value.returncode is None


@pytest.mark.parametrize("content", [None, "#!/bin/sh\nexit 0\n"])
def test_folder_or_file_that_cannot_be_run(run, tmp_path, content):
    program = tmp_path / "program"
    program.mkdir() if content is None else program.write_text(content)
    with pytest.raises(ToolError, match=r"cannot be started.*Permission denied"):
        run(str(program))


# What it gets


def test_arguments_are_not_seen_by_a_shell(run):
    words = ["a b", "$HOME", "*", "", "'\"", "W:7:0:.001", "-c", "é"]
    finished = run(sys.executable, "-c", "import sys; print(sys.argv[1:])", *words)
    assert finished.stdout == (str(words),)


def test_folder_environment_and_empty_input(run, tmp_path):
    finished = run("sh", "-c", 'pwd; echo "$NEW $HOME"; cat', environment={"NEW": "value"})
    assert finished.stdout == (str(tmp_path), f"value {os.environ['HOME']}")


# What it prints


def test_lines_of_both_streams(run):
    lines = []
    finished = run("sh", "-c", "echo out; echo err >&2; printf 'last'", on_line=lines.append)
    assert finished.stdout == ("out", "last")
    assert finished.stderr[0] == "err"
    assert {"out", "err", "last"} <= set(lines)


def test_carriage_returns_end_lines(run):
    finished = run("printf", r"1/3\r2/3\r\n3/3  \n\n\rend")
    assert finished.stdout == ("1/3", "2/3", "3/3", "end")


def test_last_200_lines_are_kept(run):
    count = []
    finished = run("seq", "100000", on_line=count.append)
    assert finished.stdout == tuple(str(number) for number in range(99801, 100001))
    assert len(count) == 100_000


def test_bytes_that_are_no_text_are_replaced(run):
    assert run("printf", r"a\377b\n").stdout == ("a\ufffdb",)


def test_lines_arrive_while_it_runs(run, tmp_path):
    answer = tmp_path / "answer"
    code = f"echo ready; until [ -e {answer} ]; do sleep 0.01; done; echo answered"
    finished = run("sh", "-c", code, on_line=lambda line: answer.touch(), timeout_s=20)
    assert finished.stdout == ("ready", "answered")


def test_a_line_can_end_it(run, tmp_path):
    """As its reader says; what it had written by then has been read."""
    lines = []
    script = "echo one; echo two >&2; echo three; sleep 60; touch ended"
    finished = run("sh", "-c", script, on_line=lambda line: lines.append(line) or line == "three")
    assert finished.returncode == -signal.SIGTERM
    assert set(lines) == {"one", "two", "three"}
    assert not (tmp_path / "ended").exists()


# How long it may run


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"], ids=["obeys", "ignores TERM"])
def test_time_limit_ends_it(run, tmp_path, trap):
    pids = []
    with pytest.raises(ToolError, match=r"did not end within 1 s; command: sh -c .*; stderr: working") as raised:
        run("sh", "-c", f"{trap} echo working >&2; sleep 60; touch ended", timeout_s=1, on_start=pids.append)
    assert raised.value.returncode is None
    assert not psutil.pid_exists(pids[0])
    assert not (tmp_path / "ended").exists()


def test_time_limit_ends_what_it_started(run, tmp_path):
    pids = []
    script = "(sleep 60; touch ended) & echo $!; wait"
    with pytest.raises(ToolError, match="did not end within 1 s"):
        run("sh", "-c", script, timeout_s=1, on_line=lambda line: pids.append(int(line)))
    wait_until_gone(pids[0])
    assert not (tmp_path / "ended").exists()


def test_time_limit_that_is_not_reached(run):
    assert run("sh", "-c", "sleep 0.1; exit 3", timeout_s=100).returncode == 3


# What it uses


@pytest.mark.parametrize("mib", [150, 300])
def test_peak_memory_is_what_it_allocated(run, mib):
    finished = run(sys.executable, "-S", "-c", f"b'x' * ({mib} << 20)")
    assert finished.peak_rss_bytes == pytest.approx(mib * MIB, rel=0.1)


def test_peak_memory_includes_its_children(run):
    finished = run("sh", "-c", f"{sys.executable} -S -c \"b'x' * (200 << 20)\"; true")
    assert finished.peak_rss_bytes == pytest.approx(200 * MIB, rel=0.1)


def test_peak_memory_does_not_include_ours():
    code = """if True:
        import resource, pathlib
        from bart_bridge.tools import process
        ballast = b"x" * (1 << 30)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        print(process.run(["true"], folder=pathlib.Path("/")).peak_rss_bytes)
        print(len(ballast))
    """
    ours, childs, _ = map(int, python(code).communicate()[0].split())
    assert ours > 1024 * MIB
    assert childs < 30 * MIB


def test_times_are_those_of_the_child(run):
    code = "import time\nstart = time.perf_counter()\nwhile time.process_time() < 0.3: pass\ntime.sleep(0.2)"
    finished = run(sys.executable, "-c", f"{code}\nprint(time.process_time(), time.perf_counter() - start)")
    cpu_s, elapsed_s = map(float, finished.stdout[0].split())
    assert finished.cpu_s >= cpu_s * 0.99
    assert finished.elapsed_s >= elapsed_s
    assert finished.cpu_s < finished.elapsed_s


# That it ends with us

PARENT = """if True:
    import pathlib, signal
    from bart_bridge.tools import process
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    folder, announce = pathlib.Path("/"), lambda pid: print(pid, flush=True)
    process.run(["sleep", "100"], folder=folder, on_start=announce, timeout_s=100)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_child_ends_with_its_parent(number):
    with python(PARENT) as parent:
        pid = int(parent.stdout.readline())
        assert psutil.Process(pid).name() == "sleep"
        parent.send_signal(number)
        assert parent.wait(20) == -number
    wait_until_gone(pid)


def test_child_ends_when_a_callback_fails(run, tmp_path):
    pids = []

    def fail(pid):
        pids.append(pid)
        raise LookupError(pid)

    with pytest.raises(LookupError):
        run("sh", "-c", "sleep 5; touch ended", on_start=fail)
    wait_until_gone(pids[0])
    assert not (tmp_path / "ended").exists()


def test_nothing_is_added_to_the_streams_of_the_child(run):
    assert {run("true").stderr for _ in range(100)} == {()}


def test_a_callback_that_fails_is_heard_and_does_not_block_the_child(run):
    with pytest.raises(ZeroDivisionError):
        run("seq", "100000", on_line=lambda line: 1 / 0)


def test_what_a_child_leaves_running_ends_with_it(run):
    finished = run("sh", "-c", "sleep 60 & echo $!")
    wait_until_gone(int(finished.stdout[0]))
    assert finished.elapsed_s < 50


def test_a_signal_without_a_name_is_described_by_its_number(run):
    assert run("sh", "-c", "kill -35 $$").describe() == "was ended by signal 35"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        process.run(["true"], folder=tmp_path / "missing")


def test_a_child_has_the_default_signals(run):
    (line,) = run("grep", "SigIgn", "/proc/self/status").stdout
    assert not int(line.split()[1], 16) & 1 << (signal.SIGPIPE - 1)


def test_a_command_is_ended_even_where_nobody_hears_of_its_start(tmp_path):
    """The launcher's first report breaks where who asked for it was interrupted before."""
    read, write = os.pipe()
    os.close(read)
    command = ["sh", "-c", f"echo $$ > {tmp_path / 'written'}; mv {tmp_path / 'written'} {tmp_path / 'pid'}; sleep 300"]
    argv = [sys.executable, "-I", "-S", str(ROOT / "bart_bridge/tools/_launcher.py"), str(write), *command]
    launcher = subprocess.Popen(argv, stdin=subprocess.PIPE, pass_fds=[write], cwd=tmp_path, start_new_session=True)
    os.close(write)
    deadline_s = time.monotonic() + 60
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    pid = int((tmp_path / "pid").read_text())
    try:
        assert launcher.poll() is None, "it must watch the command until the end"
        launcher.stdin.close()
        launcher.wait(20)
        wait_until_gone(pid)
        assert not psutil.pid_exists(pid)
    finally:
        if psutil.pid_exists(pid):
            os.killpg(pid, signal.SIGKILL)
