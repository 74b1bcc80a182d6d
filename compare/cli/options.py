"""Options that several commands have."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bart_bridge.errors import InputError

if TYPE_CHECKING:
    from compare.console import Reporter

Bart = Annotated[
    Path | None,
    typer.Option(help="BART binary or its folder; default: BART_TOOLBOX_PATH, TOOLBOX_PATH, then PATH."),
]
Config = Annotated[Path, typer.Argument(help="Experiment, a YAML file such as configs/demo.yaml.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder; default reports/<name of experiment>.")]
Memory = Annotated[
    Literal["plain", "lean"] | None, typer.Option(help="Memory plan of Keras; default: that of the engine or run.")
]
Place = Literal["local", "slurm"]
On = Annotated[
    Place | None, typer.Option(help="Submit the runs as jobs: to Slurm, or to processes of this machine ('local').")
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Jobs at once; default 1 on this machine, all on Slurm.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show errors and results only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show details, such as which BART is used.")]


def reporter(quiet: bool, verbose: bool) -> Reporter:
    """Make what tells a person how a command goes.

    Raises:
        InputError: Both are asked for.
    """
    from compare.console import Reporter

    if quiet and verbose:
        raise InputError("name either --quiet or --verbose")
    return Reporter(-1 if quiet else int(verbose))


def output_folder(output: Path | None, name: str) -> Path:
    """Return the folder of an experiment.

    Raises:
        InputError: A file is in its place.
    """
    return writable_folder(output or Path("reports") / name)


def writable_folder(folder: Path) -> Path:
    """Return the absolute path of a folder for results, which need not exist.

    Raises:
        InputError: A file is in its place, or in that of a folder above it.
    """
    absolute = folder.absolute()
    there = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not there.is_dir():
        raise InputError(f"--output must be a folder, {there} is a file")
    return absolute


def end_on_sigterm() -> None:
    """Let SIGTERM end this command as Ctrl-C does, so that it leaves nothing half done."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def refuse(context: typer.Context, reason: str, *names: str) -> None:
    """Refuse options that do nothing beside the others of a command line.

    Args:
        context: That of the command.
        reason: Why they do nothing.
        names: Parameters of the command, each with an option of the same name.

    Raises:
        InputError: Some of them were typed, even if with their default; the message names them.
    """
    typed = []
    for name in names:
        source = context.get_parameter_source(name)
        assert source is not None, f"the command has no parameter {name}"
        if source.name == "COMMANDLINE":
            negation = "no-" if context.params[name] is False else ""
            typed.append(f"--{negation}{name.replace('_', '-')}")
    if typed:
        raise InputError(f"{', '.join(typed)}: {reason}")
