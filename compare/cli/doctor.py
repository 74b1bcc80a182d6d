"""`bart-tf doctor`: which software and hardware is found, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from compare.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from bart_bridge.tools.toolbox import Toolbox

_PACKAGES = (
    "tensorflow",
    "keras",
    "numpy",
    "pandas",
    "scikit-image",
    "h5py",
    "matplotlib",
    "jax",
    "jax-triton",
    "torch",
)
_OPTIONAL = {"jax", "jax-triton", "torch"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(bart: options.Bart = None) -> None:
    """Show which BARTs, packages and GPUs are found, and what is missing.

    Example: [bold]bart-tf doctor[/bold]

    The exit code is 1 if something is missing that a comparison needs.
    """
    from rich.console import Console
    from rich.table import Column, Table

    from compare.measuring import machine
    from tf_models.backend import compilation_cache

    description = machine.describe()
    table = Table("", Column(overflow="fold"), show_header=False, box=None)  # a long path stays whole
    complete, toolboxes = _show_barts(table, bart)
    for package in _PACKAGES:
        version = machine.package_version(package)
        complete = complete and (version is not None or package in _OPTIONAL)
        table.add_row(
            package, version or ("not installed (optional)" if package in _OPTIONAL else "[red]missing[/red]")
        )
    table.add_row("Python", description["python"])
    table.add_row("system", description["system"])
    table.add_row("machine", machine.label(description))
    if machine.package_version("jax"):
        table.add_row("JAX compilations", compilation_cache.describe())
    table.add_row("NVIDIA GPUs", ", ".join(description["gpus"]) or "none: GPU memory will be n/a")
    for line in machine.missing_for_gpu(toolboxes) if description["gpus"] else ():
        table.add_row("", f"[yellow]for the GPU: {line}; make gpu sets it up[/yellow]")
    Console(soft_wrap=True).print(table)
    if not complete:
        raise typer.Exit(1)


def _show_barts(table: Table, path: Path | None) -> tuple[bool, list[Toolbox]]:
    """Add rows for the BART in use and for the others.

    Returns:
        Whether the one in use can do what a comparison needs, and all of them.
    """
    import os

    from bart_bridge.errors import ToolError
    from bart_bridge.tools import blas, discovery, versions

    complete = False
    used, missed = None, ""
    others, faults = discovery.every_bart(path)
    try:
        used = discovery.default_of(others, faults, path)
        table.add_row("BART", f"{used.version_text} at {used.path} (from {used.source})")
        if used.package:
            table.add_row("", f"of the Python package {used.package}: its main memory holds PyTorch and will be n/a")
        if used.warning:
            table.add_row("", f"[yellow]{used.warning}[/yellow]")
        missing = used.missing("reconet", "measure")
        for tool in missing:
            table.add_row("", f"[red]built without '{tool}'[/red]")
        complete = not missing
        table.add_row("BART build", used.build)
        if form := os.environ.get(versions.COMPATIBILITY):
            ignored = f"{versions.COMPATIBILITY}={form} is not passed to BART: it would be a mixture of two versions"
            table.add_row("", f"[yellow]{ignored}[/yellow]")
        table.add_row("BART's BLAS", blas.blas_of(used))
        if slow := blas.slow_build(used):
            table.add_row("", f"[yellow]{slow}[/yellow]")
    except ToolError as error:
        missed = str(error)
        state = "does not work" if error.argv else "missing"
        table.add_row("BART", f"[red]{state}[/red]: {error}")
    for toolbox in others:
        if used is None or toolbox.path.resolve() != used.path.resolve():
            said = f"{toolbox.version_text} at {toolbox.path} (from {toolbox.source}), {blas.blas_of(toolbox)}"
            # An experiment may name each of them, such as the engine bart-0.9.
            slow = " [yellow](slow build)[/yellow]" if blas.is_reference(blas.blas_of(toolbox)) else ""
            table.add_row("other BART", f"{said}{slow}; {toolbox.build}")
    for fault in faults:
        if str(fault) != missed:
            table.add_row("other BART", f"[yellow]{fault}[/yellow]")
    return complete, others
