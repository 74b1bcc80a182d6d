"""Files that are damaged in every way that `tests.damage` knows: imported rightly or refused in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bart_bridge.importers.hostile import FORMATS

ROOT = Path(__file__).resolve().parents[3]
# Far more than any import of so small a file needs, on a busy machine.
LIMIT_S = 60


def run(name, first, count, folder):
    """Import damaged files; return what came of each, and what the process ended with."""
    argv = [sys.executable, "-m", "tests.bart_bridge.importers.hostile", name, first, count, folder]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        list(map(str, argv)),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
        timeout=LIMIT_S + 5 * count,
    )
    lines = [json.loads(line) for line in finished.stdout.splitlines()]
    cases = {line["seed"]: line["started"] for line in lines if "started" in line}
    results = {line["seed"]: line for line in lines if "started" not in line}
    for seed in cases.keys() - results.keys():
        results[seed] = {"fault": f"the process ended with {finished.returncode}: {finished.stderr[-300:]}"}
    assert cases, finished.stderr[-1000:]
    return {seed: {"case": cases[seed], **result} for seed, result in results.items()}, finished


def faults(results):
    for seed, result in sorted(results.items()):
        message = result.get("refused", "")
        if "fault" in result:
            yield f"{seed}: {result['case']}: {result['fault']}"
        elif "refused" in result and not (message.isprintable() and 10 < len(message) < 1000):
            yield f"{seed}: {result['case']}: not one line: {message[:1200]!r}"
        elif result.get("took_s", 0) > LIMIT_S:
            yield f"{seed}: {result['case']}: {result['took_s']:.0f} s"


def check(name, first, count, folder):
    results, finished = run(name, first, count, folder)
    found = list(faults(results))
    assert not found, f"{len(found)} of {len(results)}:\n" + "\n".join(found[:30])
    assert len(results) == count
    assert not finished.stderr, finished.stderr[-1000:]
    refused = sum("refused" in result for result in results.values())
    # Both happen, or the damages or the judge are wrong.
    assert count / 5 < refused < count


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_refused_in_one_line(name, tmp_path):
    check(name, 0, 100, tmp_path / "work")


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_many_damaged_files_are_refused_in_one_line(name, tmp_path):
    check(name, 1000, 2000, tmp_path / "work")
