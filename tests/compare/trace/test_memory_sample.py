"""Table 1 of the committed sample is what its files give."""

import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from compare import published

ROOT = published.FOLDER.parents[1]
SAMPLE = ROOT / "reports" / "samples" / "gpu"


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    """The sample's files of memory, and the table and figure made of them again."""
    folder = tmp_path_factory.mktemp("sample")
    for path in (SAMPLE / "memory.json", *SAMPLE.glob("steps-*.json")):
        shutil.copy(path, folder)
    subprocess.run([sys.executable, ROOT / "tools" / "memory_sample.py", folder], check=True)
    return folder


@pytest.mark.parametrize("name", ["memory.csv", "memory.md"])
def test_the_committed_table_is_what_its_files_give(remade, name):
    assert (remade / name).read_text() == (SAMPLE / name).read_text()


def test_the_figure_is_drawn(remade):
    assert (remade / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_peaks_are_those_of_the_curves_and_never_below_the_level_before():
    for run in json.loads((SAMPLE / "memory.json").read_text())["runs"].values():
        for part in run.values():
            highest = max(level for _, level in part["device_memory_curve"])
            assert part["peak_bytes"] == highest - part["idle_bytes"] >= part["before_last_growth_bytes"]


def test_what_was_not_run_says_so_beside_the_published_figure():
    table = pd.read_csv(SAMPLE / "memory.csv", keep_default_na=False)
    lean = table[(table.plan == "lean") & (table.phase == "inference")]
    assert len(lean) == 4
    assert lean["what ran"].str.startswith("n/a: ").all()
    assert (lean["published: A100 / GB"] != "").all()
