"""Tables 4 to 12 of the thesis and the kernels' categories, each made from the summaries of one's own runs."""

from __future__ import annotations

from collections.abc import Callable

from compare.report.tables.table import Table
from compare.results.table_files import NOT_AVAILABLE
from compare.trace import categories, shown
from compare.trace.activity import Activity
from compare.trace.gpu_state import QUANTITIES
from compare.trace.summary import Summary

MB = 1e6
_ORDER = ("memset", "HtoD", "DtoH", "DtoD")
_ALLOCATION = ("malloc", "free", "memalloc", "memcreate", "memmap", "memaddress", "memrelease", "memunmap", "mempool")
_SHOWN_FUNCTIONS = 12
_MB_NOTE = "MB is 10^6 byte of traffic moved, not of memory held."
_BUSY_NOTE = "GPU busy time is the sum of the durations of kernels and memory operations; what overlaps counts twice."
_WALL_NOTE = "wall time is that of the traced processes, start and set-up included, and longer than without a tracer."


def all_tables(summaries: list[Summary]) -> list[Table]:
    """Make every table there is something for."""
    made = [
        gpu_state(summaries),
        memory_by_time(summaries),
        memory_by_size(summaries),
        *by_optimizer(summaries),
        *functions(summaries),
        kernel_categories(summaries),
        longest_kernels(summaries),
        traces(summaries),
    ]
    return [table for table in made if table.rows]


def gpu_state(summaries: list[Summary]) -> Table:
    """Table 4: temperature, power, utilisation and clocks, mean and maximum over the traced run."""
    rows, notes = [], []
    for summary in summaries:
        state = summary.facts.get("state") or {}
        cells = []
        for name in QUANTITIES:
            value = state.get(name)
            scale = 2**20 if name == "memory_used_bytes" else 1
            cells.append(f"{value['mean'] / scale:.0f} / {value['max'] / scale:.0f}" if value else NOT_AVAILABLE)
        rows.append([summary.run, *cells])
        notes.append(str(state.get("note", "n/a: the state of the GPU was not sampled")))
    columns = ["run", *QUANTITIES.values()]
    return shown.table("GPU state, mean / maximum (thesis, table 4)", columns, rows, list(dict.fromkeys(notes)))


def memory_by_time(summaries: list[Summary]) -> Table:
    """Table 5: the time of memory operations, with three shares that must not be mixed up."""
    rows = []
    for summary in summaries:
        for row in _memory(summary):
            time = row.time_ns
            shares = [_percent(share) for share in summary.shares(row).values()]
            values = [time.mean, time.median, time.minimum, time.maximum, time.std]
            rows.append(
                [summary.run, row.name, _whole(row.count), f"{time.total / 1e6:.3f}", *map(_whole, values), *shares]
            )
    columns = ["run", "operation", "count", "total / ms", "mean / ns", "median / ns", "min / ns", "max / ns"]
    columns += ["std / ns", "of memory operations / %", "of GPU busy time / %", "of wall time / %"]
    return shown.table("CUDA memory operations by time (thesis, table 5)", columns, rows, [_BUSY_NOTE, _WALL_NOTE])


def memory_by_size(summaries: list[Summary]) -> Table:
    """Table 6: the bytes of memory operations."""
    rows = []
    for summary in summaries:
        for row in _memory(summary):
            part = row.bytes
            values = [part.total if part.count else None, part.mean, part.median, part.minimum, part.maximum, part.std]
            rows.append([summary.run, row.name, _whole(row.count), *(_megabytes(value) for value in values)])
    columns = [
        "run",
        "operation",
        "count",
        "total / MB",
        "mean / MB",
        "median / MB",
        "min / MB",
        "max / MB",
        "std / MB",
    ]
    return shown.table("CUDA memory operations by size (thesis, table 6)", columns, rows, [_MB_NOTE])


def by_optimizer(summaries: list[Summary]) -> list[Table]:
    """Tables 7 and 8: size and mean time of each operation across optimizers, one row per network and engine."""
    size = _across(summaries, lambda row: _megabytes(row.bytes.total if row.bytes.count else None))
    mean = _across(summaries, lambda row: _whole(row.time_ns.mean))
    columns = ["network, engine", "operation", *_optimizers(summaries)]
    note = "the first run of each optimizer; n/a: not run, or no such operation"
    return [
        shown.table("Total size by optimizer, MB (thesis, table 7)", columns, size, [_MB_NOTE, note]),
        shown.table("Mean time by optimizer, ns (thesis, table 8)", columns, mean, [note]),
    ]


