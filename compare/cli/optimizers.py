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
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Tune several optimizers with the same budget, train with each from several initial weights, and compare them.

    The first Keras engine of the study chooses the settings, for all engines.
    Completed trainings are not repeated, so an interrupted study continues where
    it stopped.

    Example: [bold]bart-tf optimizers configs/optimizers.yaml[/bold]
    """
    from bart_bridge.tools.toolbox import Toolbox
    from compare.results import divergences
    from compare.running import locks
    from compare.study import report, rows, run, settings

    study = settings.load(config)
    folder = options.output_folder(output, study.name)
    with options.resumable():
        run.run(study, folder, Toolbox.find(bart), options.reporter(quiet, verbose))
        with locks.held(folder):
            page = report.write(folder)
    typer.echo(f"report: {page}")
    if diverged := rows.diverged(folder):
        raise BartTfError(divergences.sentence(diverged))
