"""A seconds-long experiment, and what must be so of its folder after it was disturbed and resumed."""

import json
import time

import numpy as np
import pandas as pd
import psutil

from compare.results import table as results
from tests.compare.conftest import bart_tf, start_bart_tf

# One thread: the results are the same to the last bit.
SHORT = """
name: short
dataset:
  simulate: {size: 24, coil_count: 2, train: 4, validation: 2, test: 2, noise: 0.02, reference_size: 6, seed: 3}
networks:
  varnet:
    network: {kind: varnet, iterations: 2, filters: 3, kernel_x: 3, kernel_y: 3, basis: 5}
    training: {learning_rate: 0.01, batch_size: 2, epochs: 12}
threads: 1
inference_calls: 1
"""
MEASURED = {"s", "byte", "%", "C", "W"}


def start(config, folder, *options):
    """Start a comparison."""
    return start_bart_tf("compare", config, "-o", folder, *options)


def finish(config, folder):
    """Run a comparison to its end, which must be a good one."""
    finished = bart_tf("compare", config, "-o", folder)
    assert finished.returncode == 0, finished.stderr
    return finished


def find_child(process, *words, timeout_s=120):
    """Wait for a descendant with these words in its command, and return it."""
    end_s = time.monotonic() + timeout_s
    while time.monotonic() < end_s:
        assert process.poll() is None, process.communicate()[1]
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                command = child.cmdline()
            except psutil.Error:
                continue
            if all(any(word in part for part in command) for word in words) and "_launcher.py" not in " ".join(command):
                return child
        time.sleep(0.002)
    raise AssertionError(f"no child with {words}")


def kept_records(folder):
    """Return when each record was written; all of them can be read."""
    found = {}
    for path in [*folder.glob("runs/**/*.json"), *folder.glob("references/*.json")]:
        json.loads(path.read_text())
        if path.stem in {"initial", "train", "apply", "infer", "zero-filled", "cg-sense"}:
            found[path] = path.stat().st_mtime_ns
    return found


def check_equal(folder, undisturbed):
    """Compare everything but times and memory, and see that no file is damaged, missing or left over."""
    tables = []
    for place in (folder, undisturbed):
        table, history = results.read_results(place), results.read_history(place)
        tables.append((table[~table.unit.isin(MEASURED)].reset_index(drop=True), history.drop(columns="seconds")))
    for one, other in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    assert files(folder) == files(undisturbed)
    # The history of BART has times.
    for path in set(undisturbed.glob("runs/**/*.cfl")) - set(undisturbed.glob("runs/**/history-*")):
        assert (folder / path.relative_to(undisturbed)).read_bytes() == path.read_bytes(), path
    for path in folder.rglob("*.npz"):
        with np.load(path) as content:
            assert all(content[name] is not None for name in content.files)
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} - {"jobs"}
