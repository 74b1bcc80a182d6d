"""The command `bart-tf`. Commands import what they need when they run, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from bart_bridge.errors import BartTfError, InputError
from compare.cli import (
    data,
    difference,
    doctor,
    experiments,
    imports,
    jobs,
    optimizers,
    parity,
    profile,
    reconet,
    runs,
    weights,
)

app = typer.Typer(
    name="bart-tf",
    help="Train and apply VarNet and MoDL with BART and with Keras on the same data, and compare them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    *(doctor, data, imports, runs, experiments, jobs, difference, optimizers, parity, profile, reconet),
    weights,
):
    module.register(app)


def main() -> None:
    """Run the command line; errors are one line each, exit code 1 for failures and 2 for wrong input."""
    try:
        sys.exit(app(_arguments(sys.argv[1:]), standalone_mode=False) or 0)
    except typer.TyperException as error:
        message = error.format_message()
        if not message:  # the help was wanted, and is printed
            sys.exit(error.exit_code)
        _fail(message, error.exit_code)
    except BartTfError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)


def _arguments(argv: list[str]) -> list[str]:
    """Return arguments with the home folder for `~`, also where the shell leaves it alone, as in `--output=~/folder`.

    Raises:
        InputError: One is empty, which as a path would be the working folder.
    """
    expanded = []
    for argument in argv:
        name, equals, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
        if not value and name in ("", "--output"):
            raise InputError("an argument is empty; a variable of the shell may not be set")
        expanded.append(name + equals + (str(Path(value).expanduser()) if value.startswith("~/") else value))
    return expanded


def _fail(message: str, exit_code: int) -> None:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    sys.exit(exit_code)
