"""A slice with nothing to reconstruct, or nothing to compare with, is refused by every command before anything runs."""

import shutil

import numpy as np
import pytest
import typer.testing
import yaml

from bart_bridge.files import cfl
from compare.cli import app

TINY = {
    "name": "tiny",
    "networks": {"varnet": {"network": {"kind": "varnet", "iterations": 1}, "training": {"epochs": 1}}},
}
STUDY = {
    "name": "study",
    "networks": {"varnet": {"kind": "varnet", "iterations": 1}},
    "training": {"epochs": 1},
    "seeds": [0, 1, 2],
    "optimizers": {"sgd": [{"learning_rate": 0.1}]},
}
REFERENCE = ["--reference", "data/test/reference", "-o", "out"]
COMMANDS = {
    "compare": ["compare", "tiny.yaml", "-o", "out"],
    "train": ["train", "tiny.yaml", "--network", "varnet", "--engine", "bart", "-o", "out"],
    "jobs": ["compare", "tiny.yaml", "--on", "local", "-o", "out"],
    "parity": ["parity", "tiny.yaml"],
    "optimizers": ["optimizers", "study.yaml", "-o", "out"],
    "apply a dataset": ["apply", "run", "--dataset", "data", "-o", "out"],
    "apply files": ["apply", "run", "--kspace", "data/test/kspace", "--coils", "data/test/coils", *REFERENCE],
}


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("coils", 0, "coil sensitivities must not vanish, slice 1 is all zero"),
        ("reference", 0, "a reference must show something, slice 1 is all zero"),
        ("reference", 0.5, "a reference must show something, slice 1 is the same everywhere"),
        ("coils", np.nan, "values must be finite, found NaN or infinity in slice 1"),
        ("reference", np.inf, "values must be finite, found NaN or infinity in slice 1"),
        ("kspace", 0, "k-space must hold a signal, slice 1 is all zero"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_refused(command, name, value, rule, dataset_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(dataset_folder, "data")
    array = np.array(cfl.read(f"data/test/{name}"))
    array[..., 1] = value
    cfl.write(f"data/test/{name}", array)
    for content in (TINY, STUDY):
        text = yaml.safe_dump(content | {"dataset": {"folder": "data"}})
        (tmp_path / f"{content['name']}.yaml").write_text(text)
    result = typer.testing.CliRunner().invoke(app, COMMANDS[command], standalone_mode=False)
    assert str(result.exception) == f"{tmp_path / 'data' / 'test' / name}: {rule}"
    assert result.exception.exit_code == 2
    assert not list(tmp_path.glob("out/**/runs/*"))
    assert not list(tmp_path.glob("out/**/*.cfl"))
