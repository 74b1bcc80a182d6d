"""`choices.json` of a study: whose refusal it names, and what of a damaged file is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from compare.study import report, tuning
from compare.study import settings as study_settings
from compare.study.parts import seed_parts
from tests.compare.conftest import bart_tf_in_process

SAMPLE = Path(__file__).resolve().parents[3] / "reports/samples/optimizers"
FILES = ("study.yaml", "choices.json", "results.csv", "curves.csv")
RATE = {"learning_rate": 1.0}
STUDY = {
    "name": "tiny",
    "dataset": {"simulate": {"size": 24, "train": 4, "validation": 2, "test": 2, "seed": 3}},
    "networks": {"modl": {"kind": "modl"}, "varnet": {"kind": "varnet"}},
    "training": {"batch_size": 2, "epochs": 1},
    "seeds": [0, 1, 2],
    "optimizers": {"ipalm": [RATE], "admm": [RATE]},
}
NO_ADMM = "algorithm: reconet has no ADMM for weights"


@pytest.mark.parametrize("order", [["bart-1.0", "bart-0.8"], ["bart-0.8", "bart-1.0"]])
def test_a_bart_that_refuses_an_algorithm_leaves_it_to_the_others(order, tmp_path, toolbox):
    """Of the two, only BART 1.0 can train MoDL with iPALM; neither has ADMM."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"engines": [*order, "keras-tensorflow"]}))
    study = study_settings.load(tmp_path / "study.yaml")
    toolboxes = {"bart-1.0": replace(toolbox, version=(1, 0, 0)), "bart-0.8": replace(toolbox, version=(0, 8, 0))}
    choice = {"candidates": [RATE], "scores": [0.1], "chosen": RATE, "at_the_edge": False}
    choices = dict.fromkeys(("modl-ipalm", "modl-admm", "varnet-ipalm", "varnet-admm"), choice)

    refusals = tuning.refusals(study, choices, toolboxes)
    assert refusals.keys() == {
        "modl-ipalm on bart-0.8",
        *(f"{network}-admm on {engine}" for network in ("modl", "varnet") for engine in order),
    }
    parts = seed_parts(study, tmp_path, choices, refusals)
    trained = {(*part.experiment.engines, part.experiment.seed): set(part.experiment.networks) for part in parts}
    for seed in study.seeds:
        assert trained["bart-1.0", seed] == {"modl-ipalm", "varnet-ipalm"}
        assert trained["bart-0.8", seed] == {"varnet-ipalm"}
    assert trained["keras-tensorflow", 1] == choices.keys()

    notes = report._reasons(study, {"reasons": refusals})
    assert f"n/a for modl-admm on bart-1.0: {NO_ADMM}" in notes
    (about_ipalm,) = (note for note in notes if "ipalm" in note)
    assert about_ipalm.startswith("n/a for modl-ipalm on bart-0.8: algorithm: BART 0.8.00 has iPALM only as")


@pytest.mark.parametrize(
    ("engines", "named"),
    [(["bart", "keras-jax"], "bart"), (["bart-1.0", "keras-jax", "bart-0.8"], "bart-1.0, bart-0.8")],
)
def test_a_refusal_without_an_engine_is_that_of_all_barts(engines, named, tmp_path):
    """Earlier versions wrote it so, and trained it on none of them."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"engines": engines}))
    study = study_settings.load(tmp_path / "study.yaml")
    notes = report._reasons(study, {"reasons": {"modl-admm": NO_ADMM}})
    assert notes == [f"n/a for modl-admm on {named}: {NO_ADMM}"]


CHOICE = {"candidates": [RATE], "scores": [0.1], "chosen": RATE, "at_the_edge": False}
NAMES = ", ".join(f"{network}-{name}" for network in ("varnet", "modl") for name in ("sgd", "adam", "ipalm", "admm"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuned_on": None}, "tuned_on: must be a text (received None)"),
        (
            {"tuned_on": "keras-jax"},
            "tuned_on: must be an engine of the study (bart, keras-tensorflow), received 'keras-jax'",
        ),
        ({"choices": [1]}, "choices: must be a block of keys (received [1])"),
        ({"choices": {"varnet-sgd": 3}}, "choices.varnet-sgd: must be a block of keys (received 3)"),
        (
            {"choices": {"varnet-sgd": CHOICE | {"chosen": 1}}},
            "choices.varnet-sgd.chosen: must be a block of keys (received 1)",
        ),
        (
            {"choices": {"varnet-sgd": CHOICE | {"scores": ["x"]}}},
            "choices.varnet-sgd.scores.0: must be a valid number (received 'x')",
        ),
        (
            {"choices": {"varnet-sgd": CHOICE | {"scores": [0.1, 0.2]}}},
            "choices.varnet-sgd: scores: must be 1, one for each candidate, received [0.1, 0.2]",
        ),
        ({"choices": {"sgd": CHOICE}}, f"choices: must be of the study (found: {NAMES}), received 'sgd'"),
        ({"reasons": None}, "reasons: must be a block of keys (received None)"),
        ({"diverged": {"a": 1}}, "diverged.a: must be a text (received 1)"),
        ({"machine": 1}, "machine: must be a text (received 1)"),
    ],
)
def test_damaged_choices_are_refused_in_one_line(changes, message, tmp_path):
    for name in FILES:
        shutil.copy(SAMPLE / name, tmp_path)
    path = tmp_path / "choices.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    finished = bart_tf_in_process("report", tmp_path)
    assert finished.returncode == 2
    assert finished.stderr == f"error: {path}: {message}\n"


@pytest.mark.parametrize("content", [None, "", "[1]", "{}", "[" * 100_000])
def test_choices_that_cannot_be_read_are_refused_in_one_line(content, tmp_path):
    for name in FILES:
        shutil.copy(SAMPLE / name, tmp_path)
    path = tmp_path / "choices.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    finished = bart_tf_in_process("report", tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"error: {path}: ")
    assert finished.stderr.count("\n") == 1
