"""`bart-tf configs`: the experiments that the package brings, and the schema of the files."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import Annotated, Literal

import typer

from compare.cli import options


def register(app: typer.Typer) -> None:
    """Add the commands."""
    configs = typer.Typer(invoke_without_command=True, help="List and copy the built-in experiments.")
    configs.callback()(show)
    configs.command()(copy)
    configs.command()(schema)
    app.add_typer(configs, name="configs")


def show(context: typer.Context) -> None:
    """List the built-in experiments and optimizer studies, or copy one to change it.

    Commands take their names in place of a file.

    Example: [bold]bart-tf configs[/bold]
    """
    from compare.settings import builtin

    if context.invoked_subcommand:
        return
    width = shutil.get_terminal_size().columns
    for summary in builtin.summaries():
        needs = f" Needs {summary.needs}." if summary.needs else ""
        typer.echo(f"bart-tf {summary.command} {summary.name}")
        typer.echo(textwrap.fill(summary.sentence + needs, width, initial_indent="    ", subsequent_indent="    "))


def copy(
    name: Annotated[str, typer.Argument(help="Name of a built-in experiment.", autocompletion=options.builtin_names)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the copy.")] = Path("configs"),
) -> None:
    """Copy a built-in experiment, to change it. The schemas for editors are copied too.

    Example: [bold]bart-tf configs copy demo[/bold]
    """
    from compare.settings import builtin

    typer.echo(f"copied: {builtin.copy(name, options.writable_folder(output))}")


def schema(
    kind: Annotated[
        Literal["experiment", "study"], typer.Argument(help="What the file describes.", metavar="experiment|study")
    ] = "experiment",
) -> None:
    """Print the JSON schema of an experiment or an optimizer study, for editors that check YAML files.

    Example: [bold]bart-tf configs schema study[/bold]
    """
    from compare.settings import schema as schemas
    from compare.settings.experiment import Experiment
    from compare.study.settings import Study

    typer.echo(schemas.text(Experiment if kind == "experiment" else Study), nl=False)
