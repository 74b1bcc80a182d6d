"""The page of a report: one HTML file that contains its tables, figures and images and needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import jinja2

from compare.report import groups
from compare.report.figures import colours
from compare.report.figures.embedded import Figure
from compare.report.summary.contents import Summary
from compare.report.tables.table import NOT_FINITE, Table, sort_key
from compare.results.table_files import NOT_AVAILABLE

_SCRIPTS = ("images.js", "page.js", "viewer.js")
# Texts of more characters are broken into lines.
_LONG = 24


@dataclass(frozen=True)
class Chapter:
    """What another part of the project adds to a report.

    Attributes:
        tables: Stand after those of the report.
        figures: The same.
        warnings: What is wrong in them, a sentence each.
    """

    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Page:
    """What is on a page.

    Attributes:
        title: Name of the experiment.
        description: A sentence on it.
        tables: Sorted into groups by `compare.report.groups`.
        figures: The same.
        summary: The first screen.
        conditions: How everything was measured, a sentence each.
        warnings: What is missing or wrong, a sentence each.
        viewer: Images to look at, from `compare.report.viewer.pack`; None for none.
        setup: Titled lists of names and values (texts, numbers, lists or mappings): machine, versions, settings.
        files: What the files beside the page contain, by name.
        engines: Names of the engines, which are marked with their colour in tables.
    """

    title: str
    description: str
    tables: list[Table]
    figures: list[Figure]
    summary: Summary = field(default_factory=Summary)
    conditions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    viewer: Mapping[str, object] | None = None
    setup: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    engines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Column:
    heading: str
    numeric: bool
    long: bool
    published: bool
    cells: list[str]
    keys: list[float | None]


@dataclass(frozen=True)
class _Contents:
    """A table as the page has it: columns with values, the reasons of those without any, and the other notes."""

    columns: list[_Column]
    folded: dict[str, list[str]]
    notes: list[str]


def render(page: Page, version: str) -> str:
    """Return the page as HTML.

    Args:
        page: What is on it.
        version: Of bart-tf.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["setting"] = _setting
    loader = environment.loader
    assert loader is not None
    labels = [row.label for chart in [page.summary.chart] if chart for rows in chart.groups.values() for row in rows]
    return environment.get_template("index.html.j2").render(
        page=page,
        version=version,
        groups=groups.group(page.tables, page.figures),
        contents={table.slug: _contents(table) for table in page.tables},
        colours=colours.by_engine([*page.engines, *labels]),
        style=loader.get_source(environment, "page.css")[0],
        script="\n".join(loader.get_source(environment, name)[0] for name in _SCRIPTS),
    )


def _contents(table: Table) -> _Contents:
    """Return a table without the columns that are not available throughout, which are folded away with the reason."""
    columns = _columns(table)
    empty = [column for column in columns if column.cells and all(cell == NOT_AVAILABLE for cell in column.cells)]
    notes = table.notes
    folded: dict[str, list[str]] = {}
    for column in empty:
        heading = column.heading.replace("\N{NO-BREAK SPACE}", " ")
        reasons = [
            note for note in notes if NOT_AVAILABLE in note and heading in note.partition(f" {NOT_AVAILABLE}")[0]
        ]
        # The name of the column is said once.
        folded[heading] = [re.sub(rf"^{re.escape(heading)}[:,] ", "", note) for note in reasons]
    general = [note for note in notes if NOT_AVAILABLE in note and not any(name in note for name in table.columns)]
    folded = {heading: reasons or general or ["n/a in every row"] for heading, reasons in folded.items()}
    kept = [note for note in notes if not any(note.startswith((f"{name}:", f"{name},")) for name in folded)]
    return _Contents([column for column in columns if column not in empty], folded, kept)


def _columns(table: Table) -> list[_Column]:
    """Return the columns as text, and as numbers to sort by."""
    columns = []
    rows = table.rows
    for position, heading in enumerate(table.columns):
        cells = [row[position] for row in rows]
        keys = [sort_key(cell) for cell in table.frame.iloc[:, position]]
        measured = [cell for cell in cells if cell and not cell.startswith((NOT_AVAILABLE, NOT_FINITE))]
        numeric = any(cells) and sum(key is not None for key in keys) == len(measured)
        columns.append(
            _Column(
                # A unit stays on the line of the word before it.
                heading=heading.replace(" / ", "\N{NO-BREAK SPACE}/\N{NO-BREAK SPACE}"),
                numeric=numeric,
                long=not numeric and max(map(len, cells), default=0) > _LONG,
                published="published" in heading.lower(),
                cells=cells,
                keys=keys if numeric else [None] * len(keys),
            )
        )
    return columns


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_setting, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_setting(entry)}" for key, entry in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return NOT_AVAILABLE if value is None else str(value) or "none"
