"""`bart-tf doctor`: which software and hardware is found, and what is missing."""

from __future__ import annotations

import typer

from compare.cli import options

_PACKAGES = ("tensorflow", "keras", "numpy", "pandas", "scikit-image", "h5py", "matplotlib", "jax", "torch")
_OPTIONAL = {"jax", "torch"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(bart: options.Bart = None) -> None:
    """Show which BART, packages and GPUs are found, and what is missing.

    Example: [bold]bart-tf doctor[/bold]

    The exit code is 1 if something is missing that a comparison needs.
    """
    from rich.console import Console
    from rich.table import Table

    from bart_bridge.errors import ToolError
    from compare.measuring import machine

    description = machine.describe()
    table = Table(show_header=False, box=None)
    complete = True
    try:
        from bart_bridge.tools.toolbox import Toolbox

        toolbox = Toolbox.find(bart)
        table.add_row("BART", f"{toolbox.version_text} at {toolbox.path} (from {toolbox.source})")
        if toolbox.warning:
            table.add_row("", f"[yellow]{toolbox.warning}[/yellow]")
        missing = toolbox.missing("reconet", "measure")
        for tool in missing:
            table.add_row("", f"[red]built without '{tool}'[/red]")
        complete = not missing
        table.add_row("BART build", ", ".join(f"{flag}={value}" for flag, value in toolbox.build_flags.items()))
    except ToolError as error:
        complete = False
        table.add_row("BART", f"[red]missing[/red]: {error}")
    for package in _PACKAGES:
        version = machine.package_version(package)
        complete = complete and (version is not None or package in _OPTIONAL)
        table.add_row(
            package, version or ("not installed (optional)" if package in _OPTIONAL else "[red]missing[/red]")
        )
    table.add_row("Python", description["python"])
    table.add_row("system", description["system"])
    table.add_row("machine", machine.label(description))
    table.add_row("NVIDIA GPUs", ", ".join(description["gpus"]) or "none: GPU memory will be n/a")
    Console(soft_wrap=True).print(table)
    if not complete:
        raise typer.Exit(1)
