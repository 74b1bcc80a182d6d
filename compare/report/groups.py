"""Which tables, charts and figures of a report belong together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from compare.report import table_charts
from compare.report.figures.embedded import Figure
from compare.report.intervals import Chart
from compare.report.tables.table import Table

_SEEDS = ("seed-scale", "paired-seeds", "weights-across")
# Slugs of tables, in the order of the page.
_GROUPS = {
    "quality": ("Quality", ("paired", *_SEEDS, "quality", "quality-bart", "quality-fastmri", "measure-check")),
    "time": ("Time", ("ratios-time", "training-time", "inference-time")),
    "memory": ("Memory", ("ratios-memory", "memory")),
    "agreement": (
        "Agreement with what was published",
        ("agreement", "published-memory", "published-time", "published-gpu-state", "published-quality"),
    ),
    "machine": ("Machine", ("gpu-state", "energy")),
}
# Ends of the slugs of the figures that stand beside a table, because they say more.
_BESIDE = {
    "paired": r"bland-altman(-.*)?",
    "quality": r"violins|psnr",
    "training-time": r"loss",
    "inference-time": r"seconds",
    "memory": r"memory-(train|infer)",
}


@dataclass(frozen=True)
class Exhibit:
    """A table with what says more than it.

    Attributes:
        table: The table.
        chart: Its numbers as a chart; None for none.
        figures: Pictures beside it.
    """

    table: Table
    chart: Chart | None
    figures: list[Figure]


@dataclass(frozen=True)
class Group:
    """A part of the page.

    Attributes:
        slug: Name in links.
        title: Heading.
        exhibits: Its tables.
        figures: Pictures that belong to no table.
    """

    slug: str
    title: str
    exhibits: list[Exhibit]
    figures: list[Figure]


def group(tables: Sequence[Table], figures: Sequence[Figure]) -> list[Group]:
    """Sort tables and figures into groups, in the order of the page.

    Those of other parts of the project, such as the trace of the GPU, are a group of their own before the last one. The
    last one, about the machine, is always there.
    """
    left = list(figures)
    groups = []
    for slug, (title, slugs) in _GROUPS.items():
        exhibits = []
        for table in sorted(
            (table for table in tables if table.slug in slugs), key=lambda each: slugs.index(each.slug)
        ):
            beside = [figure for figure in left if _stands_beside(figure, table)]
            left = [figure for figure in left if figure not in beside]
            exhibits.append(Exhibit(table, table_charts.chart_of(table), beside))
        if exhibits or slug == "machine":
            groups.append(Group(slug, title, exhibits, []))
    known = {slug for _, slugs in _GROUPS.values() for slug in slugs}
    others = [Exhibit(table, None, []) for table in tables if table.slug not in known]
    if others or left:
        groups.insert(-1, Group("more", "More tables and figures" if others else "More figures", others, left))
    return groups


def _stands_beside(figure: Figure, table: Table) -> bool:
    pattern = _BESIDE.get(table.slug)
    # The name of a network may come first.
    return bool(pattern and re.fullmatch(rf"(.*-)?({pattern})", figure.slug))
