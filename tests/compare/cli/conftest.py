"""How the tests of commands run them."""

import signal
import subprocess
import sys

import pytest

from compare.cli import main


@pytest.fixture
def bart_tf_here(monkeypatch, capsys):
    """Run `bart-tf` in this process, which has imported everything already; return what `subprocess.run` would."""
    on_sigterm = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        argv = ["bart-tf", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            main()
        output = capsys.readouterr()
        return subprocess.CompletedProcess(argv, ended.value.code or 0, output.out, output.err)

    yield run
    signal.signal(signal.SIGTERM, on_sigterm)


@pytest.fixture
def command(bart_tf_here):
    """Run `bart-tf weights` in this process; return exit code, output and errors."""

    def run(*arguments):
        finished = bart_tf_here("weights", *arguments)
        return finished.returncode, finished.stdout, finished.stderr

    return run
