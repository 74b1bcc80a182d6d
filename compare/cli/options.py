"""Options and checks that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bart_bridge.errors import BartTfError, InputError
from compare.cli import ending

if TYPE_CHECKING:
    from bart_bridge.tools.toolbox import Toolbox
    from compare.console import Reporter

Bart = Annotated[
    Path | None,
    typer.Option(help="BART binary, or its folder. Default: BART_TOOLBOX_PATH, TOOLBOX_PATH, then PATH."),
]


def builtin_names() -> list[str]:
    """Return the names of the built-in experiments, for the shell."""
    from compare.settings import builtin

    return builtin.names()


def find_config(path: Path | None) -> Path | None:
    """Return the YAML file that an argument means, which may be the name of a built-in experiment."""
    from compare.settings import builtin

    return None if path is None else builtin.find(path)


Config = Annotated[
    Path,
    typer.Argument(
        help="Experiment: a YAML file such as configs/demo.yaml, or a name of 'bart-tf configs'.",
        callback=find_config,
        autocompletion=builtin_names,
    ),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Output folder. Default: reports/<name of the experiment>.")
]
Memory = Annotated[
    Literal["plain", "lean"] | None,
    typer.Option(help="Memory plan of Keras. Default: the plan of the engine, or of the trained run."),
]
Place = Literal["local", "slurm"]
On = Annotated[
    Place | None,
    typer.Option(help="Submit the runs as jobs, to 'slurm' or to processes on this machine ('local')."),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Number of jobs at once. Default: 1 on this machine, all on Slurm.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Run nothing: list the steps with time and memory, from earlier runs.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show only errors and results.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show details, such as which BART is used.")]

# Commands with the options of `bart reconet` have a parser for BART's syntax. Typer passes everything on to it, even
# -h, because -Texport-history=x contains one.
BART_SYNTAX: dict[str, bool | list[str]] = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "help_option_names": [],
}


def show_help(context: typer.Context) -> bool:
    """Print the help of a command with `BART_SYNTAX` if its arguments ask for it; return whether they do."""
    asks = bool({"-h", "--help"} & set(context.args))
    if asks:
        typer.echo(context.get_help())
    return asks


def find_bart(bart: Path | None, reporter: Reporter) -> Toolbox:
    """Return the BART to use. With --verbose, tell which one it is."""
    from bart_bridge.tools.toolbox import Toolbox

    toolbox = Toolbox.find(bart)
    reporter.say(f"using BART {toolbox.version_text} at {toolbox.path} (from {toolbox.source})", level=1)
    return toolbox


@contextmanager
def resumable(finished: str = "finished") -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into an error that tells the user how to continue.

    Args:
        finished: What the command keeps, as a participle.

    Raises:
        BartTfError: A signal ended the command.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise BartTfError(f"{ending.reason()}; what was {finished} is kept, run the same command to continue") from None


def reporter(quiet: bool, verbose: bool) -> Reporter:
    """Return the reporter that shows messages and progress of a command.

    Raises:
        InputError: `quiet` and `verbose` contradict each other.
    """
    from compare.console import Reporter

    if quiet and verbose:
        raise InputError("name either --quiet or --verbose")
    return Reporter(-1 if quiet else int(verbose))


def output_folder(output: Path | None, name: str) -> Path:
    """Return the absolute path of an experiment's folder, by default `reports/<name>`.

    Raises:
        InputError: The path, or one above it, is a file.
    """
    return writable_folder(output or Path("reports") / name)


def writable_folder(folder: Path) -> Path:
    """Return the absolute path of a folder for results. The folder need not exist.

    Raises:
        InputError: The path, or one above it, is a file.
    """
    absolute = folder.absolute()
    existing = next(path for path in (absolute, *absolute.parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"--output must be a folder, {existing} is a file")
    return absolute


def refuse(context: typer.Context, reason: str, *names: str) -> None:
    """Reject options that have no effect beside the others on the command line.

    Args:
        context: Context of the command.
        reason: Why the options have no effect.
        names: Parameters of the command. Each belongs to the option of the same name.

    Raises:
        InputError: The user typed some of these options, even with their default value. The message names them.
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
