"""Check that figures agree with each other: products, shares, order, units, and the same figure in two places.

A figure is known to half a unit of its last digit. A check fails where no values within these bounds agree.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import log10
from typing import NamedTuple, TypeAlias

from compare.report.tables.table import Format, Table, printed

_UNITS = {"ns": 1e-9, "ms": 1e-3, "min": 60.0, "kB": 1e3, "MB": 1e6, "MiB": 2.0**20, "GB": 1e9, "%": 0.01}
# Columns of our own tables, by their heading.
_HEADINGS = {"of memory operations / %": ("share", "%"), "of kernel time / %": ("share", "%"), "count": ("count", "1")}
_PAIRS_IN_ORDER = (("min", "median"), ("median", "max"), ("min", "mean"), ("mean", "max"), ("max", "total"))


class Row(NamedTuple):
    """A row of a table; what does not apply is empty."""

    table: str
    network: str
    run: str
    item: str


@dataclass(frozen=True)
class Figure:
    """A printed number, or the words of a claim.

    Attributes:
        row: The row of its table.
        quantity: What it is, such as `mean_time` or `share`.
        low: Smallest value that is printed so, in seconds, bytes or parts of one.
        high: Largest such value.
        text: What is printed, with the unit.
    """

    row: Row
    quantity: str
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Finding:
    """Something that does not add up.

    Attributes:
        check: Which check failed.
        row: Where.
        message: What does not agree with what.
        explanation: Why, where that is known.
    """

    check: str
    row: Row
    message: str
    explanation: str = ""

    def __str__(self) -> str:
        """Write it in one line."""
        words = ", ".join(filter(None, self.row[1:]))
        reason = f" [{self.explanation}]" if self.explanation else ""
        return f"{self.check}: table {self.row.table}, {words}: {self.message}{reason}"


def check(figures: Iterable[Figure]) -> list[Finding]:
    """Run the checks that hold for figures of any source."""
    figures = list(figures)
    checks = (_products, _shares, _orders, _agreements)
    return [finding for check_figures in checks for finding in check_figures(figures)]


def figures_of_tables(tables: Iterable[Table]) -> list[Figure]:
    """Take the figures of our own tables, with as many digits as are printed."""
    figures = []
    for table in tables:
        if table.columns[:2] not in (["run", "operation"], ["run", "category"]):
            continue
        kind = "size" if "by size" in table.title else "time"
        for run, item, *cells in table.frame.itertuples(index=False, name=None):
            for heading, cell in zip(table.columns[2:], cells, strict=True):
                name, _, unit = heading.partition(" / ")
                quantity, unit = _HEADINGS.get(heading, (f"{name}_{kind}", unit))
                if isinstance(cell, int | float) and not name.startswith(("of GPU", "of wall")):
                    row = Row(table.title, "", run, item)
                    figures.append(_figure_of_cell(row, quantity, cell, unit, table.formats.get(heading, "")))
    return figures


def _figure_of_cell(row: Row, quantity: str, cell: float, unit: str, form: Format) -> Figure:
    decimals = re.fullmatch(r"\.(\d+)f", form) if isinstance(form, str) else None
    # A number without such a format, which is a count, is exact.
    half_width = 0.5 * 10.0 ** -int(decimals[1]) if decimals else 0.0
    return figure(row, quantity, cell, unit, half_width, printed(cell, form))


def figure(row: Row, quantity: str, value: float, unit: str, half_width: float, text: str) -> Figure:
    """Make a figure from a value that is known to lie within `half_width`, both in a unit."""
    scale = unit_scale(unit)
    low, high = (value - half_width) * scale, (value + half_width) * scale
    return Figure(row, quantity, low, high, text_with_unit(text, unit))


def unit_scale(unit: str) -> float:
    """Return a unit in seconds, bytes or parts of one."""
    return _UNITS.get(unit, 1.0)


def text_with_unit(text: str, unit: str) -> str:
    """Write a number with its unit, if it has one."""
    return f"{text} {unit}".removesuffix(" 1").strip()


FiguresByRow: TypeAlias = dict[Row, dict[str, Figure]]


def by_row(figures: list[Figure]) -> FiguresByRow:
    """Sort figures by row, and in a row by quantity."""
    rows: FiguresByRow = defaultdict(dict)
    for each in figures:
        rows[each.row][each.quantity] = each
    return rows


def are_apart(low: float, high: float, other: Figure) -> bool:
    """Tell whether no value between two bounds is one that a figure can have."""
    slack = 1e-9 * max(abs(low), abs(high))
    return high + slack < other.low or low - slack > other.high


def _products(figures: list[Figure]) -> Iterator[Finding]:
    for row, quantities in by_row(figures).items():
        for kind in ("time", "size"):
            count, mean, total = (quantities.get(name) for name in ("count", f"mean_{kind}", f"total_{kind}"))
            if not (count and mean and total):
                continue
            low, high = count.low * mean.low, count.high * mean.high
            if are_apart(low, high, total):
                factor = _factor((low + high) / (total.low + total.high))
                message = f"{count.text} x {mean.text} is not {total.text}{factor} ({kind})"
                yield Finding("count x mean = total", row, message)


def _shares(figures: list[Figure]) -> Iterator[Finding]:
    runs: dict[Row, FiguresByRow] = defaultdict(dict)
    for row, quantities in by_row(figures).items():
        if "share" in quantities:
            runs[row._replace(item="")][row] = quantities
    for run, rows in runs.items():
        shares = [quantities["share"] for quantities in rows.values()]
        low, high = 100 * sum(share.low for share in shares), 100 * sum(share.high for share in shares)
        # A hundredth of a percent is no share that anybody would miss.
        if high < 99.99 or low > 100.01:
            yield Finding("shares sum to 100 %", run, f"they sum to between {low:.2f} and {high:.2f} %")
        yield from _shares_of_totals(rows)


def _shares_of_totals(rows: FiguresByRow) -> Iterator[Finding]:
    totals = {row: figures["total_time"] for row, figures in rows.items() if "total_time" in figures}
    if len(totals) < len(rows):
        return
    whole_low, whole_high = sum(total.low for total in totals.values()), sum(total.high for total in totals.values())
    for row, total in totals.items():
        low, high = total.low / whole_high if whole_high else 0.0, total.high / whole_low if whole_low > 0 else 1.0
        share = rows[row]["share"]
        if are_apart(low, high, share):
            message = f"printed {share.text}, the totals give {100 * (low + high) / 2:.2f} %"
            yield Finding("share = total / sum of totals", row, message)


def _orders(figures: list[Figure]) -> Iterator[Finding]:
    for row, quantities in by_row(figures).items():
        for kind in ("time", "size"):
            for small, large in _PAIRS_IN_ORDER:
                first, second = quantities.get(f"{small}_{kind}"), quantities.get(f"{large}_{kind}")
                if first and second and first.low > second.high:
                    message = f"{small} {first.text} > {large} {second.text}"
                    yield Finding("minimum <= median, mean <= maximum", row, message)


def _agreements(figures: list[Figure]) -> Iterator[Finding]:
    """Compare what is printed in more than one table; our own tables carry their titles, which differ too."""
    same: dict[tuple[Row, str], list[Figure]] = defaultdict(list)
    for each in figures:
        if each.quantity not in {"memory", "share"}:
            same[each.row._replace(table=""), each.quantity].append(each)
    for (_, quantity), group in same.items():
        for first, second in combinations(group, 2):
            if are_apart(first.low, first.high, second):
                factor = _factor((first.low + first.high) / (second.low + second.high))
                message = f"{quantity} is {first.text} in table {first.row.table}, {second.text} here{factor}"
                yield Finding("same figure in two places", second.row, message)


def _factor(ratio: float) -> str:
    """Say if two figures differ by a power of 1000: then one of the units has a wrong name."""
    if ratio <= 0:
        return ""
    power = round(log10(ratio) / 3)
    near = abs(log10(ratio) - 3 * power) < 0.05
    return f", apart by 1000^{abs(power)}: a unit is wrong" if power and near else ""
