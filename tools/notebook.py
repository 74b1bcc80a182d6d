"""Write a tutorial as a notebook without outputs: tools/notebook.py PAGE.md NOTEBOOK.ipynb.

Blocks of Python and shell become cells, so the page is what one edits. Cells of shell end at the first failing line.
"""

import sys
from pathlib import Path

import jupytext
import nbformat

# On the pages this would be a table above the title.
KERNEL = "---\njupyter:\n  kernelspec: {name: python3, language: python, display_name: Python 3}\n---\n"


def notebook(page: Path) -> nbformat.NotebookNode:
    """Make the notebook of a page."""
    made = jupytext.reads(KERNEL + page.read_text(), "md")
    for number, cell in enumerate(made.cells):
        cell.id = f"cell-{number}"
        cell.source = cell.source.replace("%%sh", "%%bash -e", 1) if cell.source.startswith("%%sh") else cell.source
    return made


if __name__ == "__main__":
    nbformat.write(notebook(Path(sys.argv[1])), sys.argv[2])
