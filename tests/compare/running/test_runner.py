import json
import shutil
import signal
import time

import keras
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml

from bart_bridge.files import cfl, multi_cfl
from compare.results import table as results
from tests.compare.conftest import TINY, bart_script, bart_tf, bart_tf_in_process, start_bart_tf
from tests.helper import relative_difference, to_complex


def test_the_table_is_tidy_and_complete(tiny):
    table, history = results.read_results(tiny[0]), results.read_history(tiny[0])
    assert tuple(table.columns) == results.COLUMNS
    quality = table[table.metric == "psnr"].groupby(["network", "engine", "phase"]).size()
    expected = {("", "zero-filled", "apply"): 2, ("", "cg-sense", "apply"): 2}
    for network in ("varnet", "modl"):
        for engine in ("bart", "keras-tensorflow"):
            expected |= {(network, engine, "initial"): 2, (network, engine, "apply"): 2}
    assert quality.to_dict() == expected
    measured = table[table.metric.isin(["elapsed", "cpu", "peak_rss"])]
    assert len(measured) == 3 * 4 * 4
    # Networks this small may need less than what starts them.
    too_small = (
        measured.value.isna() & (measured.engine == "bart") & measured.definition.str.startswith("n/a: less than")
    )
    assert ((measured.value > 0) | (too_small & (measured.metric == "peak_rss"))).all()
    parts = table[(table.phase == "train") & table.metric.isin(["elapsed", "setup", "compilation", "training"])]
    parts = parts.pivot_table(index=["network", "engine"], columns="metric", values="value")
    assert len(parts) == 4
    assert (parts.setup + parts.compilation + parts.training).to_numpy() == pytest.approx(parts.elapsed.to_numpy())
    calls = table[table.metric == "inference"].groupby(["network", "engine"]).size()
    assert calls.tolist() == [3] * 4
    # Two batches an epoch; MoDL has one epoch with a single iteration before its two.
    assert history.groupby(["network", "engine"]).size().unique().tolist() == [6, 4]


def test_each_step_has_its_time(tiny):
    """Its child processes, and what lies between them; baselines have no child process of their own."""
    table = results.read_results(tiny[0]).set_index(["network", "engine", "phase", "repeat"])
    steps, children = (table[table.metric == metric].value for metric in ("step", "elapsed"))
    assert len(steps) == len(children) + 2 == 18
    assert (steps.loc[children.index] >= children).all()
    assert (steps > 0).all()


def test_what_cannot_be_read_is_not_available_with_a_reason(tiny):
    table = pd.read_csv(tiny[0] / "results.csv", keep_default_na=False)
    gpu = table[table.metric == "gpu_peak"]
    if "no NVIDIA GPU" not in gpu.definition.iloc[0]:
        pytest.skip("there is an NVIDIA GPU here")
    assert (gpu.value == "n/a").all()


def test_both_engines_start_from_the_same_weights(tiny):
    table = results.read_results(tiny[0])
    initial = table[(table.phase == "initial") & (table.metric == "psnr")]
    by_engine = initial.pivot_table(index=["network", "slice"], columns="engine", values="value")
    assert by_engine["bart"].to_numpy() == pytest.approx(by_engine["keras-tensorflow"].to_numpy(), abs=1e-3)
    losses = results.read_history(tiny[0]).query("epoch == 1 and batch == 1").groupby("network").loss
    assert (losses.max() / losses.min()).max() == pytest.approx(1, abs=1e-4)


@pytest.mark.usefixtures("undrawn")
def test_a_second_run_computes_nothing_and_says_so(tiny, tiny_config, tmp_path):
    folder, first = shutil.copytree(tiny[0], tmp_path / "copy"), tiny[1]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.cfl")}
    second = bart_tf_in_process("compare", tiny_config, "-o", folder)
    assert second.returncode == 0
    assert "18 steps done" in first.stderr
    assert "nothing to do: 18 steps done before" in second.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.cfl")} == before


@pytest.mark.parametrize("engine", ["bart", "keras-tensorflow"])
def test_progress_counts_the_epoch_of_pretraining(tiny, engine):
    lines = tiny[1].stderr.splitlines()
    start = next(number for number, line in enumerate(lines) if f"modl on {engine}: train 3 epochs" in line)
    assert [line.split(",")[0].strip() for line in lines[start + 1 : start + 4]] == ["1 of 3", "2 of 3", "3 of 3"]


