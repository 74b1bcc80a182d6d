"""Benchmarks run when they are asked for, by `--benchmark-only`, and in no other run."""

import pytest

from tests.benchmarks.measure import ENVIRONMENT, THREADS, Case, files_of


def pytest_collection_modifyitems(config, items):
    if config.getoption("benchmark_only"):
        return
    benchmarks = [item for item in items if "benchmark" in item.fixturenames]
    config.hook.pytest_deselected(items=benchmarks)
    items[:] = [item for item in items if item not in benchmarks]


@pytest.fixture(scope="session", autouse=True)
def _same_threads(request):
    """As many threads for each engine, in this process too, unless other tests follow."""
    with pytest.MonkeyPatch.context() as patch:
        if request.config.getoption("benchmark_only"):
            for name, value in ENVIRONMENT.items():
                patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def tf(_same_threads):
    import tensorflow

    tensorflow.config.threading.set_intra_op_parallelism_threads(THREADS)
    tensorflow.config.threading.set_inter_op_parallelism_threads(THREADS)
    return tensorflow


@pytest.fixture(scope="session", params=["varnet", "modl"])
def work(request, toolbox):
    """Small enough that BART does it in seconds: MoDL's set-up, which grows with its iterations, is the most of it."""
    with files_of(Case(request.param, size=32, coils=4, batch=4, iterations=2), toolbox) as files:
        yield files
