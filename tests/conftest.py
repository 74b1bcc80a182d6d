"""What the tests of all packages share: the BART they run, a tiny dataset, and reference data where there is any."""

import os
from pathlib import Path

import pytest

from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.errors import ToolError
from bart_bridge.tools.discovery import every_bart
from bart_bridge.tools.toolbox import Toolbox

VERSIONS = ("0.8.00", "0.9.00", "1.0.00")
BARTS = Path(os.environ.get("BART_TF_BARTS") or Path(__file__).resolve().parents[1] / ".barts")


def pytest_configure(config):
    """Refuse benchmarks side by side: pytest-benchmark measures nothing then, and reports success."""
    if config.getoption("benchmark_only", False) and config.getoption("dist", "no") != "no":
        raise pytest.UsageError("--benchmark-only: benchmarks run one after the other; add -n0 for no workers of xdist")


def pytest_xdist_auto_num_workers(config):
    """One worker more than there are cores: a fifth of the time, a test waits for its child processes."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Arrays are tiny here: BART is faster with one thread, above all on a busy machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def toolbox():
    """The BART of this machine; without one the tests fail, they are not skipped."""
    return Toolbox.find()


@pytest.fixture(scope="session", params=VERSIONS)
def toolbox_of_version(request, toolbox):
    """Each version of BART in turn; one that is neither the BART of this machine nor in the folder of BARTs is skipped.

    The folder, `BART_TF_BARTS` or else `.barts`, holds a `bart` in a folder named after each version.
    """
    return _of_version(request.param, toolbox)


@pytest.fixture(scope="session", params=["in use", *(pytest.param(name, marks=pytest.mark.barts) for name in VERSIONS)])
def each_toolbox(request, toolbox):
    """The BART of this machine, and for `make test-barts` each version in turn, see `toolbox_of_version`."""
    return toolbox if request.param == "in use" else _of_version(request.param, toolbox)


def _of_version(version, toolbox):
    if toolbox.version_text == version:
        return toolbox
    try:
        return Toolbox.find(BARTS / version)
    except ToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def bart_with_tensorflow():
    """A BART that runs TensorFlow's graphs; Debian's do not."""
    toolboxes, _ = every_bart()
    for toolbox in toolboxes:
        if toolbox.build_flags.get("TENSORFLOW") == "1":
            return toolbox
    names = ", ".join(f"{toolbox.version_text} at {toolbox.path}" for toolbox in toolboxes) or "none at all"
    return pytest.skip(f"no BART that is built with TENSORFLOW=1 (found {names})")


@pytest.fixture(scope="session")
def dataset_folder(toolbox, tmp_path_factory):
    """A tiny simulated dataset; copy it before changing it."""
    folder = tmp_path_factory.mktemp("simulated") / "dataset"
    simulate(folder, Simulation(size=24, coil_count=3, train=4, validation=2, test=2, seed=1), toolbox)
    return folder


@pytest.fixture(scope="session")
def shared():
    """The folder of reference data, which is not part of the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no reference data at {folder}")
    return folder