def functions(summaries: list[Summary]) -> list[Table]:
    """Tables 9 to 12: host time of CUDA functions under two optimizers side by side.

    A difference of means is marked where it exceeds the spread between repeats of both optimizers.
    """
    groups = {"runtime": 10, "allocation": 11, "driver": 12}
    rows: dict[str, list[list[str]]] = {name: [] for name in ("all groups", *groups)}
    for place, (first, second) in _pairs(summaries).items():
        label = f"{place}: {first[0].facts['optimizer']} against {second[0].facts['optimizer']}"
        for group in groups:
            calls = [_calls(summary, group) for summary in (*first, *second)]
            sums = [_sum(found) for found in calls]
            rows["all groups"].append([label, group, *_compared(sums[: len(first)], sums[len(first) :])])
            names = sorted({name for found in calls for name in found}, key=lambda name: -_longest(calls, name))
            for name in names[:_SHOWN_FUNCTIONS]:
                picked = [found.get(name, (0, 0.0)) for found in calls]
                rows[group].append([label, name, *_compared(picked[: len(first)], picked[len(first) :])])
    note = (
        "differs: the means differ by more than the spread (largest - smallest) of repeats of either optimizer; "
        "n/a with one repeat. A function of the runtime may call one of the driver: groups overlap in time."
    )
    sides = [f"{side}: {text}" for side in ("first", "second") for text in ("calls", "total / ms", "mean / ns")]
    return [
        shown.table(
            f"Host time in CUDA functions, {group} (thesis, table {number})",
            ["network, engine: optimizers", "group" if number == 9 else "function", *sides, "differs"],
            rows[group],
            [note],
        )
        for group, number in {"all groups": 9, **groups}.items()
    ]


def kernel_categories(summaries: list[Summary]) -> Table:
    """Time of kernels by what they do; the rows of a run sum to 100 % of kernel time."""
    rows = []
    for summary in summaries:
        kernel_ns = summary.total_ns("kernel")
        for name, (count, total_ns) in categories.times_ns(summary).items():
            if kernel_ns and (count or name == categories.UNCLASSIFIED):
                share = _percent(total_ns / kernel_ns)
                rows.append([summary.run, name, _whole(count), f"{total_ns / 1e6:.3f}", share])
    columns = ["run", "category", "count", "total / ms", "of kernel time / %"]
    return shown.table("Kernels by what they do", columns, rows, ["by the patterns of compare/trace/categories.py"])


def longest_kernels(summaries: list[Summary]) -> Table:
    """The kernels that take most time."""
    rows = []
    for summary in summaries:
        for row in summary.of("kernel")[:_SHOWN_FUNCTIONS]:
            share = _percent(summary.shares(row)["GPU busy time"])
            times = [f"{row.time_ns.total / 1e6:.3f}", _whole(row.time_ns.mean), _whole(row.time_ns.median)]
            name = categories.short(row.name)
            rows.append([summary.run, name, categories.category(row.name), _whole(row.count), *times, share])
    columns = ["run", "kernel", "category", "count", "total / ms", "mean / ns", "median / ns", "of GPU busy time / %"]
    return shown.table(f"The {_SHOWN_FUNCTIONS} longest kernels of each run", columns, rows, [_BUSY_NOTE])


def traces(summaries: list[Summary]) -> Table:
    """How each trace was taken and what it may lack."""
    names = ("tracer", "wall_s", "records", "dropped", "end", "errors", "machine")
    rows = [
        [
            summary.run,
            *(_fact(summary.facts.get(name)) for name in names),
            _whole(sum(r.untimed for r in summary.activities)),
        ]
        for summary in summaries
    ]
    columns = [
        "run",
        "tracer",
        "wall / s",
        "records",
        "dropped",
        "ended by",
        "errors of CUPTI",
        "machine",
        "without a time",
    ]
    return shown.table("Traces", columns, rows, [_WALL_NOTE])


def _memory(summary: Summary) -> list[Activity]:
    known = {name: number for number, name in enumerate(_ORDER)}
    return sorted(summary.of("memset", "memcpy"), key=lambda row: (known.get(row.name, len(known)), row.name))


