"""`bart-tf import`: its messages, errors and results."""

import inspect
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import atomic
from bart_bridge.importers import KINDS
from compare.cli import imports
from tests import foreign, foreign_fastmri
from tests.compare.cli.test_cli import failing_bart, one_line
from tests.compare.conftest import bart_tf, bart_tf_in_process


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    return foreign.write_fastmri(foreign.make_truth(), tmp_path_factory.mktemp("fastmri") / "file.h5")


def test_a_volume_becomes_a_dataset(volume, tmp_path):
    options = ["--pattern", "regular", "--acceleration", 3, "--reference-size", 6, "--coils", "ecalib -r 20"]
    split = ["--split", "train=0-1", "--split", "test=2"]
    finished = bart_tf("import", "fastmri", volume, tmp_path / "data", *options, *split)
    assert finished.returncode == 0, finished.stderr
    said = "slices: 2 for train, 1 for test; 32 x 36 pixels, 4 coils, 44.4% sampled (acceleration 2.25), a reference"
    assert finished.stdout == f"dataset: {tmp_path / 'data'} ({said})\n"
    lines = finished.stderr.splitlines()
    assert lines[0] == "import 3 slices"
    assert lines[-5].strip() == "3 of 3"
    assert lines[-4:] == [
        "source: imported from fastmri",
        "train: 2 slices of 32 x 36 pixels, 4 coils, 44.4% sampled, a reference",
        "test: 1 slice of 32 x 36 pixels, 4 coils, 44.4% sampled, a reference",
        "peak of k-space: at the centre, magnitude 16.62 (train, slice 1)",
    ]
    assert "\x1b" not in finished.stderr
    dataset = Dataset.open(tmp_path / "data")
    assert dataset.description["import"]["pattern"] == {
        "kind": "regular",
        "acceleration": 3.0,
        "reference_size": 6,
        "seed": 0,
    }
    for name, count in (("train", 2), ("test", 1)):
        dataset.split(name).validate()
        assert dataset.split(name).slice_count == count
    lines = dataset.split("test").arrays()["pattern"][0, 0, :, 0].real
    from_centre = np.arange(foreign.Y) - foreign.Y // 2
    np.testing.assert_array_equal(lines, (from_centre % 3 == 0) | ((from_centre >= -3) & (from_centre < 3)))


@pytest.mark.parametrize(
    ("kind", "write", "said"),
    [
        ("ismrmrd", foreign.write_fastmri, "it is fastMRI, multi-coil: bart-tf import fastmri {} FOLDER"),
        ("fastmri", foreign.write_ismrmrd, "it is ISMRMRD raw data: bart-tf import ismrmrd {} FOLDER"),
        ("cfl", foreign.write_modl, "it is images and coil sensitivities of MoDL: bart-tf import modl-hdf5 {} FOLDER"),
    ],
)
def test_a_file_of_another_kind_says_which(tmp_path, kind, write, said):
    path = write(foreign.make_truth(), tmp_path / "file.h5")
    finished = bart_tf_in_process("import", kind, path, tmp_path / "data")
    assert one_line(finished, 2).endswith(f"; {said.format(path)}")


def test_a_file_of_the_right_kind_or_of_none_gives_no_such_advice(tmp_path):
    path = foreign.write_ismrmrd(foreign.make_truth(), tmp_path / "raw.h5", range(0, 36, 6), repetitions=2)
    (tmp_path / "text.h5").write_text("hello")
    for source, reason in ((path, "or --repetition average"), (tmp_path / "text.h5", "begins with b'hello')")):
        finished = bart_tf_in_process("import", "ismrmrd", source, tmp_path / "data")
        assert one_line(finished, 2).endswith(reason)


def test_what_is_left_out_and_why_stands_on_the_console(tmp_path):
    """The file has a line of noise and one for calibration beside its three slices."""
    truth = foreign.make_truth()
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5")
    coils = foreign.write_coils(truth, tmp_path / "coils")
    finished = bart_tf_in_process("import", "ismrmrd", path, tmp_path / "data", "--coils", coils, "--split", "test=0-1")
    assert finished.returncode == 0, finished.stderr
    assert [line for line in finished.stderr.splitlines() if line.startswith("left out: ")] == [
        "left out: lines flagged ACQ_IS_NOISE_MEASUREMENT: 1",
        "left out: lines for calibration alone (no samples, but ecalib uses them): 1",
        "left out: slices that no split takes: 1",
    ]


def test_the_help_names_every_format():
    kind = inspect.signature(imports.import_, eval_str=True).parameters["kind"].annotation
    assert all(f"'{name}'" in kind.__metadata__[0].help for name in KINDS)


