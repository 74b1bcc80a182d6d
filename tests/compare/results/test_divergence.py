"""Experiments in which a training diverges: it ends, every command says which and where, and shows the others."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from compare.results import divergences
from compare.results import table as results
from compare.results.table_files import write_csv
from compare.running.run_files import Run
from compare.settings import experiment as config
from compare.study import report, tuning
from compare.study import rows as study_rows
from compare.study import settings as study_settings
from compare.study.rows import CURVE_COLUMNS, RESULT_COLUMNS, diverged_curves, diverged_rows
from tests.compare.conftest import bart_tf, bart_tf_in_process, drawing_nothing

NETWORK = "{kind: varnet, iterations: 1, filters: 3, kernel_x: 3, kernel_y: 3, basis: 5}"
# Far more epochs than a test waits for: only a training that is ended ends.
EXPERIMENT = f"""
name: partly
dataset:
  simulate: {{size: 24, coil_count: 2, train: 4, validation: 2, test: 2, noise: 0.02, reference_size: 6, seed: 3}}
networks:
  good: {{network: {NETWORK}, training: {{algorithm: adam, learning_rate: 0.01, batch_size: 2, epochs: 2}}}}
  lost: {{network: {NETWORK}, training: {{algorithm: sgd, learning_rate: 1.0e+20, batch_size: 2, epochs: 100000}}}}
