"""The files for a paper: tables as CSV, Markdown and LaTeX, figures as PNG and PDF, the results as Parquet."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from bart_bridge.files import atomic
from compare.report.figures.contents import CaptionedFigure, figures_of_experiment
from compare.report.tables.contents import tables_of_experiment
from compare.report.tables.table import Table
from compare.results.images import Images
from compare.results.table import read_history, read_memory, read_results
from compare.results.table_files import is_not_available
from compare.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas

_PNG_DPI = 200
# The names of what a report wrote into a folder, for the next one.
LIST = ".bart-tf-files.txt"
# What LaTeX's fonts do not have.
_LATEX_WORDS = {"±": r"$\pm$", "°": r"$^\circ$", "−": "$-$"}


def write(experiment: Experiment, folder: Path, images: Images) -> tuple[list[Table], list[CaptionedFigure]]:
    """Write `tables/`, `figures/` and `results.parquet` of an experiment from its results; nothing is run.

    Only `results.csv` is needed: figures of images, losses or memory over time are left out where those are missing.

    Args:
        experiment: The experiment.
        folder: Its folder.
        images: Its images that are there.

    Returns:
        The tables, and the figures, whose files are `figures/<slug>.png`.

    Raises:
        InputError: `results.csv` is missing or has other columns.
    """
    table = read_results(folder)
    write_parquet(table, folder / "results.parquet")
    tables = tables_of_experiment(experiment, table)
    write_tables(tables, folder / "tables")
    figures = list(figures_of_experiment(experiment, table, read_history(folder), read_memory(folder), images))
    write_figures(figures, folder / "figures")
    return tables, figures


def write_tables(tables: Iterable[Table], folder: Path) -> None:
    """Write every table as `<slug>.csv`, `.md` and `.tex`, and remove those of an older report."""
    tables = list(tables)
    _remove_older(folder, [f"{table.slug}.{suffix}" for table in tables for suffix in ("csv", "md", "tex")])
    for table in tables:
        atomic.write_text(folder / f"{table.slug}.csv", csv(table))
        atomic.write_text(folder / f"{table.slug}.md", table.markdown())
        atomic.write_text(folder / f"{table.slug}.tex", latex(table))


def csv(table: Table) -> str:
    """Return a table as CSV. Title and notes come first, in lines that begin with `#`."""
    notes = "".join(f"# {line}\n" for line in [table.title, *table.notes])
    return notes + table.texts.to_csv(index=False)


def latex(table: Table) -> str:
    """Return a table for LaTeX (package booktabs), with its notes below."""
    styler = table.texts.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    text = styler.to_latex(
        hrules=True,
        caption=_escaped(table.title),
        label=f"tab:{table.slug}",
        position="htbp",
        position_float="centering",
        column_format="l" * len(table.columns),
    )
    notes = "".join(f"\\par {_escaped(line)}\n" for line in table.notes)
    text = text.replace(
        "\\end{table}", f"\\begin{{flushleft}}\\footnotesize\n{notes}\\end{{flushleft}}\n\\end{{table}}"
    )
    for character, command in _LATEX_WORDS.items():
        text = text.replace(character, command)
    return text


def write_figures(figures: Iterable[CaptionedFigure], folder: Path) -> None:
    """Write every figure as `<slug>.png` and `.pdf`, and remove those of an older report."""
    figures = list(figures)
    _remove_older(folder, [f"{each.slug}.{suffix}" for each in figures for suffix in ("png", "pdf")])
    for each in figures:
        for suffix in ("png", "pdf"):
            # No date in the file: the same results give the same bytes.
            metadata = {"CreationDate": None} if suffix == "pdf" else None
            each.figure.savefig(folder / f"{each.slug}.{suffix}", dpi=_PNG_DPI, metadata=metadata)
            # The layout of the first file serves both: it takes half of the time.
            each.figure.set_layout_engine("none")


def write_parquet(table: pandas.DataFrame, path: Path) -> None:
    """Write the results table as Parquet. A value that is not available is null; others may be NaN or infinite."""
    import pyarrow as pa
    from pyarrow import parquet

    text = {name: str for name in table.columns if name != "value"}
    columns = pa.Table.from_pandas(table.astype(text), preserve_index=False)
    # pandas would write null for every NaN.
    value = pa.array(table.value.to_numpy(), mask=is_not_available(table).to_numpy())
    buffer = io.BytesIO()
    parquet.write_table(columns.set_column(table.columns.get_loc("value"), "value", value), buffer)
    with atomic.new_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def _remove_older(folder: Path, names: list[str]) -> None:
    """Make a folder, and remove the files of an older report: they would pass for a part of this one.

    Only the files in the list that the older report wrote are removed; `names` becomes the list of this one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / LIST
    for name in written.read_text().splitlines() if written.exists() else []:
        (folder / Path(name).name).unlink(missing_ok=True)
    atomic.write_text(written, "".join(f"{name}\n" for name in names))


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}", "|": r"\textbar{}", "<": r"\textless{}"}
    special |= {">": r"\textgreater{}"} | {character: f"\\{character}" for character in "&%$#_{}"}
    return re.sub(r"[\\^~|<>&%$#_{}]", lambda match: special[match[0]], text)
