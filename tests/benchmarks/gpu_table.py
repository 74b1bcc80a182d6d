"""Print the JSON of `gpu_steps` as tables, with ratios to BART and to an older version.

    python -m tests.benchmarks.gpu_table [JSON ...] [--bart JSON] [--before JSON]

Each JSON is one run of `gpu_steps`; those of several backends stand below each other. `--bart` (default:
reports/benchmarks/gpu_bart.json) has the seconds and GiB of BART and of other programs, measured with other commands on
the same kind of card. `--before` is a run of an older version: a case is compared with that of the same backend.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks.gpu_case import KINDS

FOLDER = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = sorted(FOLDER.glob("gpu_steps_*.json"))
    parser.add_argument(
        "runs", type=Path, nargs="*", default=default, help="default reports/benchmarks/gpu_steps_*.json"
    )
    parser.add_argument("--bart", type=Path, default=FOLDER / "gpu_bart.json")
    parser.add_argument("--before", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    try:
        runs, before = [read(path) for path in options.runs], [read(path) for path in options.before]
        others = json.loads(options.bart.read_text())
    except (OSError, ValueError) as error:
        print(f"not a run of gpu_steps: {error}", file=sys.stderr)
        return 2
    print("\n\n".join([steps_table(runs, others, before), several_table(runs), growth_table(runs)]))
    return 0


def read(path):
    run = json.loads(path.read_text())
    if not {"backend", "steps"} <= run.keys():
        raise ValueError(f"{path} has no `backend` and `steps`")
    return run


def steps_table(runs, others, before):
    """Write a line for each case of each run, and for each other program."""
    lines = [
        "| network, plan | backend | step, s (smallest to largest) | times BART's speed | times the older version's "
        "| allocator, GiB | first step, s | in a second process | inference of 1, of 10, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    older = {(run["backend"], name): case for run in before for name, case in run["steps"].items()}
    for name in sorted({name for run in runs for name in run["steps"]}, key=_order):
        for run in runs:
            if name in run["steps"]:
                lines.append(_step_line(name, run, others, older.get((run["backend"], name))))
    for row in others["rows"]:
        inference = row.get("inference_s", {})
        lines.append(
            f"| {row['network']} | {row['program']} | {_number(row['step_s'])} | {_speed(row, row['network'], others)} "
            f"| | {_number(row.get('peak_gib'))} | | | {_milliseconds(inference.get('1'))}, "
            f"{_milliseconds(inference.get('10'))} |"
        )
    return "\n".join(lines)


def _step_line(name, run, others, older):
    case = run["steps"][name]
    title = name.replace("-", " ") + (f" ({case['note']})" if "note" in case else "")
    if "error" in case:
        return f"| {title} | {run['backend']} | n/a: {case['error'].splitlines()[-1]} | | | | | | |"
    speed_up = f"{older['step_s'] / case['step_s']:.2f}" if older and "step_s" in older else "n/a"
    times = f"{_number(case['step_s'])} ({_number(case['step_min_s'])} to {_number(case['step_max_s'])})"
    inference = ", ".join(_milliseconds(case["inference_s"][slices]) for slices in ("1", "10"))
    return (
        f"| {title} | {run['backend']} | {times} | {_speed(case, name.rpartition('-')[0], others)} | {speed_up} "
        f"| {_number(case['allocator_peak_gib'])} | {_number(case['first_step_s'])} "
        f"| {_number(case['first_step_again_s'])} | {inference} |"
    )


def _speed(case, network, others):
    """Return how many times as fast as BART a step is, or n/a."""
    rows = [row for row in others["rows"] if row["program"].startswith("BART") and row["network"] == network]
    return f"{rows[0]['step_s'] / case['step_s']:.1f}" if rows else "n/a"


def several_table(runs):
    """Write how many times as fast several GPUs are, or why that is not known."""
    lines = [
        "| GPUs | backend | network, plan | step, s | times one GPU's speed | with as many slices for each GPU |",
        "|---|---|---|---|---|---|",
    ]
    for run in runs:
        for number, cases in run["several_gpus"].items():
            reason = cases.get("skipped") or cases.get("error")
            if reason:
                lines.append(f"| {number} | {run['backend']} | | n/a: {reason.splitlines()[-1]} | | |")
                continue
            for name, case in cases.items():
                numbers = case[number].get("step_s"), case.get("speed_up"), case.get("weak_speed_up")
                lines.append(f"| {number} | {run['backend']} | {name} | {' | '.join(map(_number, numbers))} |")
    return "\n".join(lines)


def growth_table(runs):
    """Write fastest step and peak for each size."""
    lines = [
        "| network, plan | backend | pixels | coils | batch | iterations | fastest step, s | allocator, GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        for row in run["growth"]:
            case = row["case"]
            sizes = f"{case['size_y']}x{case['size_x']} | {case['coils']} | {case['batch']} | {case['iterations']}"
            found = f"{_number(row.get('fastest_s'))} | {_number(row.get('allocator_peak_gib'))}"
            if "error" in row:
                found = f"n/a: {row['error'].splitlines()[-1]} | n/a"
            lines.append(f"| {case['kind']} {case['plan']} | {run['backend']} | {sizes} | {found} |")
    return "\n".join(lines)


def _order(name):
    kind, _, plan = name.rpartition("-")
    return KINDS.index(kind), plan != "plain"


def _number(value):
    return "n/a" if value is None else f"{value:.3g}"


def _milliseconds(seconds):
    return "n/a" if seconds is None else f"{1000 * seconds:.3g}"


if __name__ == "__main__":
    sys.exit(main())
