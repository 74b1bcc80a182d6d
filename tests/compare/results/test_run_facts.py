import pandas as pd

from compare.results import run_facts
from tests.compare.conftest import result_rows


def rows(engine, version, blas="", machine="CPU, 2 cores, 8 GiB", threads="2", build="OMP=1, CUDA=0"):
    build = build if engine.startswith("bart") else ""
    base = result_rows("varnet", engine, "train", "epoch", [1.0], version=version)
    return base.assign(engine_blas=blas, machine=machine, threads=threads, engine_build=build, device="cpu")


def test_software_names_version_and_blas():
    table = pd.concat(
        [
            rows("bart", "1.0.00", "reference BLAS 3.12.1"),
            rows("cg-sense", "bart pics 1.0.00", "reference BLAS 3.12.1"),
            rows("keras-jax", "3.15.1 with jax 0.11.2"),
        ]
    )
    assert run_facts.software(table) == {
        "bart": "BART 1.0.00, reference BLAS 3.12.1",
        "cg-sense": "BART 1.0.00, reference BLAS 3.12.1",
        "keras-jax": "Keras 3.15.1, jax 0.11.2",
    }


def test_what_all_runs_have_in_common_is_no_difference():
    table = pd.concat([rows("bart", "1.0.00"), rows("cg-sense", "bart pics 1.0.00"), rows("keras-jax", "3.15.1")])
    assert run_facts.differences(table) == {}


def test_versions_blas_and_flags_differ_among_barts_alone():
    table = pd.concat(
        [
            rows("bart-0.8", "0.8.00", "reference BLAS 3.11.0"),
            rows("bart-1.0", "1.0.00", "OpenBLAS 0.3.21", build="OMP=1, CUDA=1"),
            rows("keras-jax", "3.15.1"),
        ]
    )
    assert run_facts.differences(table) == {
        "bart-0.8": "BART 0.8.00, reference BLAS 3.11.0, CUDA=0",
        "bart-1.0": "BART 1.0.00, OpenBLAS 0.3.21, CUDA=1",
    }


def test_a_backend_is_named_without_the_keras_that_all_have():
    table = pd.concat([rows("keras-jax", "3.15.1 with jax 0.11.2"), rows("keras-torch", "3.15.1 with torch 2.6")])
    assert run_facts.differences(table) == {"keras-jax": "jax 0.11.2", "keras-torch": "torch 2.6"}
    table = pd.concat([rows("keras-jax", "3.15.1 with jax 0.11.2"), rows("keras-torch", "3.12.0 with torch 2.6")])
    assert run_facts.differences(table)["keras-torch"] == "Keras 3.12.0, torch 2.6"


def test_threads_and_cards_are_named_where_they_differ():
    table = pd.concat(
        [
            rows("bart", "1.0.00", threads="2"),
            rows("bart", "1.0.00", threads="8"),
            rows("keras-jax", "3.15.1", threads="2", machine="CPU, 2 cores, 8 GiB, NVIDIA H100"),
        ]
    )
    found = run_facts.differences(table)
    assert found["bart"] == "threads: 2 / 8"
    assert found["keras-jax"] == "NVIDIA H100, threads: 2"


def test_results_of_earlier_versions_say_nothing_of_threads():
    table = pd.concat([rows("bart", "1.0.00"), rows("keras-jax", "3.15.1")]).drop(columns="threads")
    assert run_facts.differences(table) == {}
