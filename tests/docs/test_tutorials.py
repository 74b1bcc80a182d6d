"""Every tutorial runs from its first line to its last, in an empty folder, as the notebook that its page makes."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("jupytext", reason="the extra `docs` is not installed: make docs does it")
pytest.importorskip("ipykernel", reason="the extra `docs` is not installed: make docs does it")

import nbclient
import nbformat

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
FIRST = ROOT / "docs" / "tutorials" / "own-data.ipynb"

spec = importlib.util.spec_from_file_location("notebook", ROOT / "tools" / "notebook.py")
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


def run(notebook, folder, monkeypatch):
    """Execute a notebook; return all that its cells wrote."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "runtime"))
    (folder / "work").mkdir()
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder / "work")}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in outputs)


def test_the_notebook_is_the_page_of_today(tmp_path):
    nbformat.write(tool.notebook(FIRST.with_suffix(".md")), tmp_path / FIRST.name)
    assert FIRST.read_text() == (tmp_path / FIRST.name).read_text(), (
        "run: tools/notebook.py docs/tutorials/own-data.md docs/tutorials/own-data.ipynb"
    )


def test_the_notebook_of_the_first_tutorial_runs(tmp_path, monkeypatch):
    text = run(nbformat.read(FIRST, as_version=4), tmp_path, monkeypatch)
    assert "keras-tensorflow" in text
    assert {"results.csv", "index.html"} <= {path.name for path in (tmp_path / "work/reports/scan").iterdir()}
    assert (tmp_path / "work/reports/one/varnet-bart.cfl").exists()
    assert text.count("\n") < 200  # no bar that draws itself anew


# What a page promises, beside that no command fails.
PROMISES = {
    "keras-to-bart.md": "relative difference ",
    "paper-tables.md": "published-memory.csv",
    "reconet-script.md": "0.",
    "slurm.md": "nothing to submit",
}


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem != FIRST.stem], ids=lambda page: page.name)
def test_a_tutorial_runs(page, tmp_path, monkeypatch):
    assert PROMISES[page.name] in run(tool.notebook(page), tmp_path, monkeypatch)


def test_a_failing_command_fails_its_tutorial(tmp_path, monkeypatch):
    page = tmp_path / "broken.md"
    page.write_text("# Broken\n\n```sh\nfalse\necho later\n```\n")
    with pytest.raises(nbclient.exceptions.CellExecutionError):
        run(tool.notebook(page), tmp_path, monkeypatch)
