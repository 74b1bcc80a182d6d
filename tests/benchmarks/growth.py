"""How time and memory of a training step grow with image size, coils, batch and unrolled iterations.

    python -m tests.benchmarks.growth [OUT.json] [--networks varnet] [--series size memory] [--engines lean bart]

Exponents are those of least squares through the logarithms: 1 is linear growth. For sizes the number of pixels counts.
Those of time are of the fastest step of each case: what disturbs a step only adds to it, and not the same in each case.
The series `memory` tells from lean training steps at 256 x 256 how many images an unrolled iteration keeps, by the
smallest peak of each case. All of it takes an hour or more, most of it BART's MoDL: what the options leave out stays in
the file as it was, if that is of the same machine and versions.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import numpy as np

from bart_bridge.errors import ToolError
from bart_bridge.files import atomic
from tests.benchmarks.measure import (
    NETWORKS,
    ROOT,
    Case,
    as_dict,
    bart_training,
    describe_machine,
    files_of,
    keras_steps,
    of_this_machine,
    peer,
)

STEPS = {"varnet": 5, "modl": 3}
# What an allocator holds beyond what is needed only adds to a peak: of MoDL up to 300 MB, in some runs.
MEMORY_RUNS = 3
LARGE = 256  # one step after the first is enough: it takes a minute or more
SERIES = {
    "size": (32, 64, 128, 256),
    "coils": (2, 4, 8),  # BART's phantom has no more
    "batch": (5, 10, 20),
    "iterations": (5, 10, 20),
    "memory": (5, 10, 20),
}
ENGINES = ("plain", "lean", "bart")
# The plain plan needs some 20 GB at 256, BART's MoDL 38 GB.
LARGEST_SIZE = {"plain": 128, "bart": 128, "lean": 256}
OUT = ROOT / "reports" / "benchmarks" / "growth.json"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, nargs="?", default=OUT, help=f"default {OUT.relative_to(ROOT)}")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--series", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    arguments = parser.parse_args()
    print(table(measure(peer(), arguments.out, arguments.networks, arguments.series, arguments.engines)))


def measure(toolbox, out=OUT, kinds=tuple(NETWORKS), series=tuple(SERIES), engines=ENGINES):
    """Measure a row for each case, and fit exponents and the images that an iteration keeps to all rows of the file.

    Each row is written to `out` at once.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    results = {"rows": []} | of_this_machine(out, toolbox) | {"machine": describe_machine(toolbox)}
    asked = [found for kind in kinds for name in series for found in _cases(kind, name) if found[1] in engines]
    # The case of default size is in several series.
    for case, engine, steps in dict.fromkeys(asked):
        row = {"case": as_dict(case), "engine": engine, "steps": steps}
        others = [old for old in results["rows"] if not row.items() <= old.items()]
        results["rows"] = [*others, row | _one(case, engine, steps, toolbox)]
        print(results["rows"][-1], file=sys.stderr, flush=True)
        atomic.write_text(out, json.dumps(results | _fits(results["rows"]), indent=1))
    return results | _fits(results["rows"])


def _cases(kind, name):
    """List case, engine and steps after the first of a series; the memory is that of the first."""
    if name == "memory":
        return [(Case(kind, size=LARGE, iterations=value), "lean", 0) for value in SERIES[name]]
    engines = ENGINES if name == "size" else ("plain", "lean")
    cases = [(Case(kind, **{name: value}), engine) for value in SERIES[name] for engine in engines]
    return [
        (case, engine, 1 if engine == "bart" or case.size >= LARGE else STEPS[kind])
        for case, engine in cases
        if case.size <= LARGEST_SIZE[engine]
    ]


def _one(case, engine, steps, toolbox):
    try:
        with files_of(case, toolbox) as work:
            if engine == "bart":
                run = bart_training(work, steps)
                return {
                    "step_s": run["steps_s"][0],
                    "fastest_s": run["steps_s"][0],
                    "setup_s": run["setup_s"],
                    "peak_bytes": run["peak_rss_bytes"],
                }
            runs = [keras_steps(work, "train", engine, steps) for _ in range(1 if steps else MEMORY_RUNS)]
    except ToolError as error:
        return {"error": f"n/a: {error}"}
    steps_s, peaks = runs[0]["steps_s"], [run["peak_bytes_above_baseline"] for run in runs]
    times = {"step_s": statistics.median(steps_s), "fastest_s": min(steps_s)} if steps else {"peaks_bytes": peaks}
    return times | {"first_s": runs[0]["first_s"], "peak_bytes": min(peaks)}


def _fits(rows):
    found = {(*row["case"].values(), row["engine"], row["steps"]): row for row in rows if "error" not in row}
    exponents, images = [], []
    for kind in NETWORKS:
        for name in SERIES:
            for engine in ENGINES:
                keys = [(*as_dict(case).values(), *of) for case, *of in _cases(kind, name) if of[0] == engine]
                mine = [found[key] for key in keys if key in found]
                if len(mine) > 1:
                    (images if name == "memory" else exponents).append(_fit(kind, name, engine, mine))
    return {"exponents": exponents, "images_per_iteration": images}


def _fit(kind, name, engine, rows):
    values = [row["case"]["iterations" if name == "memory" else name] for row in rows]
    fitted = {"kind": kind, "series": name, "engine": engine, "values": values}
    if name == "memory":
        image_bytes = Case(**rows[0]["case"]).image_bytes
        slope = float(np.polyfit(values, [row["peak_bytes"] for row in rows], 1)[0])
        return fitted | {"images": slope / image_bytes}
    amounts = [value ** (2 if name == "size" else 1) for value in values]
    return fitted | {key: exponent(amounts, [row[key] for row in rows]) for key in ("fastest_s", "peak_bytes")}


def exponent(amounts, values):
    """Return p of the power law values ~ amounts^p."""
    return float(np.polyfit(np.log(amounts), np.log(values), 1)[0])


def table(results):
    """Write rows, exponents and images of an iteration as Markdown."""
    lines = [
        "\nA training step; peaks of Keras are those above its baseline, times n/a where only memory was measured",
        "| network | engine | size | coils | batch | iterations | step, s | fastest, s | peak, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["rows"]:
        kind, *numbers = row["case"].values()
        lines.append(f"| {kind} | {row['engine']} | {' | '.join([*map(str, numbers), *_measured(row)])} |")
    lines += [
        "\nGrowth of a training step: exponents, 1 is linear (sizes: in pixels)",
        "| network | grows | engine | values | time | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["exponents"]:
        values = ", ".join(map(str, row["values"]))
        lines.append(
            f"| {row['kind']} | {row['series']} | {row['engine']} | {values} | {row['fastest_s']:.2f} "
            f"| {row['peak_bytes']:.2f} |"
        )
    for row in results["images_per_iteration"]:
        lines.append(
            f"\n{row['kind']}, {row['engine']}, {LARGE} x {LARGE}, batch 10, iterations {row['values']}: "
            f"{row['images']:.2f} images per slice and unrolled iteration"
        )
    return "\n".join(lines)


def _measured(row):
    if "error" in row:
        return [row["error"], "n/a", "n/a"]
    times = [f"{row[key]:.3g}" if key in row else "n/a" for key in ("step_s", "fastest_s")]
    return [*times, f"{row['peak_bytes'] / 1e6:.0f}"]


if __name__ == "__main__":
    main()
