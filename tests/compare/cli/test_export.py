"""`bart-tf export`: what it says, and that the command it shows gives the dataset back."""

import shlex

import pytest

from bart_bridge.data.dataset import Dataset
from tests.bart_bridge.exporters.test_exporters import assert_same, points_pattern, write_dataset
from tests.compare.cli.test_cli import one_line
from tests.compare.conftest import bart_tf_in_process


@pytest.mark.parametrize(("kind", "name"), [("fastmri", "volumes"), ("ismrmrd", "raw.mrd")])
def test_the_command_that_is_shown_gives_the_dataset_back(tmp_path, monkeypatch, kind, name):
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "data")
    finished = bart_tf_in_process("export", kind, "data", name)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"exported: {name} (")
    lines = finished.stderr.splitlines()
    assert lines[0] == "export 6 slices"
    again = next(line for line in lines if line.startswith("import again: "))
    program, *arguments = shlex.split(again.removeprefix("import again: "))
    assert program == "bart-tf"
    finished = bart_tf_in_process(*[{"FOLDER": "again"}.get(argument, argument) for argument in arguments])
    assert finished.returncode == 0, finished.stderr
    assert_same(tmp_path / "data", tmp_path / "again", change=lambda values: values + 0)
    Dataset.open(tmp_path / "again").split("train").validate()


def test_what_a_format_cannot_hold(tmp_path):
    write_dataset(tmp_path / "data", pattern=points_pattern)
    finished = bart_tf_in_process("export", "ismrmrd", tmp_path / "data", tmp_path / "new" / "raw.mrd")
    assert "its pattern has gaps along x" in one_line(finished, 2)
    assert not (tmp_path / "new").exists()
    finished = bart_tf_in_process("export", "fastmri", tmp_path / "data", tmp_path / "out")
    assert finished.returncode == 0
    assert "train.h5 has no mask: fastMRI has one mask of whole lines for all slices of a file" in finished.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dicom", "{data}", "{out}"], "KIND must be one of fastmri, ismrmrd, nifti, png, received 'dicom'"),
        (["dicom", "{out}", "{out}"], "KIND must be one of fastmri, ismrmrd, nifti, png, received 'dicom'"),
        (["png", "{out}", "{out}"], "out.hdr: no such file"),
        (["fastmri", "{out}", "{out}"], "out: not a dataset folder (there is no dataset.yaml in it)"),
        (["ismrmrd", "{data}/test/kspace", "{out}"], "kspace: not a dataset folder (there is no dataset.yaml in it)"),
        (["png", "{data}", "{data}"], "data: already exists; name a new one or remove it"),
    ],
)
def test_wrong_input_is_one_line(tmp_path, arguments, message):
    write_dataset(tmp_path / "data", counts={"test": 1})
    paths = {"data": tmp_path / "data", "out": tmp_path / "out"}
    finished = bart_tf_in_process("export", *[argument.format(**paths) for argument in arguments])
    assert message in one_line(finished, 2)
    assert not (tmp_path / "out").exists()
