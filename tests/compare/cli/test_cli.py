import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from bart_bridge.files import cfl
from compare.cli import app
from tests.compare.cli.command_lines import leaves
from tests.compare.conftest import TINY, bart_tf, bart_tf_in_process


def one_line(finished, exit_code):
    """Check that a command failed with a one-line error, and return this line."""
    lines = finished.stderr.strip().splitlines()
    assert finished.returncode == exit_code, finished.stderr
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in finished.stderr
    return lines[-1]


def test_every_command_shows_an_example():
    names = leaves(typer.main.get_command(app))
    assert len(names) > 20
    for name in names:
        result = CliRunner().invoke(app, [*name.split(), "--help"])
        assert result.exit_code == 0, name
        assert f"Example: bart-tf {name}" in " ".join(result.output.split()), name


def test_doctor_says_which_bart_is_used(toolbox):
    finished = bart_tf("doctor")
    assert finished.returncode == 0
    assert f"{toolbox.version_text} at {toolbox.path}" in finished.stdout


def test_doctor_names_a_compatibility_that_is_ignored(monkeypatch, toolbox):
    monkeypatch.setenv("BART_COMPAT_VERSION", "v0.8.00")
    assert "BART_COMPAT_VERSION=v0.8.00 is not passed to BART" in bart_tf("doctor").stdout


def test_no_bart(tmp_path, tiny_config):
    environment = {**os.environ, "PATH": str(tmp_path), "BART_TOOLBOX_PATH": "", "TOOLBOX_PATH": ""}
    finished = bart_tf("compare", tiny_config, "-o", tmp_path / "out", env=environment)
    assert "BART was not found" in one_line(finished, 1)
    doctor = bart_tf("doctor", env=environment)
    assert doctor.returncode == 1
    assert "BART was not found" in doctor.stdout


def test_the_drop_in_does_not_pass_over_a_bart_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("BART_TOOLBOX_PATH", str(tmp_path))
    finished = bart_tf_in_process("reconet", "--apply", "--network=modl", "kspace", "coils", "weights", "images")
    assert f"no BART binary at {tmp_path}/bart (named by BART_TOOLBOX_PATH)" in one_line(finished, 1)


def failing_bart(folder: Path, tool: str) -> Path:
    """Make a BART that works, except that one tool exits with 1."""
    script = folder / "bart"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = {tool} ] && {{ echo "no luck today" >&2; exit 1; }}\nexec {shutil.which("bart")} "$@"\n'
    )
    script.chmod(0o755)
    return script


def test_a_bart_that_exits_with_1(tmp_path, tiny_config):
    finished = bart_tf("simulate", tmp_path / "data", "--bart", failing_bart(tmp_path, "phantom"))
    line = one_line(finished, 1)
    assert "bart phantom exited with code 1" in line
    assert "no luck today" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_run_that_fails_costs_only_itself(tmp_path, tiny_config):
    out = tmp_path / "out"
    finished = bart_tf("compare", tiny_config, "-o", out, "--bart", failing_bart(tmp_path, "reconet"))
    assert "steps failed" in one_line(finished, 1)
    assert (out / "runs/varnet-keras-tensorflow/apply.json").exists()
    page = (out / "index.html").read_text()
    assert "Without a result: varnet on bart, modl on bart" in page


def test_an_unknown_key_in_the_configuration(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text(TINY + "optimiser: adam\n")
    assert "optimiser: no such key" in one_line(bart_tf_in_process("compare", config), 2)


def test_a_value_of_the_wrong_type(tmp_path):
    config = tmp_path / "x.yaml"
    config.write_text(TINY.replace("iterations: 2", "iterations: two"))
    assert "received 'two'" in one_line(bart_tf_in_process("compare", config), 2)


def test_an_output_folder_that_cannot_be_written(tmp_path, tiny_config):
    (tmp_path / "file").write_text("")
    finished = bart_tf_in_process("compare", tiny_config, "-o", tmp_path / "file" / "out")
    assert str(tmp_path / "file") in one_line(finished, 2)


def test_a_dataset_folder_that_cannot_be_made():
    assert "/dev/full" in one_line(bart_tf_in_process("simulate", "/dev/full/data"), 2)


@pytest.fixture
def data(dataset_folder, tmp_path):
    """A copy of the tiny dataset's test split, to be damaged."""
    return Path(shutil.copytree(dataset_folder / "test", tmp_path / "test"))


def no_header(data):
    (data / "kspace.hdr").unlink()


def truncated(data):
    with (data / "kspace.cfl").open("r+b") as file:
        file.truncate(1000)


def other_coils(data):
    coils = cfl.read(data / "coils")
    cfl.write(data / "coils", coils[:, :-1])


def zero_pattern(data):
    cfl.write(data / "pattern", np.zeros_like(cfl.read(data / "pattern")))


def not_a_number(data):
    kspace = np.array(cfl.read(data / "kspace"))
    kspace[(0,) * kspace.ndim] = np.nan
    cfl.write(data / "kspace", kspace)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_header, "kspace.hdr: no such file"),
        (truncated, "bytes, the file has 1000"),
        (other_coils, "do not match those of"),
        (zero_pattern, "slice 0 is all zero"),
        (not_a_number, "must be finite, found NaN or infinity in slice 0"),
    ],
)
def test_damaged_data(data, tmp_path, tiny, damage, message):
    damage(data)
    files = ["--kspace", data / "kspace", "--coils", data / "coils", "--pattern", data / "pattern"]
    finished = bart_tf_in_process("apply", tiny[0] / "runs/modl-bart", *files, "-o", tmp_path / "out")
    assert message in one_line(finished, 2)
    assert not (tmp_path / "out").exists()