engines: [bart]
baselines: []
threads: 1
inference_calls: 1
"""
LOST = "lost on bart: diverged at update 3: the loss is nan"


@pytest.fixture(scope="module")
def partly(tmp_path_factory):
    """The folder of the experiment, and what the command said."""
    folder = tmp_path_factory.mktemp("partly")
    (folder / "config.yaml").write_text(EXPERIMENT)
    with drawing_nothing():
        return folder / "out", bart_tf_in_process("compare", folder / "config.yaml", "-o", folder / "out")


def test_a_dry_run_says_what_diverged_and_what_a_run_does(partly):
    out, _ = partly
    said = bart_tf_in_process("compare", out.parent / "config.yaml", "-o", out, "--dry-run")
    assert said.returncode == 0, said.stderr
    (training,) = [line for line in said.stdout.splitlines() if "] lost on bart: train" in line]
    assert "train 100000 epochs: diverged at update 3: the loss is nan; a run trains again" in training
    later = [line for line in said.stdout.splitlines() if "lost on bart" in line and "not run: it needs what" in line]
    assert len(later) == 2
    assert "no earlier run has done this step" not in said.stdout


def test_the_other_runs_are_complete_and_the_report_says_which_diverged(partly):
    out, finished = partly
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    assert "lost on bart: train 100000 epochs: FAILED: diverged at update 3: the loss is nan" in finished.stderr
    assert not cfl.exists(out / "runs/lost-bart/weights")
    record = json.loads((out / "runs/lost-bart/train-failed.json").read_text())
    assert record["diverged_at_update"] == 3
    table = results.read_results(out)
    lost = table[(table.network == "lost") & (table.phase == "train")]
    assert lost[lost.metric == "diverged_at_update"].value.tolist() == [3.0]
    assert lost[lost.metric == "elapsed"].definition.tolist() == [
        "n/a: the run failed, diverged at update 3: the loss is nan"
    ]
    assert "good" in set(table[(table.phase == "apply") & (table.metric == "psnr")].network)
    assert f"- {LOST}.\n" in (out / "tables.md").read_text()
    page = (out / "index.html").read_text()
    assert f"<li>{LOST}.</li>" in page
    assert "Without a result" not in page


@pytest.mark.usefixtures("undrawn")
def test_the_report_is_made_again(partly, tmp_path):
    out = shutil.copytree(partly[0], tmp_path / "out")
    (out / "index.html").unlink()
    finished = bart_tf_in_process("report", out)
    assert finished.returncode == 1
    assert finished.stderr == f"error: {LOST}\n"
    assert (out / "index.html").read_text() == (partly[0] / "index.html").read_text()


def test_the_difference_names_it(partly):
    finished = bart_tf_in_process("diff", partly[0], partly[0])
    assert finished.returncode == 1
    assert finished.stderr == f"error: A, {LOST}; B, {LOST}\n"
    assert "| good | bart | apply | psnr / dB |" in finished.stdout


@pytest.mark.usefixtures("undrawn")
def test_the_others_are_applied(partly, tmp_path):
    out = partly[0]
    runs = [out / "runs/lost-bart", out / "runs/good-bart"]
    finished = bart_tf_in_process("apply", *runs, "--dataset", out / "dataset", "-o", tmp_path / "out")
    assert finished.returncode == 1
    assert "no trained weights, the training failed: diverged at update 3" in " ".join(finished.stderr.split())
    assert finished.stderr.endswith("error: 1 run failed: lost-bart\n")
    table = pd.read_csv(tmp_path / "out/quality.csv", keep_default_na=False)
    assert set(table.network) == {"", "good"}
    assert "| good | bart |" in finished.stdout


@pytest.mark.usefixtures("undrawn")
def test_tables_of_earlier_versions(partly, tmp_path):
    """There a training went on, and a NaN was an empty cell, which made its column text."""
    out = shutil.copytree(partly[0], tmp_path / "out")
    table = pd.read_csv(out / "results.csv", dtype=str, keep_default_na=False)
    table = table[table.metric != "diverged_at_update"]
    table.loc[
        (table.phase == "apply") & (table.metric.isin(["psnr", "ssim", "nmse"])) & (table.slice == "1"), "value"
    ] = ""
    table.loc[table.metric == "loss", "value"] = ""
    table.to_csv(out / "results.csv", index=False)
    history = pd.read_csv(out / "history.csv", dtype=str, keep_default_na=False)
    history.loc[2:, "loss"] = ["inf", ""]
    history.to_csv(out / "history.csv", index=False)
    finished = bart_tf_in_process("report", out)
    assert finished.returncode == 1, finished.stderr
    assert finished.stderr == "error: good on bart: diverged at update 3: the loss is inf\n"
    assert "| good | bart | trained | not finite | not finite | not finite |" in (out / "tables.md").read_text()
    (out / "history.csv").unlink()
    assert divergences.in_folder(out) == {"good on bart": "psnr is not a number"}
    assert bart_tf_in_process("diff", out, partly[0]).returncode == 1


# What is no reconstruction

USELESS = {
    "zeros": ("scale 0", "is 0 everywhere"),
    "NaN": ("scale nan", "has values that are not finite"),
}


def useless(toolbox, folder, kind):
    """A BART that does its work and writes something else, with exit status 0."""
    script = folder / "bart"
    script.write_text(
        f"""#!/bin/sh
for last; do :; done
case "$1 $2" in
"reconet --apply"|"pics "*)
    {toolbox.path} "$@" || exit 1
    for part in cfl hdr; do mv "$last.$part" "$last-made.$part"; done
    exec {toolbox.path} {USELESS[kind][0]} "$last-made" "$last";;
