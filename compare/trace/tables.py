"""Tables 4 to 12 of the thesis, and the categories of kernels, made from the summaries of traced runs."""

from __future__ import annotations

from collections.abc import Callable

from compare.report.tables.table import Cell, Format, Numbers, Table, table_of_rows
from compare.trace import categories
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
    """Make every table that has rows."""
    tables = [
        gpu_state(summaries),
        memory_by_time(summaries),
        memory_by_size(summaries),
        *by_optimizer(summaries),
        *functions(summaries),
        kernel_categories(summaries),
        longest_kernels(summaries),
        traces(summaries),
    ]
    return [table for table in tables if len(table.frame)]


def gpu_state(summaries: list[Summary]) -> Table:
    """Make table 4: temperature, power, utilisation and clocks, mean and maximum over the traced run."""
    rows: list[list[Cell]] = []
    notes = []
    for summary in summaries:
        state = summary.facts.get("state") or {}
        cells: list[Cell] = []
        for name in QUANTITIES:
            value = state.get(name)
            scale = 2**20 if name == "memory_used_bytes" else 1
            cells.append(Numbers((value["mean"] / scale, value["max"] / scale), "{} / {}") if value else None)
        rows.append([summary.run, *cells])
        notes.append(str(state.get("note", "n/a: the state of the GPU was not sampled")))
    columns: dict[str, Format] = {"run": "", **dict.fromkeys(QUANTITIES.values(), ".0f")}
    return table_of_rows("GPU state, mean / maximum (thesis, table 4)", columns, rows, list(dict.fromkeys(notes)))


def memory_by_time(summaries: list[Summary]) -> Table:
    """Make table 5: the time of memory operations, with three shares that must not be mixed up."""
    rows: list[list[Cell]] = []
    for summary in summaries:
        for row in _memory(summary):
            time = row.time_ns
            shares = [_percent(share) for share in summary.shares(row).values()]
            values = [time.mean, time.median, time.minimum, time.maximum, time.std]
            rows.append([summary.run, row.name, row.count, time.total / 1e6, *values, *shares])
    columns: dict[str, Format] = {"run": "", "operation": "", "count": "", "total / ms": ".3f"}
    columns |= {f"{name} / ns": ".0f" for name in ("mean", "median", "min", "max", "std")}
    columns |= {f"of {whole} / %": ".2f" for whole in ("memory operations", "GPU busy time", "wall time")}
    return table_of_rows("CUDA memory operations by time (thesis, table 5)", columns, rows, [_BUSY_NOTE, _WALL_NOTE])


def memory_by_size(summaries: list[Summary]) -> Table:
    """Make table 6: the bytes of memory operations."""
    rows: list[list[Cell]] = []
    for summary in summaries:
        for row in _memory(summary):
            size = row.bytes
            values = [size.total if size.count else None, size.mean, size.median, size.minimum, size.maximum, size.std]
            rows.append([summary.run, row.name, row.count, *(_megabytes(value) for value in values)])
    columns: dict[str, Format] = {"run": "", "operation": "", "count": ""}
    columns |= {f"{name} / MB": ".3f" for name in ("total", "mean", "median", "min", "max", "std")}
    return table_of_rows("CUDA memory operations by size (thesis, table 6)", columns, rows, [_MB_NOTE])


def by_optimizer(summaries: list[Summary]) -> list[Table]:
    """Make tables 7 and 8: size and mean time of each operation across optimizers, one row per network and engine."""
    size = _across(summaries, lambda row: _megabytes(row.bytes.total if row.bytes.count else None))
    mean = _across(summaries, lambda row: row.time_ns.mean)
    labels: dict[str, Format] = {"network, engine": "", "operation": ""}
    sizes, means = (labels | dict.fromkeys(_optimizers(summaries), form) for form in (".3f", ".0f"))
    note = "the first run of each optimizer; n/a: not run, or no such operation"
    return [
        table_of_rows("Total size by optimizer, MB (thesis, table 7)", sizes, size, [_MB_NOTE, note]),
        table_of_rows("Mean time by optimizer, ns (thesis, table 8)", means, mean, [note]),
    ]


