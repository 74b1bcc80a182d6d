"""The description of a file: rows of a name and a text."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

Rows = list[tuple[str, str]]
_LISTED = 8
_LONGEST = 500
# Columns of text below which wrapping is no help.
_NARROWEST = 20


@dataclass(frozen=True)
class Description:
    """What is known of a file or folder.

    Attributes:
        path: The file or folder.
        what: Its format, in a few words.
        rows: Facts by name.
        kind: The importer that takes it; empty if none does.
        options: Options of this importer that it needs, such as `{"contrast": "0"}`.
        without_import: What to do with it, or why there is no importer, if `kind` is empty.
        parts: Descriptions of what is imported from it separately, such as groups of raw data, by their names.
    """

    path: Path
    what: str
    rows: Rows
    kind: str = ""
    options: dict[str, str] = field(default_factory=dict)
    without_import: str = "n/a (no k-space of slices)"
    parts: dict[str, Description] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command that imports it; empty if there is none."""
        if not self.kind:
            return ""
        options = [f"--{name.strip('_')}={value}" for name, value in self.options.items()]
        return shlex.join(["bart-tf", "import", self.kind, str(self.path), "FOLDER", *options])

    def table(self) -> Rows:
        """Return all rows, from the format to the import. Each part begins with a row `group`."""
        rows = [("format", self.what), *self.rows, *self._imports()]
        for name, part in self.parts.items():
            rows += [("group", name), *part.rows, *part._imports()]
        return [(_printable(name), _printable(text)) for name, text in rows]

    def _imports(self) -> Rows:
        return [] if self.parts else [("import", self.command or self.without_import)]

    @property
    def _commands(self) -> set[str]:
        return {self.command, *(part.command for part in self.parts.values())}

    def text(self, columns: int = 0) -> str:
        """Return the table as text.

        Args:
            columns: Width to which rows are wrapped (default: one line for each row). Import commands stay whole, so
                that they can be pasted.
        """
        rows = self.table()
        indent = max(len(name) for name, _ in rows) + 2
        lines = []
        for name, text in rows:
            line = f"{name:<{indent}}{text}"
            whole = columns < indent + _NARROWEST or text in self._commands
            lines += [""] if name == "group" else []
            lines += [line] if whole else textwrap.wrap(line, columns, subsequent_indent=" " * indent)
        return "\n".join(lines)


def sizes(shape: Iterable[int]) -> str:
    """Return a shape as `640 x 320`."""
    return " x ".join(map(str, shape)) or "a single value"


def listed(names: Iterable[object]) -> str:
    """List the first names."""
    everything = list(map(str, names))
    rest = len(everything) - _LISTED
    return (", ".join(everything[:_LISTED]) + (f", and {rest} more" if rest > 0 else "")) or "nothing"


def _printable(text: str) -> str:
    """Replace what would move the cursor of a terminal, and cut long texts: they come from any file."""
    line = "".join(character if character.isprintable() else "?" for character in text)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