esac
exec {toolbox.path} "$@"
"""
    )
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("kind", USELESS)
@pytest.mark.usefixtures("undrawn")
def test_what_is_no_reconstruction_is_a_failed_step(partly, toolbox, tmp_path, kind):
    """Untrained and trained, of one slice and all, and of a baseline."""
    content = yaml.safe_load(EXPERIMENT) | {"baselines": ["cg-sense"]}
    del content["networks"]["lost"]
    out = shutil.copytree(partly[0], tmp_path / "out")
    for record in out.glob("runs/good-bart/*.json"):
        if record.stem != "train":
            record.unlink()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    finished = bart_tf_in_process(
        "compare", tmp_path / "config.yaml", "-o", out, "--bart", useless(toolbox, tmp_path, kind)
    )
    assert finished.returncode == 1
    assert "good on bart: train 2 epochs: done before" in finished.stderr
    assert "2 done before, 4 failed" in finished.stderr
    for record in ("references/cg-sense", "runs/good-bart/initial", "runs/good-bart/apply", "runs/good-bart/infer"):
        assert not (out / f"{record}.json").exists()
        failed = json.loads((out / f"{record}-failed.json").read_text())["failed"]
        assert f"the reconstruction of slice 0 {USELESS[kind][1]}" in failed
    table = results.read_results(out)
    measured = table[(table.metric == "psnr") & table.value.notna()]
    assert set(measured.engine) == {"zero-filled"}


@pytest.mark.usefixtures("undrawn")
def test_apply_refuses_it_too(partly, toolbox, tmp_path):
    script = useless(toolbox, tmp_path, "zeros")
    options = ["--dataset", partly[0] / "dataset", "-o", tmp_path / "out", "--bart", script]
    finished = bart_tf_in_process("apply", partly[0] / "runs/good-bart", *options)
    assert finished.returncode == 1
    assert "good-bart: the reconstruction of slice 0 is 0 everywhere" in " ".join(finished.stderr.split())
    assert "| good |" not in finished.stdout
    assert not cfl.exists(tmp_path / "out/good-bart")


def test_keras_is_judged_alike(partly, toolbox, tmp_path):
    from bart_bridge.data.dataset import Dataset
    from compare.engines.create import create
    from compare.measuring.monitor import MeasuredError

    network = config.load(partly[0] / "experiment.yaml").networks["good"].network
    values = weights.initial(network, 0)
    # Finite, as a weights file must be, but what follows overflows.
    weights.write(tmp_path / "w", network, {name: np.full_like(array, 1e38) for name, array in values.items()})
    test = Dataset.open(partly[0] / "dataset").split("test")
    with pytest.raises(MeasuredError, match="the reconstruction of slice 0 has values that are not finite") as raised:
        create("keras-tensorflow", "cpu", toolbox, 1).apply(tmp_path, network, test, tmp_path / "w", tmp_path / "out")
    assert raised.value.measurement.elapsed_s > 0


# The optimizer study

STUDY = f"""
name: study
dataset: {{simulate: {{size: 24, coil_count: 2, train: 4, validation: 2, test: 2, seed: 3}}}}
networks: {{varnet: {NETWORK}}}
training: {{batch_size: 2, epochs: 3}}
seeds: [0, 1, 2]
engines: [keras-tensorflow]
optimizers:
  adam: [{{learning_rate: 0.01}}, {{learning_rate: 1.0e+20}}]
  sgd: [{{learning_rate: 0.1}}, {{learning_rate: 1.0}}]
