"""What the report of an optimizer study says, from tables of known content and from the sample."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from bart_bridge.errors import InputError
from compare.running.run_files import Run
from compare.settings import experiment as config
from compare.study import figures, report
from compare.study import rows as study_rows
from compare.study import settings as study_settings
from tests.compare.conftest import bart_tf, bart_tf_in_process
from tests.compare.study.conftest import TINY

ROOT = Path(__file__).resolve().parents[3]


def made_up(errors, step_s, engine="keras-tensorflow"):
    """Curves and costs of a study with three epochs, from the errors of each optimizer and seed."""
    curves, table = [], []
    for optimizer, seeds in errors.items():
        for seed, values in enumerate(seeds):
            common = {"network": "n", "optimizer": optimizer, "engine": engine, "seed": seed}
            for epoch, error in enumerate(values, start=1):
                axes = {
                    "epoch": epoch,
                    "steps": 4 * epoch,
                    "gradient_evaluations": 10.0 * epoch,
                    "training_s": step_s[optimizer] * epoch,
                }
                curves.append({**common, **axes, "error": error})
            table.append({**common, "psnr": -10 * values[-1], "step_s": step_s[optimizer]})
    return pd.DataFrame(table), pd.DataFrame(curves)


def test_the_text_names_a_winner_only_if_the_seeds_agree():
    errors = {"adam": [[5, 3, 2], [5, 3.1, 2.1]], "sgd": [[6, 5, 4], [6, 5, 4.2]], "admm": [[5, 3.05, 2], [6, 4.5, 3]]}
    table, curves = made_up(errors, {"adam": 0.002, "sgd": 0.001, "admm": 0.004})
    text = report.findings("n", table, curves, "keras-tensorflow")
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
    assert text[4] == (
        "After equal gradient evaluations (30), the least error: the seeds do not tell adam from admm "
        "(adam 2.00000 to 2.10000, admm 2.00000 to 3.00000, sgd 4.00000 to 4.20000)."
    )
    # SGD ends after 0.003 s, where Adam has done one epoch and ADMM none.
    assert text[5] == (
        "After equal seconds of training steps (0.003), the least error: sgd "
        "(sgd 4.00000 to 4.20000, adam 5.00000 to 5.00000)."
    )
    assert "do not tell adam from admm" in text[7]
    costs = "sgd 1.0 to 1.0 ms, adam 2.0 to 2.0 ms, admm 4.0 to 4.0 ms"
    assert text[8] == f"The least time of a step by keras-tensorflow: sgd ({costs})."


@pytest.mark.parametrize("lost", [float("nan"), float("inf")])
def test_an_optimizer_that_lost_a_run_is_named_and_not_compared(lost):
    errors = {"adam": [[5, 3, 2], [5, 3, 2]], "sgd": [[1, 1, 1], [1, lost, lost]]}
    table, curves = made_up(errors, {"adam": 0.002, "sgd": 0.001})
    text = report.findings("n", table, curves, "keras-tensorflow")
    assert text[0] == "1 of 2 runs of sgd ended without a finite error: it is not compared."
    assert text[1] == "The error that every run reached on the validation slices is 2.00000."
    assert text[2].endswith("the fastest to reach it: adam (adam 30 to 30).")
    nothing_left = report.findings("n", *made_up({"sgd": [[lost] * 3]}, {"sgd": 1.0}), "keras-tensorflow")
    assert nothing_left == ["1 of 1 run of sgd ended without a finite error: it is not compared."]


def test_an_optimizer_is_not_compared_at_a_cost_that_one_of_its_seeds_exceeds():
    errors = {"adam": [[5, 3, 2], [5, 3, 2]], "sgd": [[6, 5, 4], [6, 5, 4]]}
    table, curves = made_up(errors, {"adam": 0.003, "sgd": 0.001})
    curves.loc[(curves.optimizer == "adam") & (curves.seed == 1), "training_s"] *= 2
    text = report.findings("n", table, curves, "keras-tensorflow")
    # SGD ends after 0.003 s, where one seed of Adam has done an epoch and the other none.
    assert text[5] == "After equal seconds of training steps (0.003), the least error: sgd (sgd 4.00000 to 4.00000)."


def test_one_seed_does_not_tell_which_optimizer_is_ahead():
    table, curves = made_up({"adam": [[5, 3, 2], [5, 3, 2]], "sgd": [[6, 5, 4]]}, {"adam": 0.002, "sgd": 0.001})
    text = report.findings("n", table, curves, "keras-tensorflow")
    assert text[3] == "In epochs, the fastest to reach it: one seed does not tell (adam 2 to 2, sgd 3 to 3)."
    assert all("one seed does not tell" in sentence for sentence in text[1:])


def test_the_text_is_about_the_engine_that_chose():
    """BART and the other Keras engine rank the optimizers otherwise."""
    slow, fast = [[5, 3, 2], [5, 3, 2]], [[4, 2, 1], [4, 2, 1]]
    times = {"adam": 0.002, "sgd": 0.001}
    parts = [
        made_up({"adam": slow, "sgd": fast}, times, "bart"),
        made_up({"adam": fast, "sgd": slow}, times, "keras-jax"),
        made_up({"adam": slow, "sgd": fast}, times, "keras-tensorflow"),
    ]
    table, curves = (pd.concat(rows) for rows in zip(*parts, strict=True))
    text = report.findings("n", table, curves, "keras-jax")
    assert text[3] == "In epochs, the fastest to reach it: adam (adam 2 to 2, sgd 3 to 3)."
    assert report.findings("n", table, curves, "keras-tensorflow")[3].endswith("sgd (sgd 2 to 2, adam 3 to 3).")


REASON = "n/a: continued after 7 updates"


def test_times_of_a_training_that_continued_are_not_compared():
    errors = {"adam": [[5, 3, 2], [5, 3, 2]], "sgd": [[6, 5, 4], [6, 5, 4]]}
    table, curves = made_up(errors, {"adam": 0.002, "sgd": 0.001})
    late = (table.optimizer == "sgd") & (table.seed == 1)
    table["times"] = [REASON if one else None for one in late]
    table.loc[late, "step_s"] = curves.loc[(curves.optimizer == "sgd") & (curves.seed == 1), "training_s"] = np.nan
    text = report.findings("n", table, curves, "keras-tensorflow")
    assert text[2] == "In seconds of training steps, the fastest to reach it: adam (adam 0.004 to 0.004)."
    assert text[3].endswith("adam (adam 2 to 2, sgd 3 to 3).")
    assert text[8].endswith("adam (adam 2.0 to 2.0 ms).")
    assert text[9] == f"n, sgd on keras-tensorflow, seed 1, times: {REASON}."
    figure = report.convergence("n", curves, ["training_s"])
    assert all(np.isfinite(line.get_xdata()).all() for axes in figure.axes for line in axes.lines)


def test_a_training_that_continued_has_no_times_in_the_curves(tmp_path):
    network = {"network": {"kind": "varnet"}, "training": {"algorithm": "sgd", "learning_rate": 1.0}}
    experiment = config.Experiment(
        name="n", dataset={"folder": tmp_path}, networks={"v-sgd": network}, engines=["keras-tensorflow"]
    )
    run = Run(tmp_path, "v-sgd", "keras-tensorflow")
    run.folder.mkdir(parents=True)
    columns = {"loss": np.ones((2, 4)), "seconds": np.arange(1, 5.0)[None].repeat(2, 0), "nmse mag": np.ones((2, 4))}
    np.savez(run.folder / "history.npz", **{f"stage1_{name}": of for name, of in columns.items()})
    for ending, seconds in (("", [4.0, 8.0]), (", continued after 3 updates", [None, None])):
        run.record("train").write_text(json.dumps({"measurement": {"ending": f"exited with code 0{ending}"}}))
        assert [row["training_s"] for row in study_rows.curve_rows(experiment, tmp_path)] == seconds


def test_the_epochs_of_two_stages_follow_each_other(tmp_path):
    run = Run(tmp_path, "modl-ipalm", "keras-tensorflow")
    run.folder.mkdir(parents=True)
    seconds, evaluations = np.arange(1, 5.0)[None].repeat(2, 0), np.array([[2.0, 4, 6, 8], [10, 12, 14, 16]])
    first = {"loss": np.ones((2, 4)), "seconds": seconds, "gradient_evaluations": evaluations}
    second = {
        "loss": np.zeros((2, 4)),
        "seconds": 3 * seconds,
        "gradient_evaluations": evaluations,
        "lambda_0": seconds,
    }
    columns = {f"stage{number}_{name}": of[name] for number, of in ((1, first), (2, second)) for name in of}
    np.savez(run.folder / "history.npz", **columns)
    history = study_rows.read_history(run)
    assert set(history) == {*first, "step_s"}
    np.testing.assert_array_equal(history["loss"][:, 0], [1, 1, 0, 0])
    np.testing.assert_array_equal(history["gradient_evaluations"][:, -1], [8, 16, 24, 32])
    np.testing.assert_array_equal(history["step_s"][:, 0], [1, 1, 3, 3])


@pytest.mark.parametrize(
    ("seconds", "step_s"),
    [
        ([[9, 10], [1, 2], [1, 5], [0.5, 2]], 1.0),  # graphs are compiled in the first epoch
        ([[9], [2], [3], [3]], 3.0),
        ([[5, 6, 7]], 1.0),
        ([[5]], np.nan),
    ],
)
def test_a_step_is_the_median_epoch_by_its_updates(tmp_path, seconds, step_s):
    run = Run(tmp_path, "varnet-sgd", "keras-tensorflow")
    run.folder.mkdir(parents=True)
    np.savez(run.folder / "history.npz", stage1_seconds=np.array(seconds), stage1_loss=np.ones(np.shape(seconds)))
    np.testing.assert_array_equal(study_rows.read_history(run)["step_s"], np.full(np.shape(seconds), step_s))


def test_equal_cost_is_what_all_have_spent():
    errors = {"adam": [[5, 3, 2]], "sgd": [[6, 5, 4]]}
    _, curves = made_up(errors, {"adam": 2.0, "sgd": 1.0})
    study = study_settings.Study.model_validate({**yaml.safe_load(TINY), "networks": {"n": {"kind": "varnet"}}})
    study = study.model_copy(update={"engines": ["keras-tensorflow"], "seeds": [0]})
    rows = {row[1]: row[3:] for row in report.speed(study, curves).rows}
    # SGD ends at 3 seconds, where Adam has done one epoch.
    assert [cell.split(" ")[0] for cell in rows["adam"]] == ["2.00000", "5.00000", "2.00000"]
    assert [cell.split(" ")[0] for cell in rows["sgd"]] == ["4.00000", "4.00000", "4.00000"]


@pytest.mark.parametrize(("errors", "top"), [([0.2, 1e15, 0.1], 1), ([0.2, 0.3, 0.1], None), ([0.2, 1e15, 5], None)])
def test_errors_above_that_of_an_image_of_zeros_are_cut_off_unless_a_run_ends_there(errors, top):
    _, curves = made_up({"adam": [errors, [0.3, 0.2, 0.1]]}, {"adam": 1.0})
    figure = figures.convergence("n", curves, list(figures.AXES))
    limits = [axes.get_ylim()[1] for axes in figure.axes]
    assert len(set(limits)) == 1
    assert limits[0] == top if top else limits[0] > max(errors)


SAMPLE = ROOT / "reports/samples/optimizers"


@pytest.mark.parametrize(
    ("sample", "configuration"),
    [
        ("optimizers", "optimizers"),
        ("published/varnet-optimizers", "published_varnet_optimizers"),
        ("published/modl-optimizers", "published_modl_optimizers"),
    ],
)
def test_the_samples_are_remade_from_their_numbers(sample, configuration, tmp_path):
    """Also the text: nothing in it comes from elsewhere."""
    folder = ROOT / "reports/samples" / sample
    for name in ("study.yaml", "choices.json", "results.csv", "curves.csv"):
        shutil.copy(folder / name, tmp_path)
    finished = bart_tf("report", tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "tables.md").read_text() == (folder / "tables.md").read_text()
    assert {path.name for path in tmp_path.glob("*.png")} == {path.name for path in folder.glob("*.png")}
    made_with = study_settings.load(folder / "study.yaml")
    assert made_with == study_settings.load(ROOT / "configs" / f"{configuration}.yaml")


@pytest.mark.usefixtures("undrawn")
def test_the_report_names_the_seeds_of_an_unfinished_study(tmp_path):
    for name in ("study.yaml", "choices.json"):
        shutil.copy(SAMPLE / name, tmp_path)
    for name in ("results.csv", "curves.csv"):
        rows = pd.read_csv(SAMPLE / name, dtype=str, keep_default_na=False)
        lost = (rows.network == "modl") & (rows.optimizer == "adam") & (rows.engine == "keras-tensorflow")
        rows[~(lost & (rows.seed == "2"))].to_csv(tmp_path / name, index=False)
    finished = bart_tf_in_process("report", tmp_path)
    assert finished.returncode == 0, finished.stderr
    text = (tmp_path / "tables.md").read_text()
    assert text.count("- modl-adam on keras-tensorflow: no result of seed 2.\n") == 3  # the text, quality and cost
    assert text.count("no result of seed") == 3
    rows = [line for line in text.splitlines() if line.startswith("| modl | adam | keras-tensorflow |")]
    assert len(rows) == 3
    assert not any("n/a" in line for line in (rows[0], rows[2]))
    compared = [line for line in text.splitlines() if line.startswith("- After equal")][3:]
    assert len(compared) == 3
    assert all("adam " in line for line in compared)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("engine", [None, "keras-jax"])
def test_the_report_names_the_engine_that_chose(engine, tmp_path):
    """Studies of earlier versions do not name it: it was keras-tensorflow."""
    for name in ("study.yaml", "choices.json", "results.csv", "curves.csv"):
        content = (SAMPLE / name).read_text()
        (tmp_path / name).write_text(content.replace("keras-tensorflow", engine) if engine else content)
    choices = json.loads((tmp_path / "choices.json").read_text())
    assert choices["tuned_on"] == (engine or "keras-tensorflow")
    if engine is None:
        del choices["tuned_on"]
        (tmp_path / "choices.json").write_text(json.dumps(choices))
    finished = bart_tf_in_process("report", tmp_path)
    assert finished.returncode == 0, finished.stderr
    named = engine or "keras-tensorflow"
    tables, page = (tmp_path / "tables.md").read_text(), (tmp_path / "index.html").read_text()
    assert f"- Trained by {named} from seed 0 for all epochs; the choice holds for all seeds and engines." in tables
    assert f"by {named} where no engine is named" in page
    sample = (SAMPLE / "tables.md").read_text()
    assert [line for line in tables.splitlines() if line.startswith("- In ")] == [
        line for line in sample.splitlines() if line.startswith("- In ")
    ]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "[]", "{}", ""])
@pytest.mark.parametrize("damaged", ["choices.json", "results.csv", "curves.csv", "study.yaml"])
def test_a_damaged_file_of_a_study_is_refused(damaged, content, tmp_path):
    for name in ("study.yaml", "choices.json", "results.csv", "curves.csv"):
        shutil.copy(SAMPLE / name, tmp_path)
    (tmp_path / damaged).write_text(content)
    with pytest.raises(InputError):
        study_rows.read(tmp_path)
