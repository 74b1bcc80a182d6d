"""`bart-tf inspect`: what a file is."""

from __future__ import annotations

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

    rows = describe(path).table()
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        typer.echo(f"{name:<{width}}  {text}")
