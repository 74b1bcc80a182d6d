"""`bart-tf inspect`: what a file is."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(inspect)


def inspect(
    path: Annotated[Path, typer.Argument(help="File or folder of any format, or the name of a BART array.")],
) -> None:
    """Show what a file is: format, sizes, coils, sampling, and the command that imports it.

    It reads the description that the file has of itself, and one slice.

    Example: [bold]bart-tf inspect file1000.h5[/bold]
    """
    from bart_bridge.inspection import inspect as describe

    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    typer.echo(describe(path).text(columns))
