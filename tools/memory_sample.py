#!/usr/bin/env python3
"""Make table 1 of a sample: memory of the GPU in training and in inference, beside the published figures.

    python3 tools/memory_sample.py FOLDER [--from sample.json]

FOLDER, such as reports/samples/gpu, has `memory.json` and `steps-*.json` of `tests/benchmarks/gpu_steps.py`, and gets
`memory.csv`, `memory.md` and `memory.png`. With `--from`, `memory.json` is first taken from what
`tools/profile_sample.py` wrote in a run that was not `--untimed`.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bart_bridge.cfl import write_text_atomically  # noqa: E402
from compare import colours, published, tables  # noqa: E402

GIB = 2**30
NETWORKS = {"varnet": "VarNet", "modl": "MoDL"}
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX"}
PHASES = {"train": "training", "infer": "inference"}
# The rows of the table; a run that the files do not have is shown as not measured.
ENGINES = ("bart", "bart-lowmem", *(f"keras-{b}{p}" for b in ("tensorflow", "jax") for p in ("", "-lean")))
NOT_RUN = "n/a: not run, for want of time on the machine"
NO_CURVE = "n/a: no curve is kept of processes that make steps"
NO_COUNT = "n/a: the run did not ask the allocator"
NO_ALLOCATOR = "n/a: BART keeps no count"
_KEPT = ("machine", "slices", "batch", "epochs", "sizes", "ceilings")


def taken(sample):
    """Keep of `sample.json` the machine and the memory of its untraced runs."""
    kept = {name: sample[name] for name in _KEPT} | {"runs": {}}
    for label, run in sample["runs"].items():
        # A text says why there is no run.
        if isinstance(run, str) or "untraced" not in run:
            continue
        found = {"train": run["untraced"] | run["memory"]}
        if "inference" in run:
            found["infer"] = run["inference"] | run["inference"]["memory"]
        names = ("elapsed_s", "idle_bytes", "peak_bytes", "before_last_growth_bytes", "device_memory_curve")
        kept["runs"][label] = {phase: {name: part[name] for name in names} for phase, part in found.items()}
    return kept


def measured(memory, steps):
    """Return `(network, engine, phase)` to cells: what ran, peak, level before the last growth, allocator's peak."""
    found = {}
    for label, run in memory["runs"].items():
        network, engine, optimizer = parts_of(label)
        for phase, part in run.items():
            updates = memory["epochs"] * memory["slices"] // memory["batch"]
            what = f"{updates} updates, {optimizer}" if phase == "train" else f"{memory['slices']} slices"
            values = [f"{part[name] / GIB:.2f}" for name in ("peak_bytes", "before_last_growth_bytes")]
            count = NO_ALLOCATOR if engine == "bart" else NO_COUNT
            found.setdefault((network, engine, phase), []).append([f"command, {what}", *values, count])
    for case, step in steps:
        network, plan = case.split("-")
        engine = f"keras-{step['backend']}{'' if plan == 'plain' else '-lean'}"
        cells = ["steps, sgd", f"{step['nvml_peak_gib']:.2f}", NO_CURVE, f"{step['allocator_peak_gib']:.2f}"]
        found.setdefault((network, engine, "train"), []).append(cells)
    return found


def table(memory, steps):
    """Make the table, one row for each run, and one for each that is missing."""
    found, known = measured(memory, steps), published.read("memory")
    gpus = list(known.gpu.unique())
    rows = []
    for network, title in NETWORKS.items():
        for engine in ENGINES:
            words = engine.split("-")
            plan = words[-1] if words[-1] in ("lean", "lowmem") else "" if words[0] == "bart" else "plain"
            family = "bart" if words[0] == "bart" else "tensorflow"
            name = "BART" if family == "bart" else f"Keras on {BACKENDS[words[1]]}"
            for phase, phase_title in PHASES.items():
                theirs = known[(known.network == network) & (known.engine == family) & (known.phase == phase)]
                theirs = theirs.set_index("gpu")
                printed = [f"{theirs.main_gb[gpu]} ({theirs.second_gb[gpu]})" for gpu in gpus]
                for cells in found.get((network, engine, phase), [[NOT_RUN, *[tables.NOT_AVAILABLE] * 3]]):
                    rows.append([title, name, plan or "its own", phase_title, *cells, *printed])
    columns = ["network", "engine", "plan", "phase", "what ran", "ours: NVML peak above idle / GiB"]
    columns += ["ours: NVML before last growth / GiB", "ours: allocator peak / GiB"]
    columns += [f"published: {gpu} / GB" for gpu in gpus]
    notes = [
        f"ours: {memory['machine']}; memory of the device, sampled at 50 Hz; commands from memory.json, steps from "
        "steps-*.json. Where a compiler tries kernels at the start, the peak has what it takes for that.",
        "NVML before last growth: the highest level more than 32 MiB below the peak. It is near to the peak where the "
        "last growth is small, and then says nothing about an allocator that doubles.",
        "NVML sees what an allocator reserved, the allocator's count what was asked of it: not to be compared.",
        "published, main (second): BART beside BART, TensorFlow beside Keras on either backend; T, Table 1, from B22. "
        "T calls the second figure the peak; for TensorFlow it is below the first.",
    ]
    return tables.of_cells("GPU memory in training and inference (thesis, table 1)", columns, rows, notes)


def figure(memory):
    """Draw the device's memory above its idle state over time, BART beside Keras, a panel for network and phase."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(9.0, 6.0), layout="constrained")
    runs = {parts_of(label): run for label, run in memory["runs"].items()}
    colour = colours.of_engines(engine for _, engine, _ in runs)
    for row, network in zip(drawn.subplots(2, 2), NETWORKS, strict=True):
        for axes, phase in zip(row, PHASES, strict=True):
            shown = set()
            for (of, engine, optimizer), run in runs.items():
                # Of the same engine, one optimizer: the first in the file.
                if of != network or phase not in run or engine in shown:
                    continue
                shown.add(engine)
                curve = run[phase]["device_memory_curve"]
                used = [(level - run[phase]["idle_bytes"]) / GIB for _, level in curve]
                label = f"{engine}, {optimizer}" if phase == "train" else engine
                axes.plot([time_s for time_s, _ in curve], used, color=colour[engine], label=label)
            axes.set_title(f"{NETWORKS[network]}, {PHASES[phase]}", fontsize=10)
            axes.set_xlabel("time since the start of the command / s")
            axes.set_ylabel("device above idle / GiB")
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
    return drawn


def parts_of(label):
    """Return network, engine and optimizer of a run's label, `varnet-keras-jax-adam-0`."""
    network, *engine, optimizer, _ = label.split("-")
    return network, "-".join(engine), optimizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="source", type=Path, help="sample.json of tools/profile_sample.py")
    arguments = parser.parse_args()
    folder = arguments.folder
    if arguments.source:
        write_text_atomically(folder / "memory.json", json.dumps(taken(json.loads(arguments.source.read_text()))))
    memory = json.loads((folder / "memory.json").read_text())
    cases = [case for path in sorted(folder.glob("steps-*.json")) for case in json.loads(path.read_text()).items()]
    # A case that failed has its error in place of figures.
    steps = [(name, step) for name, step in cases if "error" not in step]
    made = table(memory, steps)
    write_text_atomically(folder / "memory.csv", made.frame.to_csv(index=False))
    write_text_atomically(folder / "memory.md", made.markdown())
    figure(memory).savefig(folder / "memory.png", dpi=130)


if __name__ == "__main__":
    main()
