"""The command `bart-tf`. Each command imports its dependencies when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import bart_bridge
from bart_bridge.errors import PATH_FAULTS, BartTfError, InputError, why_unreadable
from compare.cli import (
    configs,
    data,
    difference,
    doctor,
    ending,
    experiments,
    export,
    imports,
    inspect,
    jobs,
    merge,
    optimizers,
    parity,
    profile,
    reconet,
    runs,
    view,
    weights,
)

app = typer.Typer(
    name="bart-tf",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
GROUPS = (
    doctor,
    configs,
    data,
    imports,
    export,
    inspect,
    view,
    runs,
    experiments,
    jobs,
    difference,
    merge,
    optimizers,
    parity,
    profile,
    reconet,
    weights,
)
for group in GROUPS:
    group.register(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"bart-tf {bart_bridge.__version__}")
        raise typer.Exit


@app.callback()
def options_of_all(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Train and apply VarNet and MoDL with BART and with Keras on the same data, and compare the results."""


def main() -> None:
    """Run the command line.

    An error is one line. The exit code is 1 for a failure, 2 for wrong input, 130 after Ctrl-C and 143 after SIGTERM.
    """
    with ending.on_signals():
        try:
            _run()
        except KeyboardInterrupt:
            _fail(ending.reason(), ending.exit_code() or 130)


def _run() -> None:
    try:
        exit_code = app(_arguments(sys.argv[1:]), standalone_mode=False) or 0
        if ending.exit_code():  # typer has caught the interrupt
            raise KeyboardInterrupt
        sys.exit(exit_code)
    except typer.TyperException as error:
        message = error.format_message()
        if not message:  # a command without arguments has printed its help
            sys.exit(error.exit_code)
        _fail(message.replace(": Value error, ", ": "), error.exit_code)  # pydantic's words
    except BartTfError as error:
        _fail(str(error), error.exit_code)
    except MemoryError as error:
        _fail(f"memory: {error or 'not enough for this size'}", 1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        # A path of the user's is wrong; otherwise the disk is full or broken.
        _fail(where + why_unreadable(error), InputError.exit_code if isinstance(error, tuple(PATH_FAULTS)) else 1)


def _arguments(argv: list[str]) -> list[str]:
    """Replace `~` by the home folder, also where the shell does not, as in `--output=~/folder`.

    Raises:
        InputError: An argument is empty. As a path, it would mean the working folder.
    """
    expanded = []
    for argument in argv:
        name, equals, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
        if not value and (not name or name.startswith("--")):
            raise InputError(f"an argument is empty{f' ({name})' if name else ''}; perhaps a shell variable is not set")
        expanded.append(name + equals + (str(Path(value).expanduser()) if value.startswith("~/") else value))
    return expanded


def _fail(message: str, exit_code: int) -> None:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(ending.exit_code() or exit_code)