"""


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    return study_settings.load(tmp_path / "study.yaml")


def test_a_candidate_that_diverged_is_not_chosen(study, tmp_path):
    for name, error in {"adam-0": 0.3, "adam-1": None, "sgd-0": None, "sgd-1": None}.items():
        run = Run(tmp_path / "tuning", f"varnet-{name}", "keras-tensorflow")
        run.folder.mkdir(parents=True)
        if error is not None:
            run.record("train").touch()
            columns = {name: np.full((3, 2), error) for name in ("loss", "seconds", "nmse mag")}
            np.savez(run.folder / "history.npz", **{f"stage1_{name}": values for name, values in columns.items()})
    choices = tuning.choose(study, tmp_path / "tuning")
    assert choices["varnet-adam"]["chosen"] == {"learning_rate": 0.01}
    assert choices["varnet-adam"]["scores"] == [0.3, None]
    assert choices["varnet-sgd"]["chosen"] is None
    assert set(tuning.chosen(study, choices)) == {"varnet-adam"}


@pytest.mark.usefixtures("undrawn")
def test_the_report_of_a_study_names_what_diverged_and_shows_the_others(study, tmp_path):
    rows, curves = [], []
    for seed in study.seeds:
        common = {"network": "varnet", "engine": "keras-tensorflow", "seed": seed}
        for optimizer in ("adam", "sgd"):
            name = f"varnet-{optimizer}"
            trained = {name: study_settings.candidates(study)[f"{name}-0"]}
            experiment = study_settings.experiment(study, seed, ["keras-tensorflow"], trained)
            if (optimizer, seed) == ("sgd", 1):
                failure = {name: {"diverged_at_update": 4, "failed": "diverged at update 4: the loss is nan"}}
                rows += diverged_rows(experiment, failure)
                curves += diverged_curves(experiment, failure)
                continue
            measured = dict.fromkeys(RESULT_COLUMNS[4:-2], 1.0 + seed) | {"gpu_peak_bytes": None}
            rows.append(common | {"optimizer": optimizer} | measured)
            for epoch in (1, 2, 3):
                point = dict.fromkeys(CURVE_COLUMNS[5:10], float(epoch)) | {"error": 1.0 / epoch + seed / 10}
                curves.append(common | {"optimizer": optimizer, "epoch": epoch} | point)
    write_csv(tmp_path / "results.csv", rows, RESULT_COLUMNS)
    write_csv(tmp_path / "curves.csv", curves, CURVE_COLUMNS)
    reason = {"varnet-sgd on keras-tensorflow, seed 1": "diverged at update 4: the loss is nan"}
    choice = {"candidates": [{"learning_rate": 0.1}], "scores": [0.3], "chosen": {"learning_rate": 0.1}}
    choices = {name: choice | {"at_the_edge": False} for name in ("varnet-adam", "varnet-sgd")}
    content = {"machine": "", "bart": "", "choices": choices, "reasons": {}, "diverged": reason}
    (tmp_path / "choices.json").write_text(json.dumps(content))
    finished = bart_tf_in_process("report", tmp_path)
    assert finished.returncode == 1
    assert finished.stderr == f"error: {'; '.join(f'{run}: {why}' for run, why in reason.items())}\n"
    text = (tmp_path / "tables.md").read_text()
    assert "n/a for varnet-sgd on keras-tensorflow, seed 1: diverged at update 4: the loss is nan" in text
    assert "1 of 3 runs of sgd ended without a finite error: it is not compared." in text
    assert "| varnet | sgd | keras-tensorflow | n/a | n/a | n/a |" in text
    assert "| varnet | adam | keras-tensorflow | 2.00 ± 1.00 |" in text
    _, _, table, read_curves = study_rows.read(tmp_path)
    assert table.diverged_at_update.dropna().tolist() == [4.0]
    assert read_curves.error.isna().sum() == 1
    assert report.findings("varnet", table, read_curves, "keras-tensorflow")[0].startswith("1 of 3 runs of sgd")


@pytest.mark.slow
def test_a_study_in_which_one_engine_and_one_candidate_diverge(tmp_path, toolbox):
    """The engine is a real BART that is given another learning rate."""
    script = tmp_path / "bart"
    script.write_text(
        f"""#!/bin/sh
if [ "$1 $2" = "reconet --train" ]; then
    for word; do
        shift
        case "$word" in -T*) word=$(echo "$word" | sed 's/learning-rate=[^,]*/learning-rate=1e20/');; esac
        set -- "$@" "$word"
    done
fi
exec {toolbox.path} "$@"
"""
    )
    script.chmod(0o755)
    content = yaml.safe_load(STUDY) | {"engines": ["bart", "keras-tensorflow"]}
    content["optimizers"] = {"sgd": [{"learning_rate": 0.1}, {"learning_rate": 1e20}]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    finished = bart_tf("optimizers", tmp_path / "study.yaml", "-o", tmp_path / "out", "--bart", script)
    assert finished.returncode == 1
    for seed in (0, 1, 2):
        assert f"varnet-sgd on bart, seed {seed}: diverged at update 3: the loss is nan" in finished.stderr
    text = (tmp_path / "out/tables.md").read_text()
    assert "| varnet | sgd | learning_rate 1e+20 | not finite |" in text
    assert "| varnet | sgd | bart | n/a | n/a | n/a |" in text
    table = study_rows.read(tmp_path / "out")[2]
    assert np.isfinite(table[table.engine == "keras-tensorflow"].psnr).tolist() == [True] * 3
