"""Check that figures agree with each other: products, shares, order, units, and the same figure in two places.

A figure is known to half a unit of its last digit; a check fails where no values within that agree.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import log10

from compare.report.tables.table import Table
from compare.results import published

PUBLISHED, EXPLANATIONS = "cuda.csv", "cuda_explanations.csv"
OPTIMIZERS = ("adam", "admm", "ipalm", "sgd")
_UNITS = {"ns": 1e-9, "ms": 1e-3, "min": 60.0, "kB": 1e3, "MB": 1e6, "MiB": 2.0**20, "GB": 1e9, "%": 0.01}
# Columns of our own tables, by their heading.
_HEADINGS = {"of memory operations / %": ("share", "%"), "of kernel time / %": ("share", "%"), "count": ("count", "1")}


@dataclass(frozen=True)
class Figure:
    """One printed number.

    Attributes:
        table, network, run, item, quantity: What it is.
        low, high: Between these the value is, in seconds, bytes or parts of one.
        text: As printed, with its unit.
    """

    table: str
    network: str
    run: str
    item: str
    quantity: str
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Finding:
    """Something that does not add up.

    Attributes:
        check: Which check failed.
        where: Table, network, run and item.
        message: What does not agree with what.
        explanation: Why, where that is known.
    """

    check: str
    where: tuple[str, str, str, str]
    message: str
    explanation: str = ""

    def __str__(self) -> str:
        """Write it in one line."""
        words = ", ".join(filter(None, self.where[1:]))
        reason = f" [{self.explanation}]" if self.explanation else ""
        return f"{self.check}: table {self.where[0]}, {words}: {self.message}{reason}"


def check(figures: Iterable[Figure]) -> list[Finding]:
    """Run every check over figures of one source."""
    known = list(figures)
    checks = (
        _products,
        _shares,
        _orders,
        _agreements,
        _peaks,
        _ratios,
        _parts_of_training,
        _claims,
        _parameters,
        _names,
    )
    return [finding for one in checks for finding in one(known)]


def check_published() -> list[Finding]:
    """Check the published tables; each finding has its explanation.

    Raises:
        InputError: A file of published figures is missing or damaged.
    """
    explained = {
        (row["check"], row["table"], row["network"], row["run"], row["item"]): row["explanation"]
        for row in csv.DictReader(io.StringIO(published.text(EXPLANATIONS), newline=""))
    }
    figures = [_row_figure(row) for row in csv.DictReader(io.StringIO(published.text(PUBLISHED), newline=""))]
    return [
        Finding(found.check, found.where, found.message, explained.get((found.check, *found.where), ""))
        for found in check(figures)
    ]


def _row_figure(row: dict[str, str]) -> Figure:
    half_width = float(row["half_width"]) if row["half_width"] else None
    place = row["table"], row["network"], row["run"], row["item"]
    return figure(*place, row["quantity"], row["value"], row["unit"], half_width)


def from_tables(tables: Iterable[Table]) -> list[Figure]:
    """Take the figures of our own tables, as they are printed."""
    found = []
    for table in tables:
        if table.columns[:2] not in (["run", "operation"], ["run", "category"]):
            continue
        sized = "by size" in table.title
        for row in table.rows:
            for heading, cell in zip(table.columns[2:], row[2:], strict=True):
                name, _, unit = heading.partition(" / ")
                quantity, unit = _HEADINGS.get(heading, (f"{name}_{'size' if sized else 'time'}", unit))
                if cell != "n/a" and not name.startswith(("of GPU", "of wall")):
                    found.append(figure(table.title, "", row[0], row[1], quantity, cell, unit))
    return found


def figure(
    table: str, network: str, run: str, item: str, quantity: str, text: str, unit: str, half_width: float | None = None
) -> Figure:
    """Make a figure from what is printed: `58.0`, `<0.1`, or words for a claim.

    Raises:
        ValueError: It is no number, and no claim either.
    """
    scale = _UNITS.get(unit, 1.0)
    shown = f"{text} {unit}".removesuffix(" 1").strip()
    if quantity in {"lower_mean_time_than", "optimizer"}:
        return Figure(table, network, run, item, quantity, 0.0, 0.0, text)
    if text.startswith("<"):
        return Figure(table, network, run, item, quantity, 0.0, float(text[1:]) * scale, shown)
    if half_width is None:
        mantissa, _, exponent = text.lower().partition("e")
        half_width = 0.5 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        # A count is what it says.
        half_width = 0.0 if unit == "1" and "." not in text else half_width
    value = float(text)
    return Figure(
        table, network, run, item, quantity, (value - half_width) * scale, (value + half_width) * scale, shown
    )


_Rows = dict[tuple[str, str, str, str], dict[str, Figure]]


def _rows(figures: list[Figure]) -> _Rows:
    found: _Rows = defaultdict(dict)
    for one in figures:
        found[one.table, one.network, one.run, one.item][one.quantity] = one
    return found


def _apart(low: float, high: float, other: Figure) -> bool:
    slack = 1e-9 * max(abs(low), abs(high))
    return high + slack < other.low or low - slack > other.high


def _products(figures: list[Figure]) -> Iterator[Finding]:
    for where, row in _rows(figures).items():
        for kind in ("time", "size"):
            count, mean, total = (row.get(name) for name in ("count", f"mean_{kind}", f"total_{kind}"))
            if not (count and mean and total):
                continue
            low, high = count.low * mean.low, count.high * mean.high
            if _apart(low, high, total):
                times = _factor((low + high) / (total.low + total.high))
                yield Finding(
                    "count x mean = total", where, f"{count.text} x {mean.text} is not {total.text}{times} ({kind})"
                )


def _shares(figures: list[Figure]) -> Iterator[Finding]:
    runs: dict[tuple[str, str, str], _Rows] = defaultdict(dict)
    for where, row in _rows(figures).items():
        if "share" in row:
            runs[where[:3]][where] = row
    for (table, network, run), rows in runs.items():
        shares = [row["share"] for row in rows.values()]
        low, high = 100 * sum(one.low for one in shares), 100 * sum(one.high for one in shares)
        # A hundredth of a percent is no share that anybody would miss.
        if high < 99.99 or low > 100.01:
            where = (table, network, run, "")
            yield Finding("shares sum to 100 %", where, f"they sum to between {low:.2f} and {high:.2f} %")
        totals = {where: row["total_time"] for where, row in rows.items() if "total_time" in row}
        if len(totals) < len(rows):
            continue
        whole_low, whole_high = sum(t.low for t in totals.values()), sum(t.high for t in totals.values())
        for where, total in totals.items():
            low, high = total.low / whole_high if whole_high else 0.0, total.high / whole_low if whole_low > 0 else 1.0
            if _apart(low, high, rows[where]["share"]):
                message = f"printed {rows[where]['share'].text}, the totals give {100 * (low + high) / 2:.2f} %"
                yield Finding("share = total / sum of totals", where, message)


def _orders(figures: list[Figure]) -> Iterator[Finding]:
    for where, row in _rows(figures).items():
        for kind in ("time", "size"):
            for small, large in (
                ("min", "median"),
                ("median", "max"),
                ("min", "mean"),
                ("mean", "max"),
                ("max", "total"),
            ):
                first, second = row.get(f"{small}_{kind}"), row.get(f"{large}_{kind}")
                if first and second and first.low > second.high:
                    yield Finding(
                        "minimum <= median, mean <= maximum", where, f"{small} {first.text} > {large} {second.text}"
                    )


def _agreements(figures: list[Figure]) -> Iterator[Finding]:
    """Compare what is printed in more than one table; our own tables carry their titles, which differ too."""
    same: dict[tuple[str, str, str, str], list[Figure]] = defaultdict(list)
    for one in figures:
        if one.quantity not in {"memory", "share"}:
            same[one.network, one.run, one.item, one.quantity].append(one)
    for (network, run, item, quantity), group in same.items():
        for first, second in combinations(group, 2):
            if _apart(first.low, first.high, second):
                times = _factor((first.low + first.high) / (second.low + second.high))
                message = f"{quantity} is {first.text} in table {first.table}, {second.text} here{times}"
                yield Finding("same figure in two places", (second.table, network, run, item), message)


def _peaks(figures: list[Figure]) -> Iterator[Finding]:
    for where, row in _rows(figures).items():
        memory, peak = row.get("memory"), row.get("peak_memory")
        if memory and peak and peak.high < memory.low:
            yield Finding("peak >= level", where, f"the peak {peak.text} is below {memory.text}")


def _ratios(figures: list[Figure]) -> Iterator[Finding]:
    rows = _rows(figures)
    for where, row in rows.items():
        for quantity, ratio in row.items():
            if not quantity.endswith("_ratio"):
                continue
            above, _, below = where[1].partition("/")
            parts = [rows[where[0], name, *where[2:]][quantity.removesuffix("_ratio")] for name in (above, below)]
            low, high = parts[0].low / parts[1].high, parts[0].high / parts[1].low
            if _apart(low, high, ratio):
                message = f"{parts[0].text} / {parts[1].text} is {low:.3f} to {high:.3f}, printed {ratio.text}"
                yield Finding("ratio", where, message)


def _parts_of_training(figures: list[Figure]) -> Iterator[Finding]:
    def first(wanted: Callable[[Figure], bool]) -> Figure | None:
        return next((one for one in figures if wanted(one)), None)

    for claim in figures:
        if claim.quantity != "share_of_training":
            continue
        where = (claim.table, claim.network, claim.run, claim.item)
        part = first(lambda f, w=where: f.quantity == "total_time" and (f.network, f.run, f.item) == w[1:])  # type: ignore[misc]
        whole = first(lambda f, w=where: f.quantity == "training_time" and f.network == w[1])  # type: ignore[misc]
        if part and whole and _apart(part.low / whole.high, part.high / whole.low, claim):
            value = f"{100 * part.high / whole.high:.1f} %"
            yield Finding("share of training", where, f"said {claim.text}, {part.text} of {whole.text} is {value}")


def _claims(figures: list[Figure]) -> Iterator[Finding]:
    means = {(f.network, f.run, f.item): f for f in figures if f.quantity == "mean_time"}
    for claim in figures:
        if claim.quantity == "lower_mean_time_than":
            own = means[claim.network, claim.run, claim.item]
            other = means[claim.network, claim.text, claim.item]
            if own.low >= other.high:
                message = f"said to be lower than under {claim.text}, the table has {own.text} against {other.text}"
                yield Finding("claim", (claim.table, claim.network, claim.run, claim.item), message)


def _parameters(figures: list[Figure]) -> Iterator[Finding]:
    """Count the parameters of the networks; their sizes are in `docs/rq.md`."""
    counts = {(f.network, f.quantity): f for f in figures if f.quantity.endswith("_parameters")}
    printed = counts.get(("VarNet", "real_parameters"))
    for one in figures:
        if printed and one.quantity == "filters" and one.network == "VarNet":
            counted = 10 * (one.low * 11 * 11 * 2 + one.low * 31 + 1)
            if counted != printed.low:
                message = f"{one.text} filters make {counted:.0f} parameters, not {printed.text}"
                yield Finding("parameters", (one.table, one.network, "", ""), message)
    # 5 layers of 3x3 filters; biases; lambda; 10 scales of batch norm.
    complex_count = 9 * (32 + 3 * 32 * 32 + 32) + 4 * 32 + 1 + 1 + 10
    # The convolutions alone; everything else comes on top.
    real_count = 9 * (2 * 64 + 3 * 64 * 64 + 64 * 2)
    for key, counted, exact in (
        (("MoDL (BART)", "complex_parameters"), complex_count, True),
        (("MoDL (original)", "real_parameters"), real_count, False),
    ):
        found = counts.get(key)
        if found and (found.low != counted if exact else found.low < counted):
            message = f"printed {found.text}, " + ("" if exact else "the convolutions alone have ") + f"{counted}"
            yield Finding("parameters", (found.table, key[0], "", ""), message)


def _names(figures: list[Figure]) -> Iterator[Finding]:
    for one in figures:
        if one.quantity == "optimizer" and one.text.lower() not in OPTIMIZERS:
            message = f"'{one.text}' is none of {', '.join(OPTIMIZERS)}"
            yield Finding("name", (one.table, one.network, one.run, one.item), message)


def _factor(ratio: float) -> str:
    """Say that two figures are a power of 1000 apart: their units then are not what they are called."""
    if ratio <= 0:
        return ""
    power = round(log10(ratio) / 3)
    near = abs(log10(ratio) - 3 * power) < 0.05
    return f", apart by 1000^{abs(power)}: a unit is wrong" if power and near else ""