def _optimizers(summaries: list[Summary]) -> list[str]:
    return list(dict.fromkeys(str(s.facts["optimizer"]) for s in summaries if s.facts.get("optimizer")))


def _place(summary: Summary) -> str:
    return ", ".join(str(summary.facts[name]) for name in ("network_kind", "engine") if summary.facts.get(name))


def _groups(summaries: list[Summary]) -> dict[str, dict[str, list[Summary]]]:
    """Sort runs by network and engine, then by optimizer."""
    found: dict[str, dict[str, list[Summary]]] = {}
    for summary in summaries:
        if summary.facts.get("optimizer"):
            found.setdefault(_place(summary), {}).setdefault(str(summary.facts["optimizer"]), []).append(summary)
    return found


def _across(summaries: list[Summary], cell: Callable[[Activity], str]) -> list[list[str]]:
    rows = []
    for place, runs in _groups(summaries).items():
        found = {optimizer: {row.name: row for row in _memory(repeats[0])} for optimizer, repeats in runs.items()}
        names = dict.fromkeys(name for operations in found.values() for name in operations)
        for name in names:
            cells = [
                cell(found[optimizer][name]) if name in found.get(optimizer, {}) else NOT_AVAILABLE
                for optimizer in _optimizers(summaries)
            ]
            rows.append([place, name, *cells])
    return rows


def _pairs(summaries: list[Summary]) -> dict[str, tuple[list[Summary], list[Summary]]]:
    """Choose two optimizers for each network and engine: as in the thesis ADMM against SGD, or the nearest there is."""
    order = ("admm", "ipalm", "adam", "sgd")
    found = {}
    for place, runs in _groups(summaries).items():
        present = sorted(runs, key=lambda name: order.index(name) if name in order else len(order))
        if len(present) > 1:
            last = "sgd" if "sgd" in present else present[-1]
            found[place] = (runs[present[0]], runs[last])
    return found


def _calls(summary: Summary, group: str) -> dict[str, tuple[int, float]]:
    """Return number and nanoseconds of the calls of a group of functions."""
    found = {}
    for row in summary.of("runtime", "driver"):
        plain = row.name.lower().removeprefix("cuda").removeprefix("cu")
        allocates = plain.startswith(_ALLOCATION) or "hostalloc" in plain or "hostregister" in plain
        if group == ("allocation" if allocates else row.kind):
            found[row.name] = (row.count, row.time_ns.total)
    return found


def _compared(first: list[tuple[int, float]], second: list[tuple[int, float]]) -> list[str]:
    """Return calls, total and mean of both sides, each the mean of its repeats, and whether they differ."""
    cells: list[str] = []
    means, spreads = [], []
    for side in (first, second):
        repeats = [total_ns / count for count, total_ns in side if count]
        mean = sum(repeats) / len(repeats) if repeats else None
        total_ms = sum(total_ns for _, total_ns in side) / len(side) / 1e6
        cells += [_whole(sum(count for count, _ in side) / len(side)), f"{total_ms:.3f}", _whole(mean)]
        means.append(mean)
        spreads.append(max(repeats) - min(repeats) if len(repeats) > 1 else None)
    if means[0] is None or means[1] is None or spreads[0] is None or spreads[1] is None:
        return [*cells, NOT_AVAILABLE]
    return [*cells, "differs" if abs(means[0] - means[1]) > max(spreads[0], spreads[1]) else "no"]


def _sum(calls: dict[str, tuple[int, float]]) -> tuple[int, float]:
    return sum(count for count, _ in calls.values()), sum(total_ns for _, total_ns in calls.values())


def _longest(calls: list[dict[str, tuple[int, float]]], name: str) -> float:
    return max(found.get(name, (0, 0.0))[1] for found in calls)


def _whole(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value:.0f}"


def _megabytes(value: float | None) -> str:
    return NOT_AVAILABLE if value is None else f"{value / MB:.3f}"


def _percent(share: float | None) -> str:
    return NOT_AVAILABLE if share is None else f"{100 * share:.2f}"


def _fact(value: object) -> str:
    return NOT_AVAILABLE if value in (None, "") else f"{value:.1f}" if isinstance(value, float) else str(value)