@pytest.mark.slow
def test_a_killed_run_continues_with_what_is_missing(tiny, tiny_config, tmp_path):
    out = tmp_path / "out"
    process = start_bart_tf("compare", tiny_config, "-o", out)
    # In the middle of a training by Keras, when everything of BART is done.
    job = out / "runs/varnet-keras-tensorflow/train-job.json"
    while not job.exists():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    assert not (out / "index.html").exists()

    finished = bart_tf("compare", tiny_config, "-o", out)
    assert finished.returncode == 0, finished.stderr
    assert "varnet on bart: train 2 epochs: done before" in finished.stderr
    assert "varnet on keras-tensorflow: train 2 epochs: done before" not in finished.stderr
    pd.testing.assert_frame_equal(quality(out), quality(tiny[0]), rtol=1e-3)


def quality(folder):
    table = results.read_results(folder)
    return table[table.metric.isin(["psnr", "ssim", "nmse", "regularization"])].drop(columns="machine").reset_index()


@pytest.mark.slow
def test_changed_training_repeats_only_what_depends_on_it(tiny, tmp_path):
    out = tmp_path / "out"
    config = tmp_path / "tiny.yaml"
    content = yaml.safe_load(TINY)
    content["engines"] = ["bart"]
    config.write_text(yaml.safe_dump(content))
    assert bart_tf("compare", config, "-o", out).returncode == 0
    content["networks"]["modl"]["training"]["epochs"] = 3
    config.write_text(yaml.safe_dump(content))
    finished = bart_tf("compare", config, "-o", out)
    assert "3 steps done, 7 done before" in finished.stderr


@pytest.mark.slow
def test_repeats_take_turns_with_several_binaries(tmp_path, toolbox):
    """Two BART binaries side by side, each with weights of its own to start from."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "bart").symlink_to(toolbox.path)
    content = yaml.safe_load(TINY) | {"repeats": 3, "repeat_epochs": 1, "inference_calls": 4, "threads": 1}
    content |= {
        "engines": ["bart", "bart-other"],
        "bart_binaries": {"bart-other": "other"},
        "same_initial_weights": False,
    }
    del content["networks"]["varnet"]
    config, out = tmp_path / "tiny.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(content))
    finished = bart_tf("compare", config, "-o", out)
    assert finished.returncode == 0, finished.stderr
    order = [line.split("] ")[1].split(":")[0] for line in finished.stderr.splitlines() if ": train " in line]
    assert order == ["modl on bart", "modl on bart-other"] * 3

    table, history = results.read_results(out), results.read_history(out)
    sizes = table[table.metric == "epoch"].groupby(["engine", "repeat"]).size()
    assert sizes.to_dict() == {(engine, repeat): 1 for engine in ("bart", "bart-other") for repeat in range(3)}
    assert table[table.metric == "inference"].groupby(["engine", "repeat"]).size().unique().tolist() == [2]
    updates = table[table.metric == "updates"].pivot_table(index="repeat", columns="engine", values="value")
    assert updates["bart"].tolist() == [6, 4, 4]
    assert set(history.engine) == {"bart", "bart-other"}
    weights = [
        multi_cfl.read(out / "runs" / f"modl-{engine}" / "initial-weights-all") for engine in ("bart", "bart-other")
    ]
    assert not all(np.array_equal(*pair) for pair in zip(*weights, strict=True))
    tables = [pd.read_csv(out / "tables" / f"ratios-{name}.csv", comment="#") for name in ("time", "memory")]
    ratios = pd.concat(tables).set_index("quantity")
    assert ratios.repeats["seconds per epoch of training"] == 3
    row = ratios.loc["process peak of training"]
    assert row["lowest / 1"] <= row["ratio / 1"] <= row["highest / 1"]
    assert row["ratio / 1"] == pytest.approx(1, abs=0.1)
    assert json.loads((out / "machine.json").read_text())["bart"]["bart-other"]["version"] == toolbox.version_text


@pytest.mark.usefixtures("undrawn")
def test_a_killed_child_leaves_a_record_and_no_number(tmp_path, toolbox):
    """The engine is ended by a signal: its phase has a record that says so, and n/a with the reason in the results."""
    script = bart_script(tmp_path, toolbox, '[ "$1" = reconet ] && [ "$2" = --train ] && kill -9 $$')
    content = yaml.safe_load(TINY) | {"engines": ["bart"]}
    del content["networks"]["varnet"]
    config, out = tmp_path / "tiny.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(content))
    finished = bart_tf_in_process("compare", config, "-o", out, "--bart", script)
    assert finished.returncode == 1
    record = json.loads((out / "runs/modl-bart/train-failed.json").read_text())
    assert record["measurement"]["ending"] == "was ended by SIGKILL"
    assert not (out / "runs/modl-bart/train.json").exists()
    table = results.read_results(out)
    peak = table[(table.phase == "train") & (table.metric == "peak_rss")]
    assert peak.value.isna().all()
    assert peak.definition.tolist() == ["n/a: the run failed, was ended by SIGKILL"]
    assert "n/a: the run failed" in (out / "tables" / "memory.md").read_text()


@pytest.mark.slow
def test_train_alone_is_used_by_a_later_comparison(tmp_path):
    out, config = tmp_path / "out", tmp_path / "tiny.yaml"
    config.write_text(TINY + "engines: [bart]\n")
    trained = bart_tf("train", config, "--network", "modl", "--engine", "bart", "-o", out)
    assert trained.returncode == 0, trained.stderr
    assert cfl.exists(out / "runs/modl-bart/weights")
    assert "modl on bart: train 3 epochs: done before" in bart_tf("compare", config, "-o", out).stderr


def test_train_names_what_there_is(tmp_path, tiny_config):
    finished = bart_tf_in_process("train", tiny_config, "--network", "unet", "--engine", "bart", "-o", tmp_path)
    assert finished.returncode == 2
    assert "no network 'unet' (found: varnet, modl)" in finished.stderr


@pytest.mark.parametrize("network", ["varnet", "modl"])
def test_weights_trained_in_keras_reconstruct_alike_in_bart(tiny, tiny_config, toolbox, network, tmp_path):
    """Shipped in BART's form, and the other way round."""
    from bart_bridge.data.dataset import Dataset
    from bart_bridge.reconet import commands, weights
    from compare.settings.experiment import load
    from tf_models.networks.build import build
    from tf_models.training.network_inputs import network_inputs

    settings = load(tiny_config).networks[network].network
    split = Dataset.open(tiny[0] / "dataset").split("test")
    trained = keras.saving.load_model(tiny[0] / f"runs/{network}-keras-tensorflow/weights.keras", compile=False)
    weights.write(tmp_path / "weights", settings, trained.named_weights())
    toolbox.run(*commands.apply_argv(toolbox, settings, split, tmp_path / "weights", tmp_path / "images")[1:])
    theirs, ours = cfl.read(tmp_path / "images"), cfl.read(tiny[0] / f"runs/{network}-keras-tensorflow/apply-images")
    assert relative_difference(theirs, ours) < 1e-5

    model = build(settings, weights.read(tiny[0] / f"runs/{network}-bart/weights", settings))
    ours = to_complex(model.predict(network_inputs(split), verbose=0))
    theirs = cfl.read(tiny[0] / f"runs/{network}-bart/apply-images").squeeze().T
    assert relative_difference(ours, theirs) < 1e-5


