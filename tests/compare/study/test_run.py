"""The optimizer study: what it refuses, which engine chooses, and a whole one with the real engines."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from bart_bridge.errors import InputError
from compare.running.run_files import Run
from compare.settings import experiment as config
from compare.study import report, tuning
from compare.study import rows as study_rows
from compare.study import settings as study_settings
from compare.study.parts import seed_parts
from tests.compare.conftest import bart_script, bart_tf
from tests.compare.study.conftest import TINY


def write(path, **changes):
    path.write_text(yaml.safe_dump({**yaml.safe_load(TINY), **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": [0, 1]}, "seeds: .*at least 3"),
        ({"seeds": [0, 1, 1]}, "seeds must differ"),
        ({"optimizers": {"sgd": [{"learning_rate": 1.0}], "adam": []}}, "same number of candidates"),
        ({"optimizers": {"lbfgs": [{}]}}, "optimizers.lbfgs"),
        ({"optimizers": {"sgd": [{"learning_rate": -1.0}]}}, "learning_rate"),
        ({"engines": ["bart"]}, r"engines must have one of Keras, which has all optimizers, received \['bart'\]"),
        ({"engines": []}, r"engines must have one of Keras, .* received \[\]"),
        ({"engines": ["keras-jax", "keras-theano"]}, "engines: no engine 'keras-theano'"),
        ({"speed": 1}, "speed: no such key"),
        # As strict as an experiment.
        ({"seeds": ["0", "1", "2"]}, r"seeds\.0: .*valid integer .*received '0'"),
        ({"seeds": [0, 1, True]}, r"seeds\.2: .*valid integer .*received True"),
        ({"seeds": [0, 1, -1]}, r"seeds\.2: must be greater than or equal to 0 \(received -1\)$"),
        ({"seeds": [-1, 0, 1]}, r"seeds\.0: must be greater than or equal to 0 \(received -1\)$"),
        ({"engines": ["keras-tensorflow", "matlab"]}, "engines: no engine 'matlab'"),
        ({"engines": ["keras-tensorflow", "keras-tensorflow"]}, "engines must differ"),
        ({"networks": {"a/b": {"kind": "varnet"}}}, "letters, digits"),
        ({"networks": {"vn": {"kind": "varnet", "filters": "3"}}}, r"filters: .*valid integer.*received '3'"),
        ({"training": {"epochs": "3"}}, "training.epochs: .*valid integer.*received '3'"),
        ({"training": {"speed": 3}}, "training.speed: no such key"),
        ({"training": {"weight_decay": float("inf")}}, "training.weight_decay: .*finite"),
        ({"optimizers": {"adam": [{"learning_rate": "0.1"}]}}, r"optimizers\.adam\.0: learning_rate: .*received '0.1'"),
        ({"optimizers": {"sgd": [{"algorithm": "adam"}]}}, "algorithm: leave it out, the key in optimizers names it"),
        ({"training": {"adam": None}}, r"training\.adam: must be a block of keys"),
        # What all share is at fault, whatever a candidate has.
        (
            {"training": {"adam": {"beta_1": 2}}, "optimizers": {"adam": [{"adam": {"epsilon": 1e-6}}]}},
            r"training\.adam\.beta_1: must be less than 1 \(received 2\)",
        ),
        ({"training": {"warmup_epochs": 99}}, "training: warmup_epochs must be at most the epochs of a stage"),
        ({"training": {"loss": "mae"}}, r"training\.loss: must be 'mse', 'mad', "),
        (
            {"optimizers": {"Adam": [{}]}},
            r"optimizers\.Adam: must be 'sgd', 'adam', 'ipalm' or 'admm' \(received",
        ),
        ({"optimizers": {"adam": {"beta_1": 0.5}}}, r"optimizers\.adam: must be a list"),
        ({"training": {"loss": {}}}, r"training\.loss: losses need positive weights"),
        ({"training": {"algorithm": "adam"}}, "algorithm: leave it out, the key in optimizers names it"),
        *(
            (
                {"optimizers": {"sgd": [rho]}},
                r"optimizers\.sgd\.0\.admm\.rho: only for the algorithm admm",
            )
            for rho in ({"admm": {"rho": 2.0}}, {"admm_rho": 2.0})
        ),
        (
            {"optimizers": {"sgd": [{"adam": {"beta_1": 0.9}}]}},
            r"optimizers\.sgd\.0\.adam: only for the algorithm adam",
        ),
        (
            {"optimizers": {"sgd": [{}]}, "training": {"adam": {"beta_1": 0.9}}},
            r"training\.adam: only for the algorithm adam, optimizers has sgd",
        ),
        (
            {"engines": ["keras-tensorflow", "bart-0.9", "bart-0.9.00"]},
            "engines: 'bart-0.9' and 'bart-0.9.00' are one BART, name it once",
        ),
        (
            {"optimizers": {"admm": [{"admm": {"rho": 2.0}, "admm_rho": 2.0}]}},
            r"optimizers: admm\.rho and admm_rho are the same setting",
        ),
        ({"dataset": {"simulate": {"spokes": 5}}}, r"dataset\.simulate\.spokes: pattern 'random' is Cartesian"),
    ],
)
def test_unfair_studies_are_refused(changes, message, tmp_path):
    path = write(tmp_path / "study.yaml", **changes)
    with pytest.raises(InputError, match=message) as error:
        study_settings.load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("engines", "first"),
    [
        (["bart", "keras-tensorflow"], "keras-tensorflow"),
        (["bart-1.0", "keras-jax", "keras-tensorflow"], "keras-jax"),
        (["keras-torch-lean", "bart", "keras-jax"], "keras-torch-lean"),
        (["keras-jax-lean"], "keras-jax-lean"),
    ],
)
def test_the_first_keras_engine_chooses(engines, first, tmp_path):
    assert study_settings.load(write(tmp_path / "study.yaml", engines=engines)).tuned_on == first


def test_a_study_says_once_at_its_start_which_builds_are_slow(tmp_path, toolbox):
    """The tuning is done, and then the BART fails, which has `reconet -h` and nothing else of it."""
    says = "[ $1 = version ] && printf 'v0.8.00\\nBLAS=reference BLAS 3.11.0\\n' && exit 0"
    slow = bart_script(tmp_path, toolbox, says, '[ $1 = reconet ] && [ "$2" != -h ] && exit 1')
    config = write(tmp_path / "study.yaml", optimizers={"adam": [{"learning_rate": 0.01}]})
    finished = bart_tf("optimizers", config, "-o", tmp_path / "out", "--bart", slow)
    assert finished.returncode == 1
    assert "varnet-adam on bart: train 3 epochs failed" in finished.stderr
    warning, *others = finished.stderr.splitlines()
    assert warning.startswith(f"warning: BART 0.8.00 at {slow}: this is a slow build: ")
    assert not any(line.startswith("warning: ") for line in others)
    planned = bart_tf("optimizers", config, "-o", tmp_path / "out", "--bart", slow, "--dry-run")
    assert planned.stderr.splitlines() == [warning]


def trained_candidates(study, folder, errors):
    """The runs of the tuning as a training leaves them, from the error of each candidate on the engines given."""
    for (engine, name), error in errors.items():
        run = Run(folder, name, engine)
        run.folder.mkdir(parents=True)
        run.record("train").touch()
        columns = {column: np.full((3, 2), error) for column in ("loss", "seconds", "nmse mag")}
        np.savez(run.folder / "history.npz", **{f"stage1_{column}": values for column, values in columns.items()})


def test_the_choice_is_that_of_the_first_keras_engine_and_its_trainings_are_not_repeated(tmp_path):
    """Also where another Keras engine would choose otherwise."""
    rates = [{"learning_rate": 0.1}, {"learning_rate": 0.2}]
    engines = ["bart", "keras-jax", "keras-tensorflow"]
    study = study_settings.load(write(tmp_path / "study.yaml", engines=engines, optimizers={"sgd": rates}))
    errors = {("keras-jax", "varnet-sgd-0"): 0.3, ("keras-jax", "varnet-sgd-1"): 0.2}
    errors |= {("keras-tensorflow", "varnet-sgd-0"): 0.1, ("keras-tensorflow", "varnet-sgd-1"): 0.4}
    trained_candidates(study, tmp_path / "tuning", errors)
    choices = tuning.choose(study, tmp_path / "tuning")
    assert choices["varnet-sgd"]["scores"] == [0.3, 0.2]
    assert choices["varnet-sgd"]["chosen"] == rates[1]
    parts = list(seed_parts(study, tmp_path, choices, {}))
    folders = {(part.experiment.seed, *part.experiment.engines): part.folder.name for part in parts}
    assert len(parts) == len(folders) == 9
    assert folders[0, "keras-jax"] == "tuning"
    assert folders[0, "keras-tensorflow"] == "seed0-keras-tensorflow"
    assert [folders[seed, "keras-jax"] for seed in (1, 2)] == ["seed1-keras-jax", "seed2-keras-jax"]
    assert parts[1].experiment.networks.keys() == {"varnet-sgd-1"}


def test_a_study_is_read_back_as_it_was_written(tmp_path):
    study = study_settings.load(CONFIGS / "optimizers.yaml")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    assert study_settings.load(tmp_path / "study.yaml") == study


def test_a_candidate_changes_single_rules_of_ipalm():
    study = study_settings.load(CONFIGS / "optimizers.yaml")
    study = study.model_copy(update={"training": {**study.training, "ipalm": {"reduce": 1.5}}})
    rules = study.trained("ipalm", {"ipalm": {"alpha": 0.2}}).ipalm
    assert (rules.reduce, rules.alpha) == (1.5, 0.2)


CONFIGS = Path(__file__).resolve().parents[3] / "configs"


@pytest.mark.parametrize("name", ["optimizers", "optimizers_varnet_knee", "optimizers_modl_brain"])
def test_the_shipped_studies_are_valid_and_have_all_optimizers(name):
    study = study_settings.load(CONFIGS / f"{name}.yaml")
    assert set(study.optimizers) == {"sgd", "adam", "ipalm", "admm"}
    assert len(study.seeds) >= 3
    assert study.optimizers == study_settings.load(CONFIGS / "optimizers.yaml").optimizers


@pytest.mark.parametrize("name", ["published_varnet_optimizers", "published_modl_optimizers"])
def test_the_published_studies_are_valid(name):
    study = study_settings.load(CONFIGS / f"{name}.yaml")
    assert study.name == name
    assert set(study.optimizers) <= {"sgd", "adam", "ipalm", "admm"}
    assert len(study.seeds) >= 3


@pytest.mark.parametrize("name", ["varnet_knee", "modl_brain"])
def test_the_studies_at_published_size_are_those_of_the_experiments(name):
    study, experiment = study_settings.load(CONFIGS / f"optimizers_{name}.yaml"), config.load(CONFIGS / f"{name}.yaml")
    ((network, published),) = experiment.networks.items()
    assert study.networks == {network: published.network}
    assert (study.dataset, study.device) == (experiment.dataset, experiment.device)
    rate = {"learning_rate": published.training.learning_rate}
    assert study.trained(published.training.algorithm, rate) == published.training


@pytest.mark.parametrize(
    ("name", "parts"),
    [("modl-adam", ("modl", "adam")), ("modl-2-adam-0", ("modl-2", "adam")), ("a-b-sgd", ("a-b", "sgd"))],
)
def test_runs_and_candidates_are_named_after_network_and_optimizer(name, parts):
    assert study_rows.parts_of(name) == parts


@pytest.mark.slow
def test_a_whole_study(tmp_path):
    config, out = write(tmp_path / "study.yaml"), tmp_path / "out"
    finished = bart_tf("optimizers", config, "-o", out)
    assert finished.returncode == 0, finished.stderr
    _, choices, table, curves = study_rows.read(out)
    assert choices["reasons"] == {"varnet-admm on bart": "algorithm: reconet has no ADMM for weights"}
    runs = table.groupby(["optimizer", "engine"]).size().to_dict()
    assert runs == {
        (optimizer, engine): 3
        for optimizer in ("adam", "ipalm", "admm")
        for engine in ("bart", "keras-tensorflow")
        if (optimizer, engine) != ("admm", "bart")
    }
    # Both engines do the same from the same weights: the error after every epoch.
    wide = curves.pivot_table(index=["optimizer", "seed", "epoch"], columns="engine", values="error").dropna()
    assert len(wide) == 2 * 3 * 3
    assert wide["bart"].to_numpy() == pytest.approx(wide["keras-tensorflow"].to_numpy(), rel=1e-4)
    keras = curves[curves.engine == "keras-tensorflow"].set_index(["optimizer", "seed", "epoch"])
    assert keras.gradient_evaluations["adam", 0, 3] == 9
    assert keras.gradient_evaluations["ipalm", 0, 3] >= 27
    assert curves[(curves.engine == "bart") & (curves.optimizer == "ipalm")].gradient_evaluations.isna().all()
    state = table[table.engine == "keras-tensorflow"].groupby("optimizer").state_bytes.first()
    # lambda, filters and activations in single precision: 1 + 54 + 15; Adam keeps two copies, iPALM one.
    assert 2 * 70 * 4 < state["adam"] < 2 * 70 * 4 + 100
    assert 70 * 4 < state["ipalm"] < 70 * 4 + 100
    page, tables = (out / "index.html").read_text(), (out / "tables.md").read_text()
    assert "reconet has no ADMM for weights" in page
    assert "| varnet | admm | bart | n/a |" in tables
    assert (out / "convergence-varnet.png").stat().st_size > 0
    # ADMM's residuals are in the curves; Keras trained the first seed only once.
    assert np.isfinite(keras.loc["admm"][["primal_residual", "dual_residual"]]).all(axis=None)
    assert not (out / "seed0-keras-tensorflow").exists()
    again = bart_tf("optimizers", config, "-o", out)
    assert again.returncode == 0
    assert "train 3 epochs: done before" in again.stderr
    assert json.loads((out / "choices.json").read_text()) == choices


@pytest.mark.slow
def test_a_whole_study_on_another_keras_engine(tmp_path):
    """The only Keras engine that is always there besides keras-tensorflow; nothing is trained on that one."""
    rates = [{"learning_rate": 0.01}, {"learning_rate": 0.001}]
    changes = {"engines": ["bart", "keras-tensorflow-lean"], "optimizers": {"adam": rates, "admm": rates}}
    config, out = write(tmp_path / "study.yaml", **changes), tmp_path / "out"
    finished = bart_tf("optimizers", config, "-o", out)
    assert finished.returncode == 0, finished.stderr
    _, choices, table, curves = study_rows.read(out)
    assert choices["tuned_on"] == "keras-tensorflow-lean"
    assert {path.name for path in (out / "tuning/runs").iterdir()} == {
        f"varnet-{optimizer}-{number}-keras-tensorflow-lean" for optimizer in ("adam", "admm") for number in (0, 1)
    }
    assert {path.name for path in out.glob("seed*")} == {
        *(f"seed{seed}-bart" for seed in (0, 1, 2)),
        *(f"seed{seed}-keras-tensorflow-lean" for seed in (1, 2)),
    }
    assert table.groupby(["optimizer", "engine"]).size().to_dict() == {
        ("adam", "bart"): 3,
        ("adam", "keras-tensorflow-lean"): 3,
        ("admm", "keras-tensorflow-lean"): 3,
    }
    wide = curves.pivot_table(index=["optimizer", "seed", "epoch"], columns="engine", values="error").dropna()
    assert len(wide) == 3 * 3
    assert wide["bart"].to_numpy() == pytest.approx(wide["keras-tensorflow-lean"].to_numpy(), rel=1e-4)
    state = table[table.engine == "keras-tensorflow-lean"].groupby("optimizer").state_bytes.first()
    assert 2 * 70 * 4 < state["adam"] < 2 * 70 * 4 + 100
    assert table[table.engine == "bart"].state_bytes.isna().all()
    page, tables = (out / "index.html").read_text(), (out / "tables.md").read_text()
    assert "Trained by keras-tensorflow-lean from seed 0" in tables
    assert "by keras-tensorflow-lean where no engine is named" in page
    assert "In epochs, the fastest to reach it" in tables


def test_settings_that_are_no_numbers_are_shown(tmp_path):
    study = study_settings.load(write(tmp_path / "study.yaml"))
    candidate = {"learning_rate": 0.1 + 1e-9, "epochs": 1234567, "ipalm": {"step": "convex", "reduce_momentum": False}}
    choice = {"candidates": [candidate], "scores": [0.5], "chosen": candidate, "at_the_edge": False}
    (row,) = report.tuning(study, {"choices": {"vn-ipalm": choice}}).rows
    assert row[2] == "learning_rate 0.1, epochs 1234567, ipalm.step convex, ipalm.reduce_momentum False"
