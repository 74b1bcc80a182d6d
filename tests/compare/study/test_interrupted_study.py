"""What an interrupted study leaves: the tables of what is finished, and never those of other settings."""

import json
import shutil

import pytest
import yaml

from bart_bridge.errors import InputError
from compare.study import rows
from compare.study.run import run
from compare.study.settings import Study
from tests.compare.conftest import bart_tf_in_process
from tests.compare.study.conftest import TWO_EACH, Interrupting


def interrupt(folder, toolbox, changes=None, at="train"):
    study = Study.model_validate_json(json.dumps(TWO_EACH | (changes or {})))
    with pytest.raises(KeyboardInterrupt):
        run(study, folder, toolbox, Interrupting(at))


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
    assert "- varnet-adam on bart: no result of seed 1, 2.\n" in text
    assert "- varnet-admm on keras-tensorflow: no result of seed 0, 1, 2.\n" in text


def test_tables_of_more_runs_stay_until_all_runs_are_measured(interrupted, toolbox, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    heading, *lines = (folder / "results.csv").read_text().splitlines(keepends=True)
    more = "".join([heading, *lines, *lines])
    (folder / "results.csv").write_text(more)
    interrupt(folder, toolbox, at="reconstruct")  # after the first seed on BART was read once more
    assert (folder / "results.csv").read_text() == more


def test_tables_of_other_settings_are_put_aside(interrupted, toolbox, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    before = (folder / "results.csv").read_bytes()
    interrupt(folder, toolbox, {"training": TWO_EACH["training"] | {"epochs": 4}})
    assert yaml.safe_load((folder / "study.yaml").read_text())["training"]["epochs"] == 4
    (older,) = (folder / "older").iterdir()
    assert sorted(path.name for path in older.iterdir()) == ["choices.json", "curves.csv", "results.csv"]
    assert (older / "results.csv").read_bytes() == before
    with pytest.raises(InputError, match="not the folder of a finished study"):
        rows.read(folder)
