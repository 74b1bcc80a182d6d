"""`bart-tf merge`: one report of an experiment that was run in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bart_bridge.wording import counted
from compare.cli import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(merge)


def merge(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of one experiment, such as reports/day1 reports/day2.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="New folder for the merged experiment.")],
    bart: options.Bart = None,
) -> None:
    """Merge runs of one experiment from several days or machines into one folder, and write its report.

    Settings and data must be the same. Each network on each engine is taken from
    the folder that has most of its steps. 'bart-tf compare' on the merged folder
    runs what is still missing.

    Example: [bold]bart-tf merge reports/day1 reports/day2 -o reports/both[/bold]
    """
    from bart_bridge.tools.toolbox import Toolbox
    from compare.report import experiment_report as reports
    from compare.results import table
    from compare.running import locks
    from compare.running.merge import merge as merge_folders
    from compare.settings.experiment import load_kept

    target = options.writable_folder(output)
    toolbox = Toolbox.find(bart)
    taken = merge_folders([folder.absolute() for folder in folders], target)
    for part in taken:
        network, engine = part.part
        name = f"{network} on {engine}" if network else "baselines"
        origin = f"{part.source}, bart-tf {', '.join(part.made_with)}" if part.source else "no folder has it"
        typer.echo(f"{name}: {part.steps} of {counted(part.expected, 'step')}, {origin}")
    with locks.held(target):
        table.write(load_kept(target / "experiment.yaml"), target, toolbox)
        page = reports.write(target)
    typer.echo(f"report: {page}")
