"""`bart-tf optimizers`: the optimizer study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bart_bridge.errors import BartTfError
from compare.cli import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(optimizers)


def optimizers(
    config: Annotated[
        Path,
        typer.Argument(
            help="Optimizer study: a YAML file such as configs/optimizers.yaml, or a name of 'bart-tf configs'.",
            callback=options.find_config,
            autocompletion=options.builtin_names,
        ),
    ],
    output: options.Output = None,
    bart: options.Bart = None,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Tune several optimizers with the same budget, train with each from several initial weights, and compare them.

    The first Keras engine of the study chooses the settings, for all engines.
    Completed trainings are not repeated, so an interrupted study continues where
    it stopped. --dry-run only lists the steps of the whole study. Time and memory
    are those of the same step in earlier runs on this machine, in this folder or
    the folders beside it.

    Example: [bold]bart-tf optimizers configs/optimizers.yaml[/bold]
    """
    from compare.results import divergences
    from compare.running import locks
    from compare.study import dry_run as dry
    from compare.study import report, rows, run, settings

    study = settings.load(config)
    folder = options.output_folder(output, study.name)
    reporter = options.reporter(quiet, verbose)
    toolbox = options.find_bart(bart, reporter)
    if dry_run:
        typer.echo("\n".join(dry.lines(study, folder, toolbox, reporter)))
        return
    with options.resumable():
        run.run(study, folder, toolbox, reporter)
        with locks.held(folder):
            page = report.write(folder)
    typer.echo(f"report: {page}")
    if diverged := rows.diverged(folder):
        raise BartTfError(divergences.sentence(diverged))