@pytest.mark.slow
def test_the_lean_plan_is_an_engine_of_its_own(tmp_path):
    out, config = tmp_path / "out", tmp_path / "tiny.yaml"
    content = yaml.safe_load(TINY) | {"engines": ["keras-tensorflow", "keras-tensorflow-lean"]}
    del content["networks"]["modl"]
    config.write_text(yaml.safe_dump(content))
    finished = bart_tf("compare", config, "-o", out)
    assert finished.returncode == 0, finished.stderr
    table = results.read_results(out)
    plans = table[table.network == "varnet"].groupby("engine").memory_plan.unique().str[0].to_dict()
    assert plans == {"keras-tensorflow": "plain", "keras-tensorflow-lean": "lean"}
    plain, lean = (out / "runs" / f"varnet-{engine}" for engine in plans)
    assert relative_difference(cfl.read(lean / "apply-images"), cfl.read(plain / "apply-images")) < 1e-5
    # Another plan than that of the training, without a trace in the numbers.
    dataset = ["--dataset", out / "dataset"]
    applied = bart_tf("apply", plain, *dataset, "--memory", "lean", "-o", tmp_path / "applied")
    assert applied.returncode == 0, applied.stderr
    assert '"memory": "lean"' in (tmp_path / "applied" / "apply-job.json").read_text()
    images = cfl.read(tmp_path / "applied" / plain.name)
    assert relative_difference(images, cfl.read(plain / "apply-images")) < 1e-5


@pytest.mark.slow
def test_train_takes_a_memory_plan(tmp_path):
    out, config = tmp_path / "out", tmp_path / "tiny.yaml"
    config.write_text(TINY)
    arguments = ["--network", "varnet", "--memory", "lean", "-o", out, "--engine"]
    trained = bart_tf("train", config, *arguments, "keras-tensorflow")
    assert trained.returncode == 0, trained.stderr
    assert '"memory": "lean"' in (out / "runs/varnet-keras-tensorflow-lean/train-job.json").read_text()
    refused = bart_tf("train", config, *arguments, "bart")
    assert refused.returncode == 2
    assert "--memory: engine must be one of Keras (found: keras-tensorflow), received 'bart'" in refused.stderr
