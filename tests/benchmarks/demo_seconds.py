"""Where the time of `make demo` goes, in seconds: `python -m tests.benchmarks.demo_seconds [CONFIGURATION]`.

Each line is a kind of step: its number, wall and user and system seconds of its child processes, and what lies between
them. What is no step, such as simulating the data and writing the report, is the last line before the sum.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare.results.table import read_results

CONFIGURATION = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"


def main(configuration: Path) -> None:
    """Run an experiment in a temporary folder and print the table."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        start_s = time.perf_counter()
        command = [sys.executable, "-c", "from compare.cli import main; main()", "compare", str(configuration)]
        subprocess.run([*command, "-o", name], check=True, stdout=subprocess.DEVNULL)
        wall_s = time.perf_counter() - start_s
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        table = read_results(Path(name))
    steps = table[table.metric.isin(["step", "elapsed", "cpu"])]
    keys = ["network", "engine", "phase", "repeat"]
    seconds = steps.pivot_table(index=keys, columns="metric", values="value", fill_value=0).reset_index()
    seconds["kind"] = seconds.phase.where(seconds.repeat == 0, seconds.phase + ", repeats")
    kinds = seconds.groupby(["network", "engine", "kind"])[["step", "elapsed", "cpu"]].agg(["size", "sum"])
    print(f"{'network, engine, phase':44}{'steps':>6}{'wall':>8}{'processes':>10}{'their CPU':>10}{'between':>8}")
    for kind, row in kinds.iterrows():
        values = [row[metric, "sum"] for metric in ("step", "elapsed", "cpu")]
        between_s = values[0] - values[1]
        numbers = f"{values[0]:8.1f}{values[1]:10.1f}{values[2]:10.1f}{between_s:8.1f}"
        print(f"{', '.join(filter(None, kind)):44}{int(row['step', 'size']):6}{numbers}")
    cpu_s = used.ru_utime + used.ru_stime
    print(f"{'no step: data, report':50}{wall_s - seconds.step.sum():8.1f}")
    print(f"{'in all':50}{wall_s:8.1f}{'':10}{cpu_s:10.1f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CONFIGURATION)
