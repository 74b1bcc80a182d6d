"""A tiny experiment that every test of this folder may read, run once with the real engines."""

import contextlib
import io
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from bart_bridge.errors import ToolError
from bart_bridge.tools.discovery import Wanted, find_version
from compare.cli import main

TINY = """
name: tiny
description: As small as it goes.
dataset:
  simulate: {size: 24, coil_count: 2, train: 4, validation: 2, test: 2, noise: 0.02, reference_size: 6, seed: 3}
networks:
  varnet:
    network: {kind: varnet, iterations: 2, filters: 3, kernel_x: 3, kernel_y: 3, basis: 5}
    training: {learning_rate: 0.01, batch_size: 2, epochs: 2}
  modl:
    network: {kind: modl, iterations: 2, layers: 3, filters: 4}
    training: {learning_rate: 0.005, batch_size: 2, epochs: 2, pretraining_epochs: 1}
inference_calls: 3
"""

ROOT = Path(__file__).resolve().parents[2]
# As on a terminal: what starts tests in the background may have SIGINT ignored.
HANDLES_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
COMMAND = [sys.executable, "-c", f"{HANDLES_SIGINT}; from compare.cli import main; main()"]


def bart_tf(*arguments, **options):
    """Run the command line as a user does."""
    argv = [*COMMAND, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, **options)


def bart_tf_undrawn(*arguments):
    """Run the command line in a process of its own that draws no figures."""
    argv = [sys.executable, "-c", "from tests.compare.undrawn import main; main()", *map(str, arguments)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment)


def start_bart_tf(*arguments):
    """Start the command line, for tests that meet it in the middle."""
    argv = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, what, timeout_s=300):
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"{what} did not happen"
        time.sleep(0.05)


def bart_of(engine):
    """Return the BART of an engine such as `bart-1.0`; a test of one that this machine lacks is skipped."""
    wanted = Wanted.parse(engine.removeprefix("bart-"))
    assert wanted
    try:
        return find_version(wanted)
    except ToolError as error:
        pytest.skip(str(error))


def bart_script(folder, toolbox, *lines):
    """Make `FOLDER/bart`, a script that does something before, or instead of, what BART does."""
    script = folder / "bart"
    script.write_text("\n".join(["#!/bin/sh", *lines, f'exec {toolbox.path} "$@"', ""]))
    script.chmod(0o755)
    return script


def result_rows(network, engine, phase, metric, values, column="repeat", version="1"):
    """Rows of a results table, one for each value, numbered in a column."""
    base = {"network": network, "engine": engine, "phase": phase, "metric": metric, "slice": "", "repeat": 0}
    base |= {"unit": "1", "definition": "", "engine_version": version, "machine": "x"}
    base |= {"engine_build": "", "engine_blas": "", "threads": ""}
    return pd.DataFrame([base | {"value": value, column: number} for number, value in enumerate(values)])


def bart_tf_in_process(*arguments):
    """Run the command line in this process, which has imported everything already; return what `bart_tf` would."""
    argv, output, errors = ["bart-tf", *map(str, arguments)], io.StringIO(), io.StringIO()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", argv)
            with (
                contextlib.redirect_stdout(output),
                contextlib.redirect_stderr(errors),
                pytest.raises(SystemExit) as ended,
            ):
                main()
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
    return subprocess.CompletedProcess(argv, ended.value.code or 0, output.getvalue(), errors.getvalue())


@contextlib.contextmanager
def drawing_nothing():
    """Make figures but do not draw them, which is most of the time of a report: their files are an empty image."""
    from matplotlib.figure import Figure

    from tests.compare.undrawn import undrawn_savefig

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", undrawn_savefig())
        yield


@pytest.fixture
def undrawn():
    """Draw no figure in this test."""
    with drawing_nothing():
        yield


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all workers of pytest-xdist have."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def tiny_config(shared_folder):
    path = shared_folder / "tiny.yaml"
    with FileLock(shared_folder / "tiny.yaml.lock"):
        if not path.exists():
            path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_config, shared_folder):
    """The folder of the finished experiment, and what the command said; one worker runs it, the others wait."""
    folder, said = shared_folder / "tiny" / "out", shared_folder / "tiny.pickle"
    with FileLock(shared_folder / "tiny.lock"):
        if said.exists():
            return folder, pickle.loads(said.read_bytes())
        folder.parent.mkdir()
        finished = bart_tf("compare", tiny_config, "-o", folder)
        assert finished.returncode == 0, finished.stderr
        said.write_bytes(pickle.dumps(finished))
    return folder, finished
