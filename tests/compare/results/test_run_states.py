import pandas as pd
import pytest

from compare.results import run_states
from compare.results.run_states import DIVERGED, FAILED, MISSING, State
from compare.settings.experiment import load
from tests.compare.conftest import TINY, result_rows


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return load(path)


def applied(network, engine):
    return result_rows(network, engine, "apply", "psnr", [30.0, 31.0], column="slice")


BASELINES = [applied("", "zero-filled"), applied("", "cg-sense")]
NO_HISTORY = pd.DataFrame(columns=["network", "engine", "loss"])
RUNS = [(network, engine) for network in ("varnet", "modl") for engine in ("bart", "keras-tensorflow")]


def states(experiment, *rows):
    return run_states.run_states(experiment, pd.concat([*BASELINES, *rows]), NO_HISTORY)


def test_runs_that_went_well_have_no_state(experiment):
    assert states(experiment, *(applied(*run) for run in RUNS)) == {}


def test_failed_diverged_and_missing_runs_are_told_apart(experiment):
    failed = result_rows("varnet", "bart", "train", "epoch", [None]).assign(
        definition="n/a: the run failed, exit code 1"
    )
    ended = result_rows("modl", "bart", "train", "diverged_at_update", [3.0])
    assert states(experiment, applied(*RUNS[1]), failed, ended.assign(definition="diverged at update 3")) == {
        ("varnet", "bart"): State(FAILED, "the run failed, exit code 1"),
        ("modl", "bart"): State(DIVERGED, "diverged at update 3"),
        ("modl", "keras-tensorflow"): State(MISSING, "no result yet"),
    }


def test_a_repeat_that_failed_or_diverged_marks_its_run(experiment):
    failed = result_rows("varnet", "bart", "train", "epoch", [None]).assign(repeat=1)
    ended = result_rows("modl", "bart", "train", "diverged_at_update", [3.0]).assign(repeat=2)
    found = states(
        experiment,
        *(applied(*run) for run in RUNS),
        failed.assign(definition="n/a: the run failed, exit code 1"),
        ended.assign(definition="diverged at update 3"),
    )
    assert {key: state.kind for key, state in found.items()} == {("varnet", "bart"): FAILED, ("modl", "bart"): DIVERGED}


def test_a_baseline_that_is_missing_is_one_of_them(experiment):
    runs = pd.concat([BASELINES[0], *(applied(*run) for run in RUNS)])
    found = run_states.run_states(experiment, runs, NO_HISTORY)
    assert found == {("", "cg-sense"): State(MISSING, "no result yet")}
