"""`bart-tf reconet`: a drop-in for `bart reconet`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from compare.cli import options
from tf_models.backend.quiet import import_backend

if TYPE_CHECKING:
    from bart_bridge.tools.versions import Version


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings=options.BART_SYNTAX)(reconet)


def _installed() -> Version:
    """Return the version of the BART of this machine, or the newest without one.

    Raises:
        ToolError: A variable names a BART, and that does not work.
    """
    import os

    from bart_bridge.errors import ToolError
    from bart_bridge.tools import versions
    from bart_bridge.tools.toolbox import VARIABLES, Toolbox

    try:
        return Toolbox.find().version
    except ToolError:
        if any(map(os.environ.get, VARIABLES)):
            raise
        return versions.NEWEST


def reconet(context: typer.Context) -> None:
    """Train, apply or evaluate a network with Keras, using the options and files of bart reconet.

    These options work as in BART: --train, --apply, --eval, --network, -I, -b,
    --normalize, --rss-norm, --pattern, --trajectory, --load, --varnet-block,
    --resnet-block, --data-consistency, --initial-reco, --(no-)shared-weights,
    --(no-)shared-lambda, --train-loss, --train-algo (-T), --adam, --iPALM,
    --valid-data and --lowmem. Other options are rejected with an error that names
    them.

    Answers are those of the installed BART, or of --bart-version 0.8, 0.9 or 1.0
    (default without BART: 1.0).

    Example: [bold]bart-tf reconet --apply --network modl --normalize kspace coils weights output[/bold]
    """
    from dataclasses import replace

    from bart_bridge.data import noncartesian
    from bart_bridge.reconet.command_line import parse
    from bart_bridge.reconet.history import Progress

    if options.show_help(context):
        return
    command = parse(context.args, _installed())
    import_backend()
    from tf_models.programs.reconet import run

    def show(progress: Progress) -> None:
        line = f"#{progress.epoch}->{progress.batch}/{progress.batches}; loss: {progress.loss:e};"
        typer.echo(line, err=True)

    with noncartesian.prepared(command.split, command.validation) as (split, validation):
        assert split is not None
        for warning in split.trajectory_warnings():
            typer.echo(f"warning: {warning}", err=True)
        values = run(replace(command, split=split, validation=validation), show)
    for name, value in values.items():
        typer.echo(f"{f'mean {name}' if name in {'psnr', 'ssim'} else name}: {value:e}")
