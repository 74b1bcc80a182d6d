"""BART and Keras on the same work in one session: the table of times, memory and their ratios.

    python -m tests.benchmarks.versus_bart [--quick] [--networks varnet] [--rounds 1] [--size 64] [--batch 10]
        [--out FILE.json]

Networks of default size, 64 x 64 pixels, 8 coils, batch of 10, two threads. The programs run in turn, each in a process
of its own: in every round Keras's plain plan, then BART, then the lean plan; the next round the other way round. A
training command of BART gives five updates from its history; what the command takes beyond them is its fixed set-up.
Its inference is five commands with all slices and three with one slice: their difference is the time of a slice.
Keras's first step, with tracing and compilation, is apart.

Without `--quick` it goes on with the growth with size, coils, batch and iterations (`tests.benchmarks.growth`), which
takes an hour or more and has a file of its own. The kernels against their floors (`tests.benchmarks.floors`) are always
there. A network that is left out stays in the file as it was, if that is of the same machine and versions.
"""

import argparse
import json
import statistics
from pathlib import Path

from bart_bridge.files import atomic
from tests.benchmarks import floors, growth
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
    of_this_machine,
    peer,
    ratio,
)

STEPS = 5
SINGLES = 3  # commands of BART with one slice, which tell the set-up
PLANS = ("plain", "lean")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave growth out")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default both")
    parser.add_argument("--rounds", type=int, default=1, help="repeat everything so often (default 1)")
    parser.add_argument("--size", type=int, default=64, help="pixels along x and y (default 64)")
    parser.add_argument("--batch", type=int, default=10, help="slices of a batch (default 10)")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "benchmarks" / "versus_bart.json")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    toolbox = peer()
    print(f"measured beside {name_of(toolbox)}", flush=True)
    kept = of_this_machine(arguments.out, toolbox).get("networks", {})
    results = {"machine": describe_machine(toolbox), "networks": kept}

    def store():
        atomic.write_text(arguments.out, json.dumps(results, indent=1))

    results["kernels"] = floors.measure_in_child()
    print(floors.table(results["kernels"]), flush=True)
    store()
    for kind in arguments.networks:
        found = compare(Case(kind, arguments.size, batch=arguments.batch), toolbox, arguments.rounds)
        if (arguments.size, arguments.batch) == (floors.SIZE, floors.BATCH):
            for phase in ("training", "inference"):
                found[phase]["floor_s"] = floors.network_floor_s(results["kernels"], kind, phase)
        results["networks"][kind] = found
        print(table(kind, found), flush=True)
        store()
    if not arguments.quick:
        print(growth.table(growth.measure(toolbox, kinds=arguments.networks)))
    print(f"written to {arguments.out}")


def compare(case, toolbox, rounds=1):
    """Measure training and inference of a case with both engines and return times, memory and ratios."""
    training, inference = {"bart": []}, {"bart": []}
    with files_of(case, toolbox) as work:
        for number in range(rounds):
            for engine in _order(("plain", "bart", "lean"), number):
                if engine == "bart":
                    training["bart"].append(bart_training(work, STEPS))
                else:
                    training.setdefault(engine, []).append(keras_steps(work, "train", engine, STEPS))
            for engine in _order(("plain", "bart", "lean"), number):
                if engine == "bart":
                    singles = [bart_inference(work, work.single) for _ in range(SINGLES)]
                    single_s = statistics.median(single["command_s"] for single in singles)
                    wholes = [bart_inference(work, work.whole) for _ in range(STEPS)]
                    inference["bart"] += [{"single_s": single_s, **whole} for whole in wholes]
                else:
                    inference.setdefault(engine, []).append(keras_steps(work, "infer", engine, STEPS))
    return {
        "case": as_dict(case),
        "rounds": rounds,
        "training": _with_ratios(training, _all_steps(training["bart"])),
        "inference": _with_ratios(inference, _per_batch(inference["bart"], case.batch)),
    }


def _order(engines, number):
    return engines if number % 2 == 0 else engines[::-1]


def _all_steps(runs):
    return [seconds for run in runs for seconds in run["steps_s"]]


def _per_batch(commands, batch):
    """Return BART's seconds for the slices of a batch without the set-up of the command.

    One slice's command has the same set-up; the median of some of those is taken away.
    """
    return [(command["command_s"] - command["single_s"]) * batch / (batch - 1) for command in commands]


def _with_ratios(runs, bart_steps_s):
    """Add to the runs of BART and of each memory plan how they compare."""
    bart_bytes = max(run["peak_rss_bytes"] for run in runs["bart"])
    result = {"bart": {"steps_s": bart_steps_s, "peak_rss_bytes": bart_bytes, "runs": runs["bart"]}}
    for plan in PLANS:
        steps_s = _all_steps(runs[plan])
        peak_bytes = max(run["peak_bytes_above_baseline"] for run in runs[plan])
        result[plan] = {
            "steps_s": steps_s,
            "first_s": [run["first_s"] for run in runs[plan]],
            "baseline_bytes": max(run["baseline_bytes"] for run in runs[plan]),
            "peak_bytes_above_baseline": peak_bytes,
            "times_as_fast_as_bart": ratio(bart_steps_s, steps_s),
            "memory_of_bart": peak_bytes / bart_bytes,
        }
    return result


def table(kind, found):
    """Write the results of one network as Markdown."""
    case = found["case"]
    lines = [
        f"\n{kind}, {case['size']} x {case['size']}, {case['coils']} coils, batch {case['batch']}: medians, and the"
        " lowest and highest ratio of any two",
        "| | engine | step or batch, s | apart: set-up, s | peak, MB | BART's time / ours | our peak / BART's |",
        "|---|---|---|---|---|---|---|",
    ]
    for phase in ("training", "inference"):
        bart = found[phase]["bart"]
        setups = [
            run["setup_s"] if phase == "training" else run["command_s"] - statistics.median(bart["steps_s"])
            for run in bart["runs"]
        ]
        seconds, setup = statistics.median(bart["steps_s"]), max(0.0, statistics.median(setups))
        lines.append(f"| {phase} | BART | {seconds:.3g} | {setup:.3g} | {bart['peak_rss_bytes'] / 1e6:.0f} | 1 | 1 |")
        for plan in PLANS:
            ours = found[phase][plan]
            times = ours["times_as_fast_as_bart"]
            first = statistics.median(ours["first_s"]) - statistics.median(ours["steps_s"])
            lines.append(
                f"| {phase} | Keras, {plan} | {statistics.median(ours['steps_s']):.3g} | {first:.3g} "
                f"| {ours['peak_bytes_above_baseline'] / 1e6:.0f} above {ours['baseline_bytes'] / 1e6:.0f} "
                f"| {times['median']:.1f} ({times['lowest']:.1f} to {times['highest']:.1f}) "
                f"| {ours['memory_of_bart']:.2f} |"
            )
        if "floor_s" in found[phase]:
            lines.append(f"| {phase} | floor: sum of the kernels' | {found[phase]['floor_s']:.2g} | | | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
