"""The page of a report: one HTML file that contains its tables, figures and images and needs nothing else."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

import jinja2

from compare.report.figures import colours
from compare.report.tables.table import NOT_FINITE, Table, sort_key
from compare.results.table_files import NOT_AVAILABLE

_SCRIPTS = ("images.js", "page.js", "viewer.js")
_WIDE = 2.0
# Texts of more characters are broken into lines.
_LONG = 24


@dataclass(frozen=True)
class Figure:
    """A picture of the page.

    Attributes:
        slug: Name in links and of exported files: lower-case letters, digits and `-`.
        title: What it shows; also said in place of the picture where that cannot be seen.
        caption: Explanation below it.
        png: A PNG file.
    """

    slug: str
    title: str
    caption: str
    png: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        return self.size[0] > _WIDE * self.size[1]

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()


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
        headline: What came out, a sentence each.
        warnings: What is missing or wrong, a sentence each.
        tables: Shown in this order.
        figures: Shown in this order.
        viewer: Images to look at, from `compare.report.viewer.pack`; None for none.
        setup: Titled lists of names and values (texts, numbers, lists or mappings): machine, versions, settings.
        files: What the files beside the page contain, by name.
        engines: Names of the engines, which are marked with their colour in tables.
    """

    title: str
    description: str
    headline: list[str]
    tables: list[Table]
    figures: list[Figure]
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
    return environment.get_template("index.html.j2").render(
        page=page,
        version=version,
        tables=[(table, _columns(table)) for table in page.tables],
        colours=colours.by_engine(page.engines),
        style=loader.get_source(environment, "page.css")[0],
        script="\n".join(loader.get_source(environment, name)[0] for name in _SCRIPTS),
    )


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
