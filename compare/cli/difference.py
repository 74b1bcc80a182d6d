"""`bart-tf diff`: what changed between two experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bart_bridge.errors import BartTfError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diff")(difference)


def difference(
    a: Annotated[Path, typer.Argument(help="Folder of the first experiment, such as reports/demo.")],
    b: Annotated[Path, typer.Argument(help="Folder of the second experiment.")],
) -> None:
    """Compare the results of two experiments, for example of two versions or machines, and show what changed.

    It lists the settings, versions and machines that differ, and the measurements
    that changed beyond noise.

    Example: [bold]bart-tf diff reports/demo reports/demo-other-machine[/bold]
    """
    from compare.report.tables.difference import changes, read_settings, settings
    from compare.results import divergences
    from compare.results.table import read_results
    from compare.running.run_files import refuse_studies

    refuse_studies((a, b), "diff compares experiments")
    first, second = read_results(a.absolute()), read_results(b.absolute())
    configured = read_settings(a.absolute()), read_settings(b.absolute())
    compared = changes(first, second)
    typer.echo(f"A: {a}\nB: {b}\n")
    typer.echo(settings(first, second, configured).markdown())
    typer.echo(compared.markdown())
    for verdict, meaning in (("changed", "beyond noise"), ("changed?", "but the noise is unknown")):
        rows = [row for row in compared.rows if row[-1] == verdict]
        names = [f"{row[0] or 'no network'} on {row[1]}: {row[3]}, times {row[6]}" for row in rows]
        typer.echo(f"changed {meaning}: {'; '.join(names) or 'nothing'}")
    diverged: dict[str, str] = {}
    for name, folder in (("A", a), ("B", b)):
        diverged |= {f"{name}, {run}": reason for run, reason in divergences.in_folder(folder.absolute()).items()}
    if diverged:
        raise BartTfError(divergences.sentence(diverged))
