"""Step time and the allocator's peak on a GPU, against pixels, coils, batch and unrolled iterations.

`gpu_steps --growth` uses it. One dimension grows at a time; the others stay at 256 x 256 pixels, 12 coils, batches of
10 and 10 iterations. The last cases are all at once, 512 x 512 pixels and 32 coils, with batches up to 40: there a plan
stops.
"""

import json
import subprocess
import sys
from dataclasses import asdict

from tests.benchmarks.gpu_case import Case, case_named

BASE = {"size": 256, "coils": 12, "batch": 10, "iterations": 10}
SERIES = {"size": (128, 256, 512), "coils": (12, 32), "batch": (5, 10, 40), "iterations": (5, 10, 20)}
LARGEST = [{"size": 512, "coils": 32, "batch": batch, "iterations": 10} for batch in (10, 40)]


def cases(name):
    """Return the cases of a network and plan, those that need little memory first."""
    case = case_named(name)
    sizes = [BASE | {key: value} for key, values in SERIES.items() for value in values] + LARGEST
    unique = [dict(fields) for fields in {tuple(sizes.items()): None for sizes in sizes}]

    def amount(fields):
        # Of features, which the plain plan keeps of each iteration, and of coil images.
        kept = fields["iterations"] if case.plan == "plain" else 1
        return fields["size"] ** 2 * fields["batch"] * (60 * kept + fields["coils"])

    return [
        Case(case.kind, case.plan, size, size, fields["coils"], fields["batch"], fields["iterations"])
        for fields in sorted(unique, key=amount)
        for size in [fields["size"]]
    ]


def measure(name, environment, limit_s):
    """Return a row for each case, all in one process of their own; the rows of a process that dies are kept."""
    wanted = cases(name)
    argv = [sys.executable, "-m", "tests.benchmarks.gpu_case", json.dumps([asdict(case) for case in wanted])]
    try:
        finished = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=limit_s)
        printed, reason = finished.stdout, finished.stderr[-1000:]
    except subprocess.TimeoutExpired as error:
        printed, reason = (error.stdout or b"").decode(), f"not finished within {limit_s} s"
    rows = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    if len(rows) < len(wanted):
        rows.append({"case": asdict(wanted[len(rows)]), "error": reason})
    return rows
