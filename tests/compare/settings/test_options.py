"""Options that contradict others or do nothing beside them are refused by name, by every command."""

import shutil

import numpy as np
import pandas as pd
import pytest
import typer.testing
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from compare.applying import check_acceleration, undersample
from compare.cli import app
from compare.settings.experiment import Experiment, with_memory
from tests.compare.conftest import TINY


def refusal(*arguments):
    """Run a command in this process and return the error that it ends with."""
    result = typer.testing.CliRunner().invoke(app, list(map(str, arguments)), standalone_mode=False)
    assert result.exit_code, result.output
    return str(result.exception)


def bart_tf(*arguments):
    """Run a command in this process and return what it writes."""
    result = typer.testing.CliRunner().invoke(app, list(map(str, arguments)), standalone_mode=False)
    assert result.exit_code == 0, f"{arguments}: {result.exception!r}"
    return result.stdout


@pytest.fixture
def config(tiny_config, tmp_path):
    """An experiment whose engines keep their checkpoints or have none, and have a memory plan in their names."""
    path = tmp_path / "x.yaml"
    path.write_text(tiny_config.read_text() + "engines: [bart, keras-tensorflow, keras-tensorflow-lean]\n")
    return path


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (["simulate", "x", "--pattern", "radial"], "--acceleration=4"),
        (["simulate", "x", "--pattern", "spiral"], "--reference-size=8"),
        (["simulate", "x", "--pattern", "regular"], "--spokes=44"),
        (["simulate", "x"], "--density-compensation"),
        (["simulate", "x"], "--no-density-compensation"),
        (["simulate", "x"], "--nufft=bart"),
        (["import", "cfl", "x", "y"], "--acceleration=4"),
        (["import", "cfl", "x", "y", "--pattern", "mask"], "--reference-size=24"),
        (["import", "fastmri", "x", "y", "--pattern", "regular"], "--seed=0"),
        (["import", "modl-hdf5", "x", "y", "--noise", "0"], "--seed=0"),
        (["import", "fastmri", "x", "y"], "--noise=0.01"),
        (["import", "cfl", "x", "y"], "--average-repetitions"),
        *(
            (["apply", "run", "-o", "y", "--dataset", "x"], f"--{name}=nowhere")
            for name in ("kspace", "coils", "pattern", "reference", "trajectory", "nufft")
        ),
        (["apply", "run", "-o", "y", "--kspace", "x", "--coils", "x"], "--split=test"),
        (["apply", "run", "-o", "y", "--kspace", "x", "--coils", "x"], "--nufft=finufft"),
        (["apply", "run", "-o", "y", "--kspace", "x", "--coils", "x", "--pattern", "x"], "--acceleration=4"),
        *(
            (["profile", "--from", "x"], option)
            for option in ("--tracer=auto", "--repeats=1", "--roofline", "--bart=x", "--engine=bart")
        ),
        (["compare", "CONFIG"], "--jobs=2"),
        (["train", "CONFIG", "--network", "modl", "--engine", "bart"], "--no-resume"),
        (["train", "CONFIG", "--network", "modl", "--engine", "bart"], "--memory=lean"),
        (["train", "CONFIG", "--network", "modl", "--engine", "keras-tensorflow-lean"], "--memory=plain"),
        (["jobs", "status", "FOLDER"], "--output=x"),
    ],
)
def test_an_option_that_does_nothing_is_refused_by_name(command, option, config, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = [{"CONFIG": config, "FOLDER": tiny[0]}.get(word, word) for word in command]
    assert option.partition("=")[0] in refusal(*command, option)
    assert [file.name for file in tmp_path.iterdir()] == [config.name]


@pytest.mark.parametrize(
    "command",
    [
        ["simulate", "x"],
        ["import", "cfl", "x", "y"],
        ["train", "CONFIG", "--network", "modl", "--engine", "keras-tensorflow"],
        ["apply", "run", "-o", "y", "--kspace", "x", "--coils", "x"],
        ["compare", "CONFIG"],
        ["optimizers", "configs/optimizers.yaml"],
        ["profile", "--from", "x"],
        ["jobs", "resume", "CONFIG", "--on", "local"],
    ],
)
def test_quiet_and_verbose_contradict(command, config, pytestconfig, monkeypatch):
    monkeypatch.chdir(pytestconfig.rootpath)
    command = [config if word == "CONFIG" else word for word in command]
    assert "--quiet or --verbose" in refusal(*command, "-q", "-v")


def test_weights_of_tensorflow_1(tmp_path):
    import tensorflow as tf

    variables = {"modl": {"Wts/Layer1/W": [1.0]}, "varnet": {"k1": [1.0]}}
    for name, arrays in variables.items():
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            made = [tf.compat.v1.Variable(values, name=key) for key, values in arrays.items()]
            session.run(tf.compat.v1.variables_initializer(made))
            tf.compat.v1.train.Saver(made).save(session, str(tmp_path / name))
    for network, option in (("modl", "--activation=optox"), ("varnet", "-I=10"), ("varnet", "--gradient=implicit")):
        message = refusal("weights", "from-tf1", tmp_path / network, tmp_path / "x.keras", *option.split("="))
        assert message.startswith({"-I": "--iterations"}.get(option[:2], option.partition("=")[0]))


# Only what is asked for has to run


def test_training_one_engine_needs_no_other(dataset_folder, tmp_path):
    """Of the other engines one is a BART that is not there, and one a backend that may not be installed."""
    content = yaml.safe_load(TINY) | {
        "dataset": {"folder": str(dataset_folder)},
        "engines": ["keras-torch", "bart", "bart-other"],
        "bart_binaries": {"bart-other": "nowhere"},
    }
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content))
    arguments = ["train", tmp_path / "x.yaml", "--network", "varnet", "-o", tmp_path / "out", "--engine"]
    assert "no BART binary at" in refusal(*arguments, "bart-other")
    bart_tf(*arguments, "bart")
    assert [run.name for run in (tmp_path / "out" / "runs").iterdir()] == ["varnet-bart"]


