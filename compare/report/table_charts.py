"""Charts of tables whose numbers are easier to compare by eye: ratios with their spread, and what was published."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from compare.report.intervals import FIRST, PUBLISHED, Cell, Chart, Mark, Panel, Row, Scale
from compare.report.tables.table import Cell as TableCell
from compare.report.tables.table import Numbers, Table, printed

if TYPE_CHECKING:
    import pandas

_FEWEST_ENGINES = 2


def chart_of(table: Table) -> Chart | None:
    """Draw a table of ratios, or the agreement with what was published; None for other tables."""
    if table.slug == "agreement":
        return _agreement(table)
    return _ratios(table) if table.slug.startswith("ratios-") else None


def _ratios(table: Table) -> Chart | None:
    """Draw a row for each engine and a panel for each quantity; None for a single engine, whose table is as short."""
    frame, form = table.frame, table.formats["ratio / 1"]
    if frame.engine.nunique() < _FEWEST_ENGINES:
        return None
    marks = {
        (str(network), str(engine), str(quantity)): _ratio(ratio, low, high)
        for network, engine, quantity, ratio, low, high, _ in frame.itertuples(index=False, name=None)
    }
    quantities = [str(quantity) for quantity in frame.quantity.unique()]
    panels = []
    for quantity in quantities:
        scale = Scale.around([mark for (*_, name), mark in marks.items() if mark and name == quantity], True, (1.0,))
        panels.append(Panel(_upper(quantity), "ratio / 1", scale, neutral=1.0))
    groups: dict[str, list[Row]] = {}
    for network, engine in frame[["network", "engine"]].drop_duplicates().itertuples(index=False, name=None):
        cells = []
        for quantity in quantities:
            mark = marks.get((str(network), str(engine), quantity))
            cells.append(Cell(printed(mark.mean if mark else None, form), [mark] if mark else []))
        groups.setdefault(str(network), []).append(Row(str(engine), cells))
    return Chart(
        f"{table.title}, as a chart", "engine", panels, groups, {FIRST: "geometric mean and range of the repeats"}
    )


def _ratio(mean: TableCell, low: TableCell, high: TableCell) -> Mark | None:
    if not isinstance(mean, float) or not math.isfinite(mean):
        return None
    return Mark(mean, low if isinstance(low, float) else mean, high if isinstance(high, float) else mean)


def _agreement(table: Table) -> Chart:
    """Draw a row for each quantity, with ratios and differences in panels of their own."""
    frame: pandas.DataFrame = table.frame
    rows: dict[str, list[Row]] = {}
    drawn: tuple[list[Mark], list[Mark]] = ([], [])
    for network, quantity, ours, theirs, verdict in frame.itertuples(index=False, name=None):
        marks = [_spread(ours, FIRST), _spread(theirs, PUBLISHED)]
        is_difference = "PSNR" in quantity
        drawn[is_difference].extend(marks)
        cells = [Cell(""), Cell("")]
        cells[is_difference] = Cell(verdict, marks)
        rows.setdefault(str(network), []).append(Row(str(quantity), cells))
    panels = [
        Panel("Ratios", "1 is no difference", Scale.around(drawn[0], True, (1.0,)), neutral=1.0),
        Panel("Differences of PSNR / dB", "0 is no difference", Scale.around(drawn[1], False, (0.0,)), neutral=0.0),
    ]
    kept = [number for number in (0, 1) if drawn[number]]
    groups = {
        name: [Row(row.label, [row.cells[number] for number in kept]) for row in entries]
        for name, entries in rows.items()
    }
    legend = {FIRST: "ours: mean and range", PUBLISHED: "published: mean and range"}
    return Chart(f"{table.title}, as a chart", "quantity", [panels[number] for number in kept], groups, legend)


def _spread(cell: TableCell, kind: str) -> Mark:
    if isinstance(cell, Numbers):
        mean, low, high = cell.values
        return Mark(mean, low, high, kind)
    assert isinstance(cell, float)
    return Mark(cell, cell, cell, kind)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
