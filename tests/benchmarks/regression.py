"""Compare the ratios to BART of a run of the benchmarks with those of the stored baseline.

    python -m tests.benchmarks.regression reports/benchmarks/baseline.json reports/benchmarks/latest.json

Both are JSON of pytest-benchmark. A benchmark that was measured against BART (`times_as_fast_as_bart`) fails if its
ratio fell by more than a quarter, or if it is missing; times of two runs are never compared. Without a baseline the run
becomes it. Exit codes: 0 all well, 1 a regression, 2 a file that cannot be read.
"""

import json
import shutil
import sys
from pathlib import Path

ALLOWED = 0.25


def ratios(path):
    benchmarks = json.loads(path.read_text())["benchmarks"]
    found = {item["name"]: item["extra_info"].get("times_as_fast_as_bart") for item in benchmarks}
    return {name: value for name, value in found.items() if value is not None}


def regressions(baseline, latest):
    """Return a line for each benchmark that lost more than a quarter of its ratio, or was not run."""
    lines = []
    for name, before in baseline.items():
        now = latest.get(name)
        if now is None:
            lines.append(f"{name}: was {before:.1f} times as fast as BART, was not measured now")
        elif not now >= (1 - ALLOWED) * before:
            lines.append(f"{name}: was {before:.1f} times as fast as BART, now {now:.1f}, more than 25 % less")
    return lines


def main():
    baseline, latest = map(Path, sys.argv[1:3])
    try:
        now = ratios(latest)
        if not baseline.exists():
            shutil.copyfile(latest, baseline)
            print(f"{baseline}: there was none; this run is the baseline from now on")
            return 0
        before = ratios(baseline)
    except (OSError, ValueError, KeyError) as error:
        print(f"cannot be read as JSON of pytest-benchmark: {error!r}", file=sys.stderr)
        return 2
    for name, value in now.items():
        print(f"{name}: {value:.1f} times as fast as BART, baseline {before.get(name, float('nan')):.1f}")
    lines = regressions(before, now)
    for line in lines:
        print(line, file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
