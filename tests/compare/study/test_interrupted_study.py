"""What an interrupted study leaves: the tables of what is finished, and never those of other settings."""

import re
import shutil

import pytest
import yaml

from bart_bridge.errors import InputError
from compare.study import report, rows
from tests.compare.conftest import bart_tf_in_process
from tests.compare.study.conftest import TWO_EACH, interrupt


def test_an_interrupted_study_has_the_tables_of_what_is_finished(interrupted, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    finished = bart_tf_in_process("report", folder)
    assert finished.returncode == 0, finished.stderr
    _, _, results, curves = rows.read(folder)
    assert results.groupby(["engine", "seed", "optimizer"]).size().to_dict() == {
        ("bart", 0, "adam"): 1,
        ("bart", 0, "ipalm"): 1,
    }
    assert len(curves) == 2 * 3
    text = (folder / "tables.md").read_text()
    assert "## varnet\n\n- The study is not finished. " in text
    assert "- varnet-adam on bart: no result of seed 1, 2.\n" in text
    assert "- varnet-admm on keras-tensorflow: no result of seed 0, 1, 2.\n" in text
    # A single seed has no spread.
    assert re.search(r"\| varnet \| adam \| bart \| \d+\.\d\d \| ", text)
    assert "nan" not in text


def test_tables_of_more_runs_stay_until_all_runs_are_measured(interrupted, toolbox, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    heading, *lines = (folder / "results.csv").read_text().splitlines(keepends=True)
    more = "".join([heading, *lines, *lines])
    (folder / "results.csv").write_text(more)
    interrupt(folder, toolbox, "reconstruct")  # after the first seed on BART was read once more
    assert (folder / "results.csv").read_text() == more


@pytest.mark.parametrize("damaged", ["choices.json", "curves.csv", "results.csv"])
def test_tables_that_cannot_be_read_are_replaced(damaged, interrupted, toolbox, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    before = (folder / damaged).read_text()
    (folder / damaged).write_text("damaged\n" * 1000)
    interrupt(folder, toolbox, "reconstruct")
    assert (folder / damaged).read_text() == before


@pytest.mark.parametrize("readable", [True, False])
def test_tables_of_other_settings_are_put_aside(readable, interrupted, toolbox, tmp_path, capsys):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    report.write(folder)
    if not readable:
        (folder / "study.yaml").write_text("name: [")
    written = ["choices.json", "convergence-varnet.png", "curves.csv", "index.html", "results.csv", "tables.md"]
    before = {name: (folder / name).read_bytes() for name in [*written, "study.yaml"]}
    interrupt(folder, toolbox, "train", {"training": TWO_EACH["training"] | {"epochs": 4}}, verbosity=0)
    assert yaml.safe_load((folder / "study.yaml").read_text())["training"]["epochs"] == 4
    (older,) = (folder / "older").iterdir()
    assert {path.name: path.read_bytes() for path in older.iterdir()} == before
    why = "epochs changed from 3 to 4" if readable else "its settings cannot be read"
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(rf"the tables of another study \([\w.]*{why}\) are in \S*older", said)
    with pytest.raises(InputError, match="has no results of an optimizer study that can be read"):
        rows.read(folder)
    assert not any((folder / name).exists() for name in written)


def test_studies_are_not_merged(interrupted, tmp_path):
    finished = bart_tf_in_process("merge", interrupted, tmp_path, "-o", tmp_path / "merged")
    assert finished.returncode == 2
    assert f"error: {interrupted}: is an optimizer study, merge takes experiments" in " ".join(finished.stderr.split())
