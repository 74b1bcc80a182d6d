"""Check an exported network: reload it in a process without our code, and compare what it computes with Keras."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import ToolError
from bart_bridge.tools import process

# Results of the same operations on the same machine; graphs may be ordered differently.
_TOLERANCE = 1e-5
_END = """
if {"tf_models", "bart_bridge", "compare"} & set(sys.modules):
    sys.exit("our own code was imported")
"""


def compare(
    what: str,
    script: str,
    arguments: Sequence[str | Path],
    inputs: Mapping[str, NDArray[np.float32]],
    expected: NDArray[np.float32],
) -> float:
    """Run a script that reloads an exported network, and compare its result with the one of Keras.

    Args:
        what: What was exported, for the messages.
        script: Python that imports `sys` and `numpy as np`, reads `inputs.npz` of the working directory and writes
            `output.npy`.
        arguments: Its command line.
        inputs: Arrays for `inputs.npz`.
        expected: The result of Keras.

    Returns:
        Relative l2 difference of the results.

    Raises:
        ToolError: The reloaded network fails, or the results differ by more than 1e-5.
    """
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        np.savez(data / "inputs.npz", allow_pickle=False, **inputs)
        argv = [sys.executable, "-I", "-c", script + _END, *map(str, arguments)]
        finished = process.run(argv, folder=data)
        if finished.returncode != 0:
            fault = f"the {what} {finished.describe()} when reloaded"
            raise ToolError(fault, argv[:1], finished.returncode, finished.stderr[-3:])
        reloaded = np.load(data / "output.npy")
    difference = float(np.linalg.norm(reloaded - expected) / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))
    if not difference <= _TOLERANCE:
        raise ToolError(f"the reloaded {what} gives other images (relative difference {difference:.1e})")
    return difference