def test_a_folder_of_several_sizes_becomes_several_datasets(tmp_path):
    path = foreign_fastmri.write_volumes(foreign.make_truth(), tmp_path / "brain")
    finished = bart_tf_in_process("import", "fastmri", path, tmp_path / "data", "--match", "each")
    assert finished.returncode == 0, finished.stderr
    assert [line.partition("(")[2] for line in finished.stdout.splitlines()] == [
        "slices: 6 for test; 32 x 36 pixels, 4 coils, 100.0% sampled (acceleration 1), a reference)",
        "slices: 3 for test; 32 x 32 pixels, 4 coils, 100.0% sampled (acceleration 1), a reference)",
        "slices: 3 for test; 32 x 36 pixels, 3 coils, 100.0% sampled (acceleration 1), a reference)",
    ]
    for name in ("64x36-4-coils", "64x32-4-coils", "64x36-3-coils"):
        Dataset.open(tmp_path / "data" / name).split("test").validate()


def test_a_split_that_one_of_several_datasets_cannot_have_leaves_none(tmp_path):
    path = foreign_fastmri.write_volumes(foreign.make_truth(), tmp_path / "brain")
    options = ["--match", "each", "--split", "train=0", "--split", "test=1"]
    finished = bart_tf_in_process("import", "fastmri", path, tmp_path / "data", *options)
    assert "64x32-4-coils: --split 1: there is no '1' (found: 0)" in one_line(finished, 2)
    assert not (tmp_path / "data").exists()


def test_what_was_not_typed_is_not_in_an_error(tmp_path):
    """MoDL's public demo file has one test slice, nothing to train with, and none of the published slices."""
    path = foreign.write_modl(foreign.make_truth(), tmp_path / "demo.hdf5")
    with h5py.File(path, "r+") as file:
        for name in ("trnOrg", "trnCsm", "trnMask"):
            del file[name]
    finished = bart_tf_in_process("import", "modl-hdf5", path, tmp_path / "data")
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.splitlines()[0] == (
        "split: the published one needs trn slices and tst slices 0 to 122, found 0 trn and 3 tst slices; "
        "these become test"
    )
    assert "(slices: 3 for test; 32 x 36 pixels, 4 coils, " in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nifti", "x"], "KIND must be one of"),
        (["fastmri", "missing.h5"], "missing.h5: a fastMRI multi-coil file is needed, no such file"),
        (["modl-hdf5", "{volume}"], "trnOrg, trnCsm, trnMask or tstOrg, tstCsm, tstMask are needed, found: "),
        (["fastmri", "{volume}", "--split", "test=7"], "there is no '7'"),
        (["fastmri", "{volume}", "--slices="], "an argument is empty (--slices)"),
        (["fastmri", "{volume}", "--split=test="], "an argument is empty (--split=test)"),
        (
            ["fastmri", "{volume}", "--pattern", "random", "--acceleration", "0"],
            "--acceleration must be from 1 to 1000, received 0",
        ),
        (
            ["fastmri", "{volume}", "--pattern", "radial"],
            "--pattern must be source, regular, random or a file, received 'radial', and there is no such file",
        ),
        (
            ["fastmri", "{volume}", "--coils", "espirit -r 20"],
            "--coils must be source, ecalib with its options, or a file, received 'espirit -r 20', and there is",
        ),
        (["fastmri", "{volume}", "--coils", "ecalib -x2"], "received '-x2'"),
    ],
)
def test_wrong_input_is_one_line(volume, tmp_path, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    kind, source, *options = (str(argument).format(volume=volume) for argument in arguments)
    finished = bart_tf_in_process("import", kind, source, tmp_path / "out/data", *options)
    assert message in one_line(finished, 2)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_ecalib_that_fails_names_the_slice(volume, tmp_path):
    finished = bart_tf("import", "fastmri", volume, tmp_path / "data", "--bart", failing_bart(tmp_path, "ecalib"))
    line = one_line(finished, 1)
    assert "file.h5/0: bart ecalib exited with code 1" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_ended_leaves_nothing(volume, tmp_path, number):
    """It is ended while it runs a BART that would take minutes."""
    (tmp_path / "out").mkdir()
    script = tmp_path / "bart"
    script.write_text(f'#!/bin/sh\n[ "$1" = ecalib ] && sleep 300\nexec {bart_path()} "$@"\n')
    script.chmod(0o755)
    # As on a terminal: what starts tests in the background may have SIGINT ignored.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{code}; from compare.cli import main; main()", "import", "fastmri"]
    argv = [*command, str(volume), str(tmp_path / "out/data"), "--bart", str(script)]
    child = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not any((tmp_path / "out").iterdir()) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [file.name.startswith(atomic.PREFIX) for file in (tmp_path / "out").iterdir()] == [True]
    os.kill(child.pid, number)
    try:
        _, stderr = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode != 0
    assert "Traceback" not in stderr
    assert list((tmp_path / "out").iterdir()) == []


def bart_path():
    from bart_bridge.tools.toolbox import Toolbox

    return Toolbox.find().path
