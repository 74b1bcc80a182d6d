"""`bart-tf inspect`: a table on standard output, or one line."""

import shlex

from tests import foreign
from tests.compare.cli.test_cli import one_line
from tests.compare.conftest import bart_tf_in_process


def test_the_import_that_is_shown_works(tmp_path):
    truth = foreign.make_truth()
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", range(0, foreign.Y, 2), repetitions=2)
    finished = bart_tf_in_process("inspect", path)
    assert (finished.returncode, finished.stderr) == (0, "")
    rows = dict(line.split("  ", 1) for line in finished.stdout.splitlines())
    assert rows["format"].strip() == "ISMRMRD raw data"
    assert rows["sampled"].strip() == "50.0% (acceleration 2.00)"
    program, *arguments = shlex.split(rows["import"])
    assert program == "bart-tf"
    coils = foreign.write_coils(truth, tmp_path / "coils")
    folder = {"FOLDER": tmp_path / "data"}
    finished = bart_tf_in_process(*[folder.get(argument, argument) for argument in arguments], "--coils", coils)
    assert finished.returncode == 0, finished.stderr
    assert bart_tf_in_process("inspect", tmp_path / "data").stdout.startswith("format           dataset of bart-tf\n")


def test_an_unknown_file_is_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("hello world")
    message = one_line(bart_tf_in_process("inspect", tmp_path / "notes.txt"), 2)
    assert "notes.txt: not recognised (11 bytes that begin with b'hello wo')" in message