def functions(summaries: list[Summary]) -> list[Table]:
    """Make tables 9 to 12: host time of CUDA functions under two optimizers side by side.

    A difference of means is marked where it exceeds the spread between repeats of both optimizers.
    """
    groups = {"runtime": 10, "allocation": 11, "driver": 12}
    rows: dict[str, list[list[Cell]]] = {name: [] for name in ("all groups", *groups)}
    for run, (first, second) in _pairs(summaries).items():
        label = f"{run}: {first[0].facts['optimizer']} against {second[0].facts['optimizer']}"
        for group in groups:
            calls = [_calls(summary, group) for summary in (*first, *second)]
            sums = [_sum(calls_of_run) for calls_of_run in calls]
            rows["all groups"].append([label, group, *_compared(sums[: len(first)], sums[len(first) :])])
            names = sorted({name for each in calls for name in each}, key=lambda name: -_longest(calls, name))
            for name in names[:_SHOWN_FUNCTIONS]:
                of_function = [each.get(name, (0, 0.0)) for each in calls]
                rows[group].append([label, name, *_compared(of_function[: len(first)], of_function[len(first) :])])
    note = (
        "differs: the means differ by more than the spread (largest - smallest) of repeats of either optimizer; "
        "n/a with one repeat. A function of the runtime may call one of the driver: groups overlap in time."
    )
    forms = {"calls": ".0f", "total / ms": ".3f", "mean / ns": ".0f"}
    sides: dict[str, Format] = {f"{side}: {text}": forms[text] for side in ("first", "second") for text in forms}
    labels = {group: {"network, engine: optimizers": "", "function": ""} for group in groups}
    labels["all groups"] = {"network, engine: optimizers": "", "group": ""}
    return [
        table_of_rows(
            f"Host time in CUDA functions, {group} (thesis, table {number})",
            {**labels[group], **sides, "differs": ""},
            rows[group],
            [note],
        )
        for group, number in {"all groups": 9, **groups}.items()
    ]


def kernel_categories(summaries: list[Summary]) -> Table:
    """Show the time of kernels by what they do; the rows of a run sum to 100 % of kernel time."""
    rows: list[list[Cell]] = []
    for summary in summaries:
        kernel_ns = summary.total_ns("kernel")
        for name, (count, total_ns) in categories.times_ns(summary).items():
            if kernel_ns and (count or name == categories.UNCLASSIFIED):
                share = _percent(total_ns / kernel_ns)
                rows.append([summary.run, name, count, total_ns / 1e6, share])
    columns: dict[str, Format] = {"run": "", "category": "", "count": "", "total / ms": ".3f"}
    columns |= {"of kernel time / %": ".2f"}
    return table_of_rows("Kernels by what they do", columns, rows, ["by the patterns of compare/trace/categories.py"])


def longest_kernels(summaries: list[Summary]) -> Table:
    """Show the kernels that take most time."""
    rows: list[list[Cell]] = []
    for summary in summaries:
        for row in summary.of("kernel")[:_SHOWN_FUNCTIONS]:
            share = _percent(summary.shares(row)["GPU busy time"])
            times = [row.time_ns.total / 1e6, row.time_ns.mean, row.time_ns.median]
            name = categories.short(row.name)
            rows.append([summary.run, name, categories.category(row.name), row.count, *times, share])
    columns: dict[str, Format] = {"run": "", "kernel": "", "category": "", "count": "", "total / ms": ".3f"}
    columns |= {"mean / ns": ".0f", "median / ns": ".0f", "of GPU busy time / %": ".2f"}
    return table_of_rows(f"The {_SHOWN_FUNCTIONS} longest kernels of each run", columns, rows, [_BUSY_NOTE])


def traces(summaries: list[Summary]) -> Table:
    """Show how each trace was taken and what it may lack."""
    names = ("tracer", "wall_s", "records", "dropped", "end", "errors", "machine")
    rows: list[list[Cell]] = [
        [
            summary.run,
            *(_fact(summary.facts.get(name)) for name in names),
            sum(row.untimed for row in summary.activities),
        ]
        for summary in summaries
    ]
    columns: dict[str, Format] = {"run": "", "tracer": "", "wall / s": ".1f", "records": "", "dropped": ""}
    columns |= {"ended by": "", "errors of CUPTI": "", "machine": "", "without a time": ""}
    return table_of_rows("Traces", columns, rows, [_WALL_NOTE])


