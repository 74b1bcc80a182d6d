"""A table of the report: its cells stay numbers until it is printed as Markdown, CSV, LaTeX or on the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from compare.results.table_files import NOT_AVAILABLE

if TYPE_CHECKING:
    import pandas

# What stands in a cell whose number was measured and is not finite.
NOT_FINITE = "not finite"
_SLUG_LENGTH = 60


@dataclass(frozen=True)
class Numbers:
    """Several numbers in one cell, such as a mean and its deviation. The cell is sorted by the first of them.

    Attributes:
        values: The numbers.
        template: The text around them, with `{}` for each number, such as `{} ± {}`.
    """

    values: tuple[float, ...]
    template: str


Cell: TypeAlias = str | float | Numbers | None
"""A text, a number, several numbers, or None where nothing is available."""
Format: TypeAlias = str | Callable[[float], str]
"""How the numbers of a column are printed: a format specification such as `.2f`, or a function."""


@dataclass(frozen=True)
class Table:
    """A table with its title and notes.

    Attributes:
        slug: Name of its files: lower-case letters, digits and `-`.
        title: What it shows.
        caption: Definitions of its columns, and why something is `n/a`; a line each.
        frame: The cells, see `Cell`. Headings have units.
        formats: Format of the numbers of a column, by its heading; the shortest exact form by default.
    """

    slug: str
    title: str
    caption: str
    frame: pandas.DataFrame
    formats: Mapping[str, Format] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The headings."""
        return [str(column) for column in self.frame.columns]

    @property
    def rows(self) -> list[list[str]]:
        """The text of every cell."""
        formats = [self.formats.get(column, "") for column in self.columns]
        return [
            [printed(cell, form) for cell, form in zip(row, formats, strict=True)]
            for row in self.frame.itertuples(index=False, name=None)
        ]

    @property
    def texts(self) -> pandas.DataFrame:
        """The text of every cell, as a frame."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=self.columns)

    @property
    def notes(self) -> list[str]:
        """The lines of the caption."""
        return self.caption.splitlines()

    def markdown(self) -> str:
        """Return the table as Markdown, with its title and notes."""
        rows = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = [f"## {self.title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes), ""])


def table_of_rows(
    title: str, columns: Mapping[str, Format], rows: list[list[Cell]], notes: list[str], slug: str = ""
) -> Table:
    """Make a table row by row.

    Args:
        title: What it shows.
        columns: Heading and format of each column.
        rows: The cells.
        notes: Lines of the caption.
        slug: Name of its files; follows from the title by default.
    """
    import pandas as pd

    # None stays None, and an int an int, in columns of objects only.
    frame = pd.DataFrame(rows, columns=list(columns), dtype=object)
    return Table(slug or slug_of(title), title, "\n".join(notes), frame, columns)


def slug_of(text: str) -> str:
    """Return a name for files and links: lower-case letters, digits and `-`, 60 characters at most."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_SLUG_LENGTH].rstrip("-")


def printed(cell: Cell, form: Format = "") -> str:
    """Return the text of a cell; the format is that of each number in it."""
    if cell is None:
        return NOT_AVAILABLE
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Numbers):
        return cell.template.format(*(printed(value, form) for value in cell.values))
    return form(cell) if callable(form) else format(cell, form)


def sort_key(cell: Cell) -> float | None:
    """Return the number that a cell is sorted by; None for a text, and where nothing is available."""
    if isinstance(cell, Numbers):
        return float(cell.values[0]) if cell.values else None
    return None if cell is None or isinstance(cell, str) else float(cell)
