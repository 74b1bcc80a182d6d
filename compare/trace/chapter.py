"""The chapter about the GPU: tables, figures and findings, made from the files of traces."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bart_bridge.errors import InputError
from bart_bridge.files import atomic
from compare.report import page
from compare.report.figures import embedded
from compare.report.tables.table import Cell, Format, Table, slug_of, table_of_rows
from compare.trace import consistency, published_checks, roofline, roofline_report, sources, summary
from compare.trace import tables as trace_tables
from compare.trace.roofline_report import Counted
from compare.trace.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SLACK = 0.001
_DPI = 130


@dataclass(frozen=True)
class Chapter:
    """What traces say.

    Attributes:
        tables: In the order of the thesis.
        figures: By the name of their file.
        findings: What does not add up in these tables.
        published: What does not add up in the published tables, or why they were not checked; a line each.
    """

    tables: list[Table]
    figures: dict[str, Figure]
    findings: list[consistency.Finding]
    published: list[str]

    def markdown(self) -> str:
        """Return everything but the figures as Markdown."""
        findings = [f"- {finding}" for finding in self.findings] or ["- nothing: every check holds"]
        published = [f"- {line}" for line in self.published]
        lines = ["# What the GPU does", "", *(table.markdown() for table in self.tables)]
        lines += ["## What does not add up in these tables", "", *findings, ""]
        lines += ["## What does not add up in the published tables", "", *published, ""]
        return "\n".join(lines)


def make_chapter(folders: list[Path]) -> Chapter:
    """Make the chapter from traces, summaries and counted kernels.

    Args:
        folders: Files or folders that `compare.trace.sources` reads; `ncu.csv` beside a trace and `ceilings.json` in
            the first folder make the roofline.

    Raises:
        InputError: There is no trace, or a file is damaged.
    """
    summaries = [summary for folder in folders for summary in sources.read(folder)]
    tables = trace_tables.all_tables(summaries)
    agreement = tracers_compared(summaries)
    tables += [agreement] if len(agreement.frame) else []
    figures: dict[str, Figure] = {}
    counted = _counted(folders)
    if counted:
        path = folders[0] / roofline.CEILINGS
        ceilings: roofline.Ceilings | None = json.loads(path.read_text()) if path.exists() else None
        tables.append(roofline_report.table(counted, ceilings))
        figures["roofline"] = roofline_report.figure(counted, ceilings)
    findings = consistency.check(consistency.figures_of_tables(tables))
    return Chapter(tables, figures, findings, _published())


def _published() -> list[str]:
    try:
        return [*map(str, published_checks.check_published())]
    except InputError as error:
        return [f"not checked: {error}"]


def for_report(folder: Path) -> page.Chapter | None:
    """Make the chapter for the report of an experiment, from the traces that `bart-tf profile` left in its folder.

    Returns:
        None if nothing was traced.
    """
    if not any(folder.glob("profile/*/summary.parquet")):
        return None
    chapter = make_chapter([folder / "profile"])
    figures = []
    for name, figure in chapter.figures.items():
        png = io.BytesIO()
        figure.savefig(png, dpi=_DPI)
        figures.append(embedded.Figure(f"gpu-{name}", f"What the GPU does: {name}", "From `ncu`.", png.getvalue()))
    warnings = [f"What the GPU did does not add up: {finding}" for finding in chapter.findings]
    return page.Chapter(chapter.tables, figures, warnings)


def write(chapter: Chapter, folder: Path) -> Path:
    """Write the chapter: `tables.md`, a CSV file for each table, figures as PNG and PDF.

    Returns:
        The Markdown file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, table in enumerate(chapter.tables):
        atomic.write_text(folder / f"table-{number:02d}-{table.slug}.csv", table.texts.to_csv(index=False))
    for name, figure in chapter.figures.items():
        for suffix in ("png", "pdf"):
            figure.savefig(folder / f"{name}.{suffix}", dpi=_DPI)
    atomic.write_text(folder / "tables.md", chapter.markdown())
    return folder / "tables.md"


def keep_summaries(folders: list[Path], folder: Path) -> None:
    """Write the summary of each trace as Parquet."""
    for number, traced in enumerate(each for path in folders for each in sources.read(path)):
        summary.write(traced, folder / f"summary-{number:02d}-{slug_of(traced.run)}.parquet")


def tracers_compared(summaries: list[Summary]) -> Table:
    """Compare counts and bytes of runs that both tracers recorded; they should agree to 0.1 %."""
    rows: list[list[Cell]] = []
    runs: dict[tuple[str, ...], dict[str, Summary]] = {}
    for traced in summaries:
        if traced.facts.get("engine"):
            key = tuple(str(traced.facts.get(name)) for name in ("network", "engine", "optimizer", "repeat"))
            runs.setdefault(key, {})[str(traced.facts.get("tracer"))] = traced
    for tracers in runs.values():
        if not {"nsys", "cupti"} <= tracers.keys():
            continue
        sides = [{(row.kind, row.name): row for row in tracers[name].activities} for name in ("nsys", "cupti")]
        for operation in sorted(sides[0].keys() | sides[1].keys()):
            counts = [side[operation].count if operation in side else 0 for side in sides]
            sizes = [side[operation].bytes.total if operation in side else 0 for side in sides]
            agree = all(abs(a - b) <= _SLACK * max(a, b) for a, b in (counts, sizes))
            agreement = "yes" if agree else "NO"
            rows.append([tracers["cupti"].run, " ".join(operation)[:80], *counts, *sizes, agreement])
    columns: dict[str, Format] = {"run": "", "what": "", "count, nsys": "", "count, cupti": ""}
    columns |= {"bytes, nsys": ".0f", "bytes, cupti": ".0f", "agree to 0.1 %": ""}
    return table_of_rows(
        "Both tracers on the same run", columns, rows, ["two runs of the same training, one for each tracer"]
    )


def _counted(folders: list[Path]) -> list[Counted]:
    """Pair each `ncu.csv` with the summary in its folder or below."""
    counted = []
    for folder in folders:
        for path in sorted(folder.rglob(roofline.FILE)) if folder.is_dir() else []:
            try:
                counted.append(Counted(sources.read(path.parent)[0], roofline.read(path)))
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
    return counted