def test_a_memory_plan_is_that_of_one_network(tiny_config):
    content = yaml.safe_load(tiny_config.read_text())
    content["networks"]["modl"]["network"]["cg_derivative"] = "unrolled"
    experiment = Experiment.model_validate(content)
    changed, engine = with_memory(experiment, "varnet", "keras-tensorflow", "lean")
    assert (changed.engines[-1], changed.networks) == (engine, experiment.networks)
    with pytest.raises(InputError, match=r"--memory: .* lean needs cg_derivative 'implicit', 'modl' has 'unrolled'"):
        with_memory(experiment, "modl", "keras-tensorflow", "lean")


# Applying runs


@pytest.mark.usefixtures("undrawn")
def test_runs_of_one_name_both_appear(tiny, tmp_path):
    """One network trained twice, in experiments of other names; and the same beside a copy named as its network."""
    source = tiny[0] / "runs" / "varnet-bart"
    runs = [tmp_path / "a" / "runs" / "varnet-bart", tmp_path / "b" / "runs" / "varnet-bart"]
    for run in runs:
        shutil.copytree(source, run)
    weights = multi_cfl.read(runs[1] / "weights")
    multi_cfl.write(runs[1] / "weights", [1.5 * array for array in weights])
    out = tmp_path / "out"
    arguments = ["--dataset", tiny[0] / "dataset", "--quiet", "-o", out]
    output = bart_tf("apply", *runs, *arguments)
    table = pd.read_csv(out / "quality.csv", keep_default_na=False)
    assert set(zip(table.network, table.engine, strict=True)) == {
        ("", "zero-filled"),
        ("a-varnet", "bart"),
        ("b-varnet", "bart"),
    }
    psnr = table[table.metric == "psnr"].groupby("network").value.mean()
    assert abs(psnr["a-varnet"] - psnr["b-varnet"]) > 0.01
    assert not np.array_equal(cfl.read(out / "a-varnet-bart"), cfl.read(out / "b-varnet-bart"))
    assert "| a-varnet | bart |" in output
    assert "| b-varnet | bart |" in output
    copy = shutil.copytree(source, tmp_path / "varnet")
    output = bart_tf("apply", source, copy, *arguments)
    assert "| varnet-bart | bart |" in output
    assert "| varnet | bart |" in output


def test_a_run_is_not_named_twice(tiny, tmp_path):
    run = tiny[0] / "runs" / "varnet-bart"
    arguments = [run, run / ".." / run.name, "--dataset", tiny[0] / "dataset", "-o", tmp_path / "out"]
    assert f"{run}: the run is named twice" in refusal("apply", *arguments)
    assert not (tmp_path / "out").exists()


def test_a_memory_plan_is_for_runs_of_keras(tiny, tmp_path):
    arguments = ["--dataset", tiny[0] / "dataset", "--memory", "lean", "-o", tmp_path / "out"]
    assert "--memory: Keras has memory plans" in refusal("apply", tiny[0] / "runs" / "varnet-bart", *arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pattern", ["pattern", "no pattern"])
@pytest.mark.parametrize("source", ["dataset", "files"])
def test_undersampled_data_are_not_undersampled_again(source, pattern, tiny, tmp_path):
    dataset = shutil.copytree(tiny[0] / "dataset", tmp_path / "dataset")
    if pattern == "no pattern":
        for file in cfl.files(dataset / "test" / "pattern"):
            file.unlink()
    split = dataset / "test"
    files = ["--kspace", split / "kspace", "--coils", split / "coils"]
    data = ["--dataset", dataset] if source == "dataset" else files
    arguments = [*data, "--acceleration", 2, "-o", tmp_path / "out"]
    message = refusal("apply", tiny[0] / "runs" / "varnet-bart", *arguments)
    assert "--acceleration needs fully sampled k-space" in message
    assert f"{split / 'kspace'} is undersampled in slice 0" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("acceleration", ["nan", "inf", "0", "0.5", "-2"])
def test_an_acceleration_is_a_number_from_1(acceleration, tiny, tmp_path):
    arguments = ["--dataset", tiny[0] / "dataset", "--acceleration", acceleration, "-o", tmp_path / "out"]
    message = refusal("apply", tiny[0] / "runs" / "varnet-bart", *arguments)
    assert f"acceleration must be from 1 to 1000, received {acceleration}" in message


def test_a_fully_sampled_pattern_may_be_replaced(dataset_folder, tmp_path):
    """Fully sampled within zero-padded edges counts as fully sampled, as for an import."""
    folder = shutil.copytree(dataset_folder, tmp_path / "dataset")
    ones = np.ones_like(cfl.read(folder / "test" / "pattern"))
    edges = np.array(ones)
    edges[:, [0, -1]] = 0
    for pattern in (ones, edges):
        cfl.write(folder / "test" / "pattern", pattern)
        kspace = np.ones(cfl.read_dims(folder / "test" / "kspace")) * pattern
        cfl.write(folder / "test" / "kspace", kspace)
        split = Dataset.open(folder).split("test")
        check_acceleration(split, 2)
        split = undersample(split, 2, tmp_path)
        assert np.abs(cfl.read(split.pattern)).mean() == pytest.approx(0.5, abs=0.05)
