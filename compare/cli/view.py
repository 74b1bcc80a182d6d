"""`bart-tf view`: arrays on a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bart_bridge.errors import InputError
from compare.cli import options

if TYPE_CHECKING:
    from bart_bridge.files.dims import Dim


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(view)


def view(
    path: Annotated[
        list[Path], typer.Argument(help="BART arrays, folders of arrays, or dataset folders (their test slices).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page.")] = Path("view.html"),
    plane: Annotated[
        str | None,
        typer.Option(help="Dimensions of the images, such as 'x,z'. Default: the first two of size 4 or more."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Positions along another dimension, such as 'coil=0,2' or 'slice=5:10'. Default: spread."),
    ] = None,
) -> None:
    """Show BART arrays side by side on one page that needs no other file.

    Magnitude, phase, real and imaginary part or logarithm, with sliders for all
    other dimensions, exact values under the pointer, the difference of two arrays,
    and line profiles. Of large arrays, the page holds some planes. It says which
    ones, and --at chooses others.

    Example: [bold]bart-tf view kspace sens --at slice=7[/bold]
    """
    from compare.report import viewer_files

    page = output.absolute()
    options.writable_folder(page.parent)
    if not page.parent.is_dir():
        raise InputError(f"--output: no folder {page.parent}")
    positions = [_positions(text) for text in at or []]
    names = [dim.name.lower() for dim, _ in positions]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--at: '{twice[0]}' is named twice; name all its positions at once, such as '{twice[0]}=0,2'")
    written = viewer_files.write(path, page, _plane(plane), dict(positions))
    for sentence in written.left_out:
        typer.echo(f"left out: {sentence}", err=True)
    typer.echo(f"page: {written.page}")


def _plane(text: str | None) -> tuple[Dim, Dim] | None:
    if text is None:
        return None
    names = text.split(",")
    if len(names) != 2 or names[0].strip() == names[1].strip():
        raise InputError(f"--plane must name two dimensions, such as 'x,y', received '{text}'")
    return _dim("--plane", names[0]), _dim("--plane", names[1])


def _positions(text: str) -> tuple[Dim, list[int]]:
    from compare.report.viewer_arrays import MOST_VALUES

    name, _, numbers = text.partition("=")
    ranges: list[range] = []
    try:
        for part in numbers.split(","):
            first, colon, end = part.partition(":")
            ranges.append(range(int(first), int(end) if colon else int(first) + 1))
        if not any(ranges) or min(each.start for each in ranges) < 0:
            raise ValueError
    except ValueError:
        raise InputError(
            f"--at must be a dimension and positions, such as 'coil=0,2' or 'slice=5:10', received '{text}'"
        ) from None
    if max(each.stop - each.start for each in ranges) > MOST_VALUES:  # before they take all memory
        raise InputError(f"--at {text}: a page holds {MOST_VALUES} values")
    return _dim("--at", name), sorted(set().union(*ranges))


def _dim(option: str, name: str) -> Dim:
    from bart_bridge.files.dims import Dim

    try:
        return Dim[name.strip().upper()]
    except KeyError:
        available = ", ".join(dim.name.lower() for dim in Dim)
        raise InputError(f"{option}: no dimension '{name.strip()}' (found: {available})") from None
