"""The command lines in our documents, and how the real command-line interface reads them."""

import shlex
from pathlib import Path

import typer

from bart_bridge.reconet import command_line
from compare.cli import app

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path, language):
    """Return the code blocks of a Markdown file in one language, each as its text."""
    return [
        block.partition("\n")[2]
        for block in path.read_text().split("```")[1::2]
        if block.partition("\n")[0].strip() == language
    ]


def lines(block):
    """Return the command lines of a block of shell, with lines that go on joined and without comments."""
    joined = block.replace("\\\n", " ")
    return [" ".join(line.split()) for line in joined.splitlines() if shlex.split(line, comments=True)]


def words(line):
    """Split a line as the shell does, without the comment behind it."""
    return shlex.split(line, comments=True)


def leaves(command, name=""):
    """List the full names of all commands below one, such as `weights info`."""
    if not hasattr(command, "commands"):
        return [name.strip()]
    return [leaf for part, inner in command.commands.items() for leaf in leaves(inner, f"{name} {part}")]


def examples():
    """Yield the command lines that the help of every command shows."""
    root = typer.main.get_command(app)
    commands = dict(root.commands)
    while commands:
        name, command = commands.popitem()
        commands |= {f"{name} {child}": below for child, below in getattr(command, "commands", {}).items()}
        for part in (command.help or "").split("[bold]")[1:]:
            yield " ".join(part.partition("[/bold]")[0].split())


def parse(arguments):
    """Read what follows `bart-tf` as the command does, without running it; raise what it raises."""
    command, context = typer.main.get_command(app), None
    name, rest = "bart-tf", list(arguments)
    while True:
        context = command.make_context(name, list(rest), parent=context)
        if not hasattr(command, "commands") or (command.invoke_without_command and not rest):
            break
        name, command, rest = command.resolve_command(context, rest)
    # Options of BART are read by a parser of their own.
    if context.command_path.endswith("reconet"):
        command_line.parse(context.args)
    elif context.command_path.endswith("from-bart"):
        command_line.parse_network(context.args)
    return context
