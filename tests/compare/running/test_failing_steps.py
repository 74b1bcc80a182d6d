"""Whatever step of an experiment fails, the report of the others is made, and the exit code is 1."""

import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from bart_bridge.files import atomic
from bart_bridge.wording import counted
from compare.results import table as results
from tests.compare.conftest import TINY, bart_script, bart_tf_in_process, drawing_nothing

MODL = "modl on bart"
TRAINING = f"{MODL}: train 3 epochs"
# Of each step: what its BART command has in it, its record, the figures that have nothing to show without it.
STEPS = {
    "cg-sense": (" pics ", "references/cg-sense", set()),
    "untrained": ("initial-images", "runs/modl-bart/initial", set()),
    "training": ("modl-bart/history-stage", "runs/modl-bart/train", {"modl-loss", "modl-memory-train"}),
    "reconstruction": ("apply-images", "runs/modl-bart/apply", set()),
    "timing": (f"modl-bart/{atomic.PREFIX}one-slice-", "runs/modl-bart/infer", {"modl-memory-infer"}),
    "repeated training": ("repeat-1/history-stage", "runs/modl-bart/repeat-1/train", set()),
    "repeated timing": (f"repeat-1/{atomic.PREFIX}one-slice-", "runs/modl-bart/repeat-1/infer", set()),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    content = yaml.safe_load(TINY) | {"engines": ["bart"], "repeats": 2, "inference_calls": 2}
    del content["networks"]["varnet"]
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "out"
    with drawing_nothing():
        said = bart_tf_in_process("compare", config, "-o", folder)
    assert said.returncode == 0, said.stderr
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "out")


@pytest.fixture
def bart_without(tmp_path, toolbox):
    """Make a BART that works, except for commands that have a text in them."""

    def make(*texts):
        cases = "|".join(f'*"{text}"*' for text in texts)
        return bart_script(tmp_path, toolbox, f'case "$0 $*" in {cases}) echo "no luck today" >&2; exit 1;; esac')

    return make


@pytest.fixture
def compare():
    """Run `bart-tf compare` in this process, and return its exit code and what it said."""

    def run(*arguments):
        finished = bart_tf_in_process("compare", *arguments)
        return finished.returncode, finished.stderr

    return run


def forget(folder, *records):
    for record in records:
        (folder / f"{record}.json").unlink()


def figures(folder):
    return {path.stem for path in (folder / "figures").glob("*.png")}


def said_on_page(folder):
    return re.findall(r"<li>(Failed: .*?)</li>", (folder / "index.html").read_text())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("step", STEPS)
def test_each_step_may_fail(step, finished, folder, config, bart_without, compare):
    text, record, lost = STEPS[step]
    forget(folder, record)
    code, said = compare(config, "-o", folder, "--bart", bart_without(text))
    assert code == 1
    assert "no luck today" in said
    assert "Traceback" not in said
    assert "1 step failed" in said
    assert json.loads((folder / f"{record}-failed.json").read_text())["failed"]
    assert any("exited with code 1" in line for line in said_on_page(folder))
    assert "Failed: " in (folder / "tables.md").read_text()
    assert figures(folder) == figures(finished) - lost


