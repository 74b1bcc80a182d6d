"""Every BART of this machine on the same work in one session, and Keras beside them: which BART is the fastest?

    python -m tests.benchmarks.barts [--steps 2] [--networks varnet] [--size 64] [--batch 10] [--out FILE.json]

Networks of default size, 64 x 64 pixels, 8 coils, batch of 10, two threads, each of BART's bound to a core. `make
barts` fetches three versions, each with the reference BLAS and with OpenBLAS. They run in turn, each command in a
process of its own: all train, then all reconstruct. `tests.benchmarks.versus_bart` measures one of them in more detail.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

from bart_bridge.files import atomic
from bart_bridge.tools.discovery import every_bart
from tests.benchmarks.measure import (
    NETWORKS,
    ROOT,
    Case,
    as_dict,
    bart_inference,
    bart_training,
    describe_machine,
    files_of,
    keras_steps,
    name_of,
    ratio,
)
from tests.benchmarks.versus_bart import PLANS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2, help="updates, and reconstructions of a batch (default 2)")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default both")
    parser.add_argument("--size", type=int, default=64, help="pixels along x and y (default 64)")
    parser.add_argument("--batch", type=int, default=10, help="slices of a batch (default 10)")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "benchmarks" / "barts.json")
    arguments = parser.parse_args()
    toolboxes, _ = every_bart()
    results = {"machine": describe_machine(toolboxes[0]), "networks": {}}
    for kind in arguments.networks:
        case = Case(kind, arguments.size, batch=arguments.batch)
        results["networks"][kind] = measure(case, distinct(toolboxes), arguments.steps)
        print(table(kind, results["networks"][kind]), flush=True)
        atomic.write_text(arguments.out, json.dumps(results, indent=1))
    print(f"written to {arguments.out}")


def distinct(toolboxes):
    """Name each BART by its version and its BLAS, and leave out those that another one equals in both."""
    named = {}
    for toolbox in toolboxes:
        named.setdefault(name_of(toolbox), toolbox)
    return dict(sorted(named.items()))


def measure(case, toolboxes, steps):
    """Return times and memory of training and inference for each BART and for Keras, and Keras's ratios to each."""
    training, inference = {}, {}
    with files_of(case, next(iter(toolboxes.values()))) as work:
        for name, toolbox in toolboxes.items():
            training[name] = bart_training(replace(work, toolbox=toolbox), steps)
            print(f"{case.kind}, {name}: {training[name]['steps_s']} s", flush=True)
        for plan in PLANS:
            training[f"Keras, {plan}"] = _of_keras(keras_steps(work, "train", plan, 5))
        for name, toolbox in toolboxes.items():
            inference[name] = _inference_of_bart(replace(work, toolbox=toolbox), steps)
        for plan in PLANS:
            inference[f"Keras, {plan}"] = _of_keras(keras_steps(work, "infer", plan, 5))
    return {
        "case": as_dict(case),
        "training": training,
        "inference": inference,
        "ratios": {phase: _ratios(runs) for phase, runs in (("training", training), ("inference", inference))},
    }


def _inference_of_bart(work, steps):
    """Return seconds for a batch: those of a command with all slices without those of its set-up."""
    singles, wholes = ([bart_inference(work, split) for _ in range(steps)] for split in (work.single, work.whole))
    single_s, batch = statistics.median(run["command_s"] for run in singles), work.case.batch
    steps_s = [(run["command_s"] - single_s) * batch / (batch - 1) for run in wholes]
    return {
        "steps_s": steps_s,
        "setup_s": max(0.0, single_s - statistics.median(steps_s) / batch),
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in wholes),
    }


def _of_keras(run):
    return {
        "steps_s": run["steps_s"],
        "setup_s": run["first_s"] - statistics.median(run["steps_s"]),
        "peak_rss_bytes": run["peak_bytes_above_baseline"],
    }


def _ratios(runs):
    barts = {name: run for name, run in runs.items() if name.startswith("BART")}
    return {
        name: {bart: ratio(barts[bart]["steps_s"], runs[name]["steps_s"]) for bart in barts}
        for name in runs.keys() - barts.keys()
    }


def fastest(found):
    """Return the name of the BART that trains a network fastest."""
    barts = {name: run for name, run in found["training"].items() if name.startswith("BART")}
    return min(barts, key=lambda name: statistics.median(barts[name]["steps_s"]))


def table(kind, found):
    """Write the results of one network as Markdown."""
    case = found["case"]
    lines = [
        f"\n{kind}, {case['size']} x {case['size']}, {case['coils']} coils, batch {case['batch']}: medians; "
        "the peak of Keras is that above its process before the first step",
        "| | engine | step or batch, s | apart: set-up, s | peak, MB | Keras plain, lean: times as fast |",
        "|---|---|---|---|---|---|",
    ]
    for phase in ("training", "inference"):
        ratios = [found["ratios"][phase][f"Keras, {plan}"] for plan in PLANS]
        for name, run in found[phase].items():
            step_s, setup_s = statistics.median(run["steps_s"]), run["setup_s"]
            times = [f"{ours[name]['median']:.1f}" for ours in ratios if name in ours]
            lines.append(
                f"| {phase} | {name} | {step_s:.3g} | {setup_s:.3g} | {run['peak_rss_bytes'] / 1e6:.0f} "
                f"| {', '.join(times)} |"
            )
    return "\n".join([*lines, f"fastest: {fastest(found)}"])


if __name__ == "__main__":
    main()
