"""How time and memory of a training step grow with image size, coils, batch and unrolled iterations.

Exponents are those of least squares through the logarithms: 1 is linear growth. For sizes the number of pixels counts.
"""

import statistics

import numpy as np

from bart_bridge.errors import ToolError
from tests.benchmarks.measure import Case, as_dict, bart_training, files_of, keras_steps

STEPS = 3
SERIES = {
    "size": (32, 64, 128, 256),
    "coils": (4, 8, 16),
    "batch": (5, 10, 20),
    "iterations": (5, 10, 20),
}
# The plain plan needs some 20 GB at 256, BART's MoDL 38 GB.
LARGEST_SIZE = {"plain": 128, "bart": 128, "lean": 256}
MEMORY_SIZE = 256


def measure(toolbox, store=lambda: None, kinds=("varnet", "modl"), series=SERIES, memory_size=MEMORY_SIZE):
    """Return a row for each case, the fitted exponents and the images that an iteration keeps."""
    results = {"rows": [], "exponents": [], "images_per_iteration": []}
    for kind in kinds:
        for name, values in series.items():
            for value in values:
                case = Case(kind, **{name: value})
                engines = ("plain", "lean", "bart") if name == "size" else ("plain", "lean")
                for engine in engines:
                    row = {"series": name, "value": value, "engine": engine, "case": as_dict(case)}
                    results["rows"].append(row | _one(case, engine, toolbox))
                    print(results["rows"][-1], flush=True)
                    store()
            for engine in ("plain", "lean", "bart"):
                results["exponents"] += _exponents(results["rows"], kind, name, engine)
        results["images_per_iteration"].append(images_per_iteration(kind, toolbox, memory_size))
    return results


def _one(case, engine, toolbox):
    if case.size > LARGEST_SIZE[engine]:
        return {"error": f"n/a: not run above {LARGEST_SIZE[engine]}, its memory is too large"}
    try:
        with files_of(case, toolbox) as work:
            if engine == "bart":
                run = bart_training(work, 1)
                return {"step_s": run["steps_s"][0], "setup_s": run["setup_s"], "peak_bytes": run["peak_rss_bytes"]}
            run = keras_steps(work, "train", engine, STEPS)
    except ToolError as error:
        return {"error": f"n/a: {error}"}
    return {
        "step_s": statistics.median(run["steps_s"]),
        "first_s": run["first_s"],
        "peak_bytes": run["peak_bytes_above_baseline"],
    }


def _exponents(rows, kind, name, engine):
    mine = [
        row
        for row in rows
        if (row["case"]["kind"], row["series"], row["engine"]) == (kind, name, engine) and "error" not in row
    ]
    if len(mine) < 2:
        return []
    amounts = [row["value"] ** (2 if name == "size" else 1) for row in mine]
    fitted = {key: exponent(amounts, [row[key] for row in mine]) for key in ("step_s", "peak_bytes")}
    return [{"kind": kind, "series": name, "engine": engine, "values": [row["value"] for row in mine], **fitted}]


def exponent(amounts, values):
    """Return p of the power law values ~ amounts^p."""
    return float(np.polyfit(np.log(amounts), np.log(values), 1)[0])


def images_per_iteration(kind, toolbox, size=MEMORY_SIZE, batch=10, memory="lean", iterations=(5, 10, 20)):
    """Return how many images of each slice a training step keeps for each unrolled iteration: a slope."""
    peaks = []
    for count in iterations:
        case = Case(kind, size=size, batch=batch, iterations=count)
        with files_of(case, toolbox) as work:
            peaks.append(keras_steps(work, "train", memory, 1)["peak_bytes_above_baseline"])
    slope = float(np.polyfit(iterations, peaks, 1)[0])
    return {
        "kind": kind,
        "memory": memory,
        "size": size,
        "batch": batch,
        "iterations": list(iterations),
        "peak_bytes": peaks,
        "images": slope / case.image_bytes,
    }


def table(results):
    """Write exponents and memory of an iteration as Markdown."""
    lines = [
        "\nGrowth of a training step: exponents, 1 is linear (sizes: in pixels)",
        "| network | grows | engine | values | time | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for row in results["exponents"]:
        values = ", ".join(map(str, row["values"]))
        lines.append(
            f"| {row['kind']} | {row['series']} | {row['engine']} | {values} | {row['step_s']:.2f} "
            f"| {row['peak_bytes']:.2f} |"
        )
    for row in results["images_per_iteration"]:
        lines.append(
            f"\n{row['kind']}, {row['memory']}, {row['size']} x {row['size']}, batch {row['batch']}: "
            f"{row['images']:.2f} images per slice and unrolled iteration"
        )
    lines += [f"\n{row['case']}, {row['engine']}: {row['error']}" for row in results["rows"] if "error" in row]
    return "\n".join(lines)


if __name__ == "__main__":
    import sys

    from bart_bridge.toolbox import Toolbox

    for name in sys.argv[1:] or ("varnet", "modl"):
        print(images_per_iteration(name, Toolbox.find()), flush=True)
