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
    config: Annotated[Path, typer.Argument(help="Study, a YAML file such as configs/optimizers.yaml.")],
    output: options.Output = None,
    bart: options.Bart = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Tune several optimizers with the same budget, train with each from several initial weights, and compare them.

    What is complete is not run again: an interrupted study continues where it was.

    Example: [bold]bart-tf optimizers configs/optimizers.yaml[/bold]
    """
    from bart_bridge.tools.toolbox import Toolbox
    from compare.results import divergences
    from compare.running import locks
    from compare.study import report, run

    study = run.load(config)
    folder = options.output_folder(output, study.name)
    try:
        run.run(study, folder, Toolbox.find(bart), options.reporter(quiet, verbose))
        with locks.held(folder):
            page = report.write(folder)
    except KeyboardInterrupt:
        raise BartTfError("interrupted; what was finished is kept, run the same command to continue") from None
    typer.echo(f"report: {page}")
    if diverged := run.diverged(folder):
        raise BartTfError(divergences.sentence(diverged))
