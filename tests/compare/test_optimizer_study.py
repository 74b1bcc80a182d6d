"""The optimizer study: what it refuses, what its text may say, and a whole one with the real engines."""

import json

import pandas as pd
import pytest
import yaml

from bart_bridge.errors import InputError
from compare import optimizer_report, optimizer_study

from .conftest import bart_tf

TINY = """
name: tiny
dataset:
  simulate: {size: 24, coil_count: 2, train: 6, validation: 2, test: 2, noise: 0.02, reference_size: 6, seed: 3}
networks:
  varnet: {kind: varnet, iterations: 1, filters: 3, kernel_x: 3, kernel_y: 3, basis: 5}
training: {batch_size: 2, epochs: 3}
seeds: [0, 1, 2]
optimizers:
  adam: [{learning_rate: 0.01}]
  ipalm: [{learning_rate: 1.0}]
  admm: [{learning_rate: 0.1}]
"""


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
        ({"engines": ["bart"]}, "engines must have keras-tensorflow"),
        ({"speed": 1}, "speed: Extra inputs"),
    ],
)
def test_unfair_studies_are_refused(changes, message, tmp_path):
    with pytest.raises(InputError, match=message):
        optimizer_study.load(write(tmp_path / "study.yaml", **changes))


def test_the_shipped_study_is_valid_and_has_all_optimizers():
    from pathlib import Path

    study = optimizer_study.load(Path(__file__).resolve().parents[2] / "configs/optimizers.yaml")
    assert set(study.optimizers) == {"sgd", "adam", "ipalm", "admm"}
    assert len(study.seeds) >= 3


def made_up(errors, step_s):
    """Curves and costs of a study with three epochs, from the errors of each optimizer and seed."""
    curves, table = [], []
    for optimizer, seeds in errors.items():
        for seed, values in enumerate(seeds):
            common = {"network": "n", "optimizer": optimizer, "engine": "keras-tensorflow", "seed": seed}
            for epoch, error in enumerate(values, start=1):
                axes = {"epoch": epoch, "gradient_evaluations": 10.0 * epoch, "training_s": step_s[optimizer] * epoch}
                curves.append({**common, **axes, "error": error})
            table.append({**common, "psnr": -10 * values[-1], "step_s": step_s[optimizer]})
    return pd.DataFrame(table), pd.DataFrame(curves)


def test_the_text_names_a_winner_only_if_the_seeds_agree():
    errors = {"adam": [[5, 3, 2], [5, 3.1, 2.1]], "sgd": [[6, 5, 4], [6, 5, 4.2]], "admm": [[5, 3.05, 2], [6, 4.5, 3]]}
    table, curves = made_up(errors, {"adam": 0.002, "sgd": 0.001, "admm": 0.004})
    text = optimizer_report.findings("n", table, curves)
    # The worst end is 4.2: Adam is below it after 2 epochs, ADMM after 2 or 3, SGD after 3.
    assert text[0].endswith("is 4.20000.")
    assert text[1] == (
        "In gradient evaluations, the fastest to reach it: the seeds do not tell adam from admm "
        "(adam 20 to 20, admm 20 to 30, sgd 30 to 30)."
    )
    assert text[2] == (
        "In seconds of training steps, the fastest to reach it: sgd "
        "(sgd 0.003 to 0.003, adam 0.004 to 0.004, admm 0.008 to 0.012)."
    )
    assert "do not tell adam from admm" in text[4]
    assert text[5] == "The least seconds per step: sgd (sgd 1.0 to 1.0 ms, adam 2.0 to 2.0 ms, admm 4.0 to 4.0 ms)."


def test_equal_cost_is_what_all_have_spent():
    errors = {"adam": [[5, 3, 2]], "sgd": [[6, 5, 4]]}
    _, curves = made_up(errors, {"adam": 2.0, "sgd": 1.0})
    study = optimizer_study.Study.model_validate({**yaml.safe_load(TINY), "networks": {"n": {"kind": "varnet"}}})
    study = study.model_copy(update={"engines": ["keras-tensorflow"], "seeds": [0]})
    rows = {row[1]: row[3:] for row in optimizer_report.speed(study, curves).rows}
    # SGD ends at 3 seconds, where Adam has done one epoch.
    assert [cell.split(" ")[0] for cell in rows["adam"]] == ["2.00000", "5.00000", "2.00000"]
    assert [cell.split(" ")[0] for cell in rows["sgd"]] == ["4.00000", "4.00000", "4.00000"]


@pytest.mark.slow
def test_a_whole_study(tmp_path):
    config, out = write(tmp_path / "study.yaml"), tmp_path / "out"
    finished = bart_tf("optimizers", config, "-o", out)
    assert finished.returncode == 0, finished.stderr
    _, choices, table, curves = optimizer_study.read(out)
    assert choices["reasons"] == {"varnet-admm": "algorithm: reconet has no ADMM for weights"}
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
    assert state["adam"] - 2 * 70 * 4 < 100
    assert 70 * 4 < state["ipalm"] < 70 * 4 + 100
    page, tables = (out / "index.html").read_text(), (out / "tables.md").read_text()
    assert "reconet has no ADMM for weights" in page
    assert "| varnet | admm | bart | n/a |" in tables
    again = bart_tf("optimizers", config, "-o", out)
    assert again.returncode == 0
    assert "train 3 epochs: done before" in again.stderr
    assert json.loads((out / "choices.json").read_text()) == choices