def _memory(summary: Summary) -> list[Activity]:
    ranks = {name: rank for rank, name in enumerate(_ORDER)}
    return sorted(summary.of("memset", "memcpy"), key=lambda row: (ranks.get(row.name, len(ranks)), row.name))


def _optimizers(summaries: list[Summary]) -> list[str]:
    return list(dict.fromkeys(str(s.facts["optimizer"]) for s in summaries if s.facts.get("optimizer")))


def _network_and_engine(summary: Summary) -> str:
    return ", ".join(str(summary.facts[name]) for name in ("network_kind", "engine") if summary.facts.get(name))


def _groups(summaries: list[Summary]) -> dict[str, dict[str, list[Summary]]]:
    """Sort runs by network and engine, then by optimizer."""
    groups: dict[str, dict[str, list[Summary]]] = {}
    for summary in summaries:
        if summary.facts.get("optimizer"):
            groups.setdefault(_network_and_engine(summary), {}).setdefault(str(summary.facts["optimizer"]), []).append(
                summary
            )
    return groups


def _across(summaries: list[Summary], number: Callable[[Activity], float | None]) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for label, runs in _groups(summaries).items():
        operations = {optimizer: {row.name: row for row in _memory(repeats[0])} for optimizer, repeats in runs.items()}
        names = dict.fromkeys(name for by_name in operations.values() for name in by_name)
        for name in names:
            cells = [
                number(operations[optimizer][name]) if name in operations.get(optimizer, {}) else None
                for optimizer in _optimizers(summaries)
            ]
            rows.append([label, name, *cells])
    return rows


def _pairs(summaries: list[Summary]) -> dict[str, tuple[list[Summary], list[Summary]]]:
    """Choose two optimizers for each network and engine: as in the thesis ADMM against SGD, or the nearest there is."""
    order = ("admm", "ipalm", "adam", "sgd")
    pairs = {}
    for label, runs in _groups(summaries).items():
        present = sorted(runs, key=lambda name: order.index(name) if name in order else len(order))
        if len(present) > 1:
            last = "sgd" if "sgd" in present else present[-1]
            pairs[label] = (runs[present[0]], runs[last])
    return pairs


def _calls(summary: Summary, group: str) -> dict[str, tuple[int, float]]:
    """Return number and nanoseconds of the calls of a group of functions."""
    calls = {}
    for row in summary.of("runtime", "driver"):
        plain = row.name.lower().removeprefix("cuda").removeprefix("cu")
        allocates = plain.startswith(_ALLOCATION) or "hostalloc" in plain or "hostregister" in plain
        if group == ("allocation" if allocates else row.kind):
            calls[row.name] = (row.count, row.time_ns.total)
    return calls


def _compared(first: list[tuple[int, float]], second: list[tuple[int, float]]) -> list[Cell]:
    """Return calls, total and mean of both sides, each the mean of its repeats, and whether they differ."""
    cells: list[Cell] = []
    means, spreads = [], []
    for side in (first, second):
        repeats = [total_ns / count for count, total_ns in side if count]
        mean = sum(repeats) / len(repeats) if repeats else None
        total_ms = sum(total_ns for _, total_ns in side) / len(side) / 1e6
        cells += [sum(count for count, _ in side) / len(side), total_ms, mean]
        means.append(mean)
        spreads.append(max(repeats) - min(repeats) if len(repeats) > 1 else None)
    if means[0] is None or means[1] is None or spreads[0] is None or spreads[1] is None:
        return [*cells, None]
    return [*cells, "differs" if abs(means[0] - means[1]) > max(spreads[0], spreads[1]) else "no"]


def _sum(calls: dict[str, tuple[int, float]]) -> tuple[int, float]:
    return sum(count for count, _ in calls.values()), sum(total_ns for _, total_ns in calls.values())


def _longest(calls: list[dict[str, tuple[int, float]]], name: str) -> float:
    return max(each.get(name, (0, 0.0))[1] for each in calls)


def _megabytes(value: float | None) -> float | None:
    return None if value is None else value / MB


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _fact(value: object) -> Cell:
    """Return a fact of a trace; the tracer writes its counts as text."""
    if value in (None, ""):
        return None
    if isinstance(value, float):
        return value
    return int(str(value)) if str(value).isdigit() else str(value)
