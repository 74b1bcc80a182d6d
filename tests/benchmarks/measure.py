"""Measure BART and Keras on the same work, each in a process of its own with the same number of threads.

What is measured is what the command or the function itself reports: the seconds of each update in the history that both
engines keep, and the peak resident memory that the kernel counts for the process.
"""

import json
import os
import statistics
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bart_bridge.data.dataset import Dataset, Split
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.errors import ToolError
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.network_settings import ModlSettings, Network, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process
from bart_bridge.tools.blas import blas_of
from bart_bridge.tools.discovery import Wanted, find_version
from bart_bridge.tools.toolbox import Toolbox, failure

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2
NETWORKS = {"varnet": VarNetSettings, "modl": ModlSettings}
# The published ones: gradient descent for VarNet, Adam for MoDL.
ALGORITHMS = {"varnet": "sgd", "modl": "adam"}
ENVIRONMENT = {
    "OMP_NUM_THREADS": str(THREADS),
    "TF_NUM_INTRAOP_THREADS": str(THREADS),
    "TF_NUM_INTEROP_THREADS": str(THREADS),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
    "PYTHONPATH": str(ROOT),
}
# Where the system puts two threads of BART on one core, they wait for each other, and a command takes up to seven times
# as long; each with a core of its own, times agree within a few per cent.
BART_ENVIRONMENT = ENVIRONMENT | {"OMP_PROC_BIND": "true"}


@dataclass(frozen=True)
class Case:
    """What is computed: a network of default size but for its iterations, on `batch` slices."""

    kind: str
    size: int = 64
    coils: int = 8
    batch: int = 10
    iterations: int = 10

    @property
    def network(self) -> Network:
        return NETWORKS[self.kind](iterations=self.iterations)

    @property
    def image_bytes(self) -> int:
        """Size of one complex image of each slice."""
        return self.batch * self.size**2 * 8


@dataclass(frozen=True)
class Work:
    """A case with its files: `whole` has all slices of the batch, `single` one slice."""

    case: Case
    folder: Path
    whole: Split
    single: Split
    initial: Path
    toolbox: Toolbox


@contextmanager
def files_of(case, toolbox):
    """Make phantoms and initial weights for a case."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        settings = Simulation(size=case.size, coil_count=case.coils, train=case.batch, validation=1, test=1)
        simulate(folder / "data", settings, toolbox)
        data = Dataset.open(folder / "data")
        weights.write(folder / "initial", case.network, weights.initial(case.network, 0))
        yield Work(case, folder, data.split("train"), data.split("test"), folder / "initial", toolbox)


def bart_training(work, steps):
    """Train for so many updates in one command: seconds of each update, of the rest of the command, and memory."""
    network, trained, history = work.case.network, work.folder / "trained", work.folder / "history"
    training = Training(algorithm=ALGORITHMS[work.case.kind], batch_size=work.case.batch, epochs=steps)
    files = commands.TrainingFiles(work.whole, trained, work.initial, history)
    argv = commands.train_argv(work.toolbox, network, training, steps, files)
    finished = process.run(argv, folder=work.folder, environment=BART_ENVIRONMENT)
    commands.check_trained(argv, finished, network, trained, history)
    steps_s = read_history(history, network)["seconds"].ravel().tolist()
    return {
        "steps_s": steps_s,
        "setup_s": finished.elapsed_s - sum(steps_s),
        "peak_rss_bytes": finished.peak_rss_bytes,
    }


def bart_inference(work, split):
    """Reconstruct a split in one command: its wall seconds and memory."""
    argv = commands.apply_argv(work.toolbox, work.case.network, split, work.initial, work.folder / "images")
    finished = process.run(argv, folder=work.folder, environment=BART_ENVIRONMENT)
    if finished.returncode != 0:
        raise failure(argv, finished)
    return {"command_s": finished.elapsed_s, "peak_rss_bytes": finished.peak_rss_bytes}


def keras_steps(work, phase, memory, steps):
    """Train or infer with Keras in a process of its own; see `tests.benchmarks.keras_steps` for what it returns."""
    job = {
        "kind": work.case.kind,
        "network": work.case.network.model_dump(),
        "folder": str(work.whole.kspace.parent),
        "initial": str(work.initial),
        "phase": phase,
        "memory": memory,
        "steps": steps,
        "threads": THREADS,
    }
    argv = [sys.executable, "-m", "tests.benchmarks.keras_steps", json.dumps(job)]
    finished = process.run(argv, folder=ROOT, environment=ENVIRONMENT)
    if finished.returncode != 0:
        raise ToolError(f"{finished.describe()}", argv[:3], finished.returncode, finished.stderr[-5:])
    return json.loads(finished.stdout[-1])


def ratio(slow_s, fast_s):
    """Return how many times faster the second is: the ratio of the medians, and the range over all pairs."""
    return {
        "median": statistics.median(slow_s) / statistics.median(fast_s),
        "lowest": min(slow_s) / max(fast_s),
        "highest": max(slow_s) / min(fast_s),
    }


def peer():
    """Return the BART to be measured beside Keras: 0.9 with OpenBLAS, which trains fastest (`tests.benchmarks.barts`).

    Where `BART_TOOLBOX_PATH` names one, or there is no such BART (`make barts` fetches it), it is the one in use.
    """
    if os.environ.get("BART_TOOLBOX_PATH"):
        return Toolbox.find()
    try:
        return find_version(Wanted((0, 9), openblas=True))
    except ToolError:
        return Toolbox.find()


def name_of(toolbox):
    """Return the version of a BART and the BLAS that it computes with."""
    return f"BART {toolbox.version_text}, {blas_of(toolbox)}"


def describe_machine(toolbox):
    """Return what a timing depends on."""
    import platform
    from importlib.metadata import version

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "n/a")
    packages = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "threads": THREADS,
        "python": platform.python_version(),
        "bart": name_of(toolbox),
        "load_average_at_start": os.getloadavg()[0],
        **packages,
    }


def of_this_machine(path, toolbox):
    """Return what a file of results has, if it was measured here with the same versions; nothing otherwise."""
    if not path.exists():
        return {}
    stored = json.loads(path.read_text())
    # The load is of a moment.
    same = stored["machine"] | {"load_average_at_start": None}
    return stored if same == describe_machine(toolbox) | {"load_average_at_start": None} else {}


def as_dict(case):
    return asdict(case)