@pytest.mark.usefixtures("undrawn")
def test_what_a_failed_baseline_left_before_is_no_result(folder, config, bart_without, compare):
    forget(folder, "references/cg-sense")
    assert (folder / "references" / "cg-sense.cfl").exists()
    compare(config, "-o", folder, "--bart", bart_without(" pics "))
    table = results.read_results(folder)
    of_baseline = table[table.engine == "cg-sense"]
    assert of_baseline.value.isna().all()
    assert of_baseline.definition.str.startswith("n/a: the run failed, bart pics exited with code 1").any()
    assert "Without a result: cg-sense." in (folder / "index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_step_without_bart_may_fail(folder, config, compare):
    """A folder that is not empty stands where the images are to be."""
    forget(folder, "references/zero-filled")
    (folder / "references/zero-filled.cfl").unlink()
    (folder / "references/zero-filled.cfl" / "something").mkdir(parents=True)
    code, said = compare(config, "-o", folder)
    assert code == 1
    assert "zero-filled: reconstruct: FAILED: " in said
    assert "zero-filled" in said_on_page(folder)[0]


@pytest.mark.usefixtures("undrawn")
def test_what_needs_a_failed_training_is_not_run(folder, config, bart_without, compare):
    runs = [f"runs/modl-bart/{name}" for name in ("train", "apply", "infer", "repeat-1/train", "repeat-1/infer")]
    forget(folder, *runs)
    code, said = compare(config, "-o", folder, "--bart", bart_without("history-stage"))
    assert code == 1
    assert "3 done before, 1 failed, 4 not run" in said
    titles = ["reconstruct", "time the reconstruction of a slice once", "train 3 epochs (repeat 1)"]
    for title in titles:
        assert f"{MODL}: {title}: not run: it needs what '{TRAINING}' leaves, which is not there" in said
    assert "No such file" not in said
    assert "no such file" not in said
    table = results.read_results(folder)
    reasons = table[(table.phase == "infer") & (table.metric == "elapsed")].definition
    assert reasons.str.startswith("n/a: not run: it needs").all()
    assert "not run" in (folder / "tables" / "inference-time.md").read_text()
    # The images of an older training are no result of this one.
    assert f"Without a result: {MODL}." in (folder / "index.html").read_text()
    code, said = compare(config, "-o", folder)
    assert code == 0
    assert "5 steps done, 3 done before, 0 failed\n" in said
    assert not said_on_page(folder)


@pytest.mark.usefixtures("undrawn")
def test_a_failed_training_by_keras(tiny, tiny_config, tmp_path, compare):
    """A folder that is not empty stands where the weights are to be."""
    folder = shutil.copytree(tiny[0], tmp_path / "out")
    run = folder / "runs/modl-keras-tensorflow"
    forget(run, "train", "apply", "infer")
    (run / "weights.keras").unlink()
    (run / "weights.keras" / "something").mkdir(parents=True)
    code, said = compare(tiny_config, "-o", folder)
    assert code == 1
    assert "1 failed, 2 not run" in said
    # The same engine has its other network, the same network its other engine.
    table = pd.read_csv(folder / "tables" / "quality.csv", comment="#", keep_default_na=False)
    trained = table[table.weights == "trained"].set_index(["network", "engine"])["PSNR / dB"]
    assert trained["modl", "keras-tensorflow"] == "n/a"
    assert (trained.drop(("modl", "keras-tensorflow")) != "n/a").all()


@pytest.mark.usefixtures("undrawn")
def test_everything_fails(folder, config, bart_without, compare):
    for record in [*folder.glob("runs/**/*.json"), *folder.glob("references/*.json")]:
        record.unlink()
    (folder / "references/zero-filled.cfl").unlink()
    (folder / "references/zero-filled.cfl" / "something").mkdir(parents=True)
    code, said = compare(config, "-o", folder, "--bart", bart_without(" reconet ", " pics "))
    assert code == 1
    assert "0 steps done, 0 done before, 4 failed, 4 not run" in said
    assert figures(folder) == set()
    assert "Without a result: zero-filled, cg-sense, modl on bart." in (folder / "index.html").read_text()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("name", "truncated", "steps"),
    [
        pytest.param("references/zero-filled.cfl", False, 1, marks=pytest.mark.slow),
        ("references/cg-sense.cfl", True, 1),
        ("runs/modl-bart/apply-images.cfl", False, 1),
        ("runs/modl-bart/history.npz", True, 3),  # what follows from a training goes with it
        pytest.param("runs/modl-bart/weights.cfl", False, 3, marks=pytest.mark.slow),
    ],
)
def test_what_is_gone_or_damaged_of_a_finished_step_is_done_again(name, truncated, steps, folder, config, compare):
    if truncated:
        os.truncate(folder / name, 100)
    else:
        (folder / name).unlink()
    code, said = compare(config, "-o", folder)
    assert code == 0, said
    assert Path(name).stem in next(line for line in said.splitlines() if "done again" in line)
    assert f"\n{counted(steps, 'step')} done, {8 - steps} done before, 0 failed\n" in said
    assert "Without a result" not in (folder / "index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_damaged_samples_cost_what_is_read_of_them(folder, config, compare):
    os.truncate(folder / "runs/modl-bart/train.npz", 100)
    code, said = compare(config, "-o", folder)
    assert (code, "nothing to do" in said) == (0, True)
    table = results.read_results(folder)
    chosen = table[(table.phase == "train") & (table.metric == "rss_before_growth") & (table.repeat == 0)]
    assert chosen.definition.tolist() == ["n/a: the samples are missing or damaged"]
    assert figures(folder) >= {"modl-memory-infer"}
    assert "modl-memory-train" not in figures(folder)


def test_a_merge_names_a_damaged_history(folder, config):
    os.truncate(folder / "runs/modl-bart/history.npz", 100)
    said = bart_tf_in_process("jobs", "collect", config, "-o", folder)
    assert said.returncode == 2
    assert "history.npz: cannot be read (" in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("runs/modl-bart/train", ""), ("runs/modl-bart/train", "{}"), ("references/cg-sense", "[]")],
)
def test_a_merge_names_a_damaged_record(name, content, folder):
    (folder / f"{name}.json").write_text(content)
    said = bart_tf_in_process("jobs", "collect", folder)
    assert said.returncode == 2
    assert f"{name}.json: cannot be read as the record of a step (" in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.mark.parametrize("all_of_them", [False, True])
@pytest.mark.usefixtures("undrawn")
def test_baselines_alone_that_fail(config, tmp_path, bart_without, compare, all_of_them):
    path, out = tmp_path / "baselines.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"networks": {}}))
    if all_of_them:
        (out / "references/zero-filled.cfl" / "something").mkdir(parents=True)
    code, said = compare(path, "-o", out, "--bart", bart_without(" pics "))
    assert code == 1
    assert f"{counted(1 + all_of_them, 'step')} failed" in said
    assert figures(out) == set()
    assert len(said_on_page(out)) == 1 + all_of_them


@pytest.mark.usefixtures("undrawn")
def test_a_bart_without_measure(folder, config, bart_without, compare):
    code, _ = compare(config, "-o", folder, "--bart", bart_without(" measure "))
    assert code == 0
    table = results.read_results(folder)
    by_bart = table[table.metric.isin(["psnr_bart", "ssim_bart", "nmse_bart"])]
    assert set(by_bart.definition) == {"n/a: bart measure failed, exit code 1, no luck today"}
    assert by_bart.value.isna().all()
    assert table[table.metric == "psnr"].value.notna().all()
    assert "n/a: bart measure failed" in (folder / "tables" / "quality-bart.md").read_text()
