"""The Makefile passes names on as they are: spaces, quotes and signs of the shell are no commands."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
@pytest.mark.parametrize("name", ["it's", "a b", '"quoted"', "a;echo b", "a,b", "''"])
def test_names_reach_the_tools_whole(name, tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "tools").mkdir()
    for tool in ("barts", "gpu"):
        (tmp_path / "tools" / tool).write_text('#!/bin/sh\nprintf "%s\\n" "${1-$BARTS}" "$PYTHON"\n')
        (tmp_path / "tools" / tool).chmod(0o755)
        argv = ["make", "--no-print-directory", tool, f"BARTS={name}", f"PYTHON={name}"]
        finished = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (finished.stdout, finished.stderr) == (f"{name}\n{name}\n", "")
