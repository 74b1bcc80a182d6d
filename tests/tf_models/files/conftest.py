"""Small networks, and how an export runs without our code."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tf_models.networks.build import build
from tf_models.networks.modl_original import MoDLOriginal

# Different along x and y, so that nothing can be exchanged.
SIZE_Y, SIZE_X, COILS, SLICES = 8, 10, 3, 2
VARNET = {"iterations": 2, "filters": 3, "kernel_x": 5, "kernel_y": 3, "basis": 5}
MODL = {"iterations": 2, "layers": 3, "filters": 3, "max_cg_iterations": 6}


def network(name):
    """Return a network with random weights."""
    if name == "original":
        return MoDLOriginal({"iterations": 2, "layers": 3, "filters": 4, "max_cg_iterations": 6})
    settings = {
        "varnet": VarNetSettings(**VARNET),
        "modl": ModlSettings(**MODL),
        # The derivative of the steps that it takes, not of the exact solution.
        "modl, unrolled": ModlSettings(**MODL, cg_derivative="unrolled"),
        "modl, many steps": ModlSettings(**{**MODL, "max_cg_iterations": 40}, fixed_lambda=0.2),
    }[name]
    return build(settings, weights.random(settings, 0))


def run_by_c_api(folder, place, *inputs):
    """Run an export with each of some inputs, in a process that has neither TensorFlow's Python nor our code."""
    library = Path(find_spec("tensorflow").origin).with_name("libtensorflow_cc.so.2")
    if not library.exists():
        pytest.skip(f"this TensorFlow has no C API in {library.name}")
    for number, arrays in enumerate(inputs):
        np.savez(place / f"inputs-{number}.npz", **arrays)
    script = Path(__file__).with_name("tensorflow_c_api.py")
    argv = [sys.executable, "-I", str(script), str(library), str(folder), str(len(inputs))]
    finished = subprocess.run(argv, cwd=place, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    outputs = []
    for number in range(len(inputs)):
        with np.load(place / f"outputs-{number}.npz") as arrays:
            outputs.append(dict(arrays))
    return outputs
