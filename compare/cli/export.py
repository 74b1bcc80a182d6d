"""`bart-tf export`: datasets and images in formats of other programs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bart_bridge.wording import counted
from compare.cli import options


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def kinds() -> list[str]:
    """Return the formats, for the shell."""
    from bart_bridge.exporters import KINDS

    return list(KINDS)


def export(
    kind: Annotated[str, typer.Argument(help="Format: 'fastmri', 'ismrmrd', 'nifti' or 'png'.", autocompletion=kinds)],
    src: Annotated[Path, typer.Argument(help="Dataset folder; for nifti and png also images in a BART array.")],
    dst: Annotated[Path, typer.Argument(help="Folder to create, for ismrmrd a file. It must not exist.")],
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a dataset as raw data that other programs read, or its reference images as NIfTI or PNG.

    fastmri and ismrmrd can be imported again; the command is shown. It gives the same dataset.

    Example: [bold]bart-tf export ismrmrd data/knee knee.mrd[/bold]
    """
    from bart_bridge.exporters import export as write
    from bart_bridge.exporters import slice_count

    reporter = options.reporter(quiet, verbose)
    total = slice_count(kind, src.absolute())
    with reporter.step(f"export {counted(total, 'slice')}", total) as advance:
        exported = write(kind, src.absolute(), dst.absolute(), lambda done, _: advance(done))
    for note in exported.notes:
        reporter.say(note)
    if exported.arguments is not None:
        command = ["bart-tf", "import", kind, str(dst), "FOLDER", *exported.arguments]
        reporter.say(f"import again: {shlex.join(command)}")
    typer.echo(f"exported: {dst} ({exported.summary})")
