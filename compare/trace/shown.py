"""The one place where tables of traces become tables of the report."""

from __future__ import annotations

from compare.report.tables.table import Table, of_cells


def table(title: str, columns: list[str], rows: list[list[str]], notes: list[str]) -> Table:
    """Make a table of the report."""
    return of_cells(title, columns, rows, notes)
