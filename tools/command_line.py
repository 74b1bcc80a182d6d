"""Complete the list of commands in `typer utils docs`, which cuts each sentence at 45 characters; from stdin to stdout.

Each entry gets the first paragraph of its own section, and a link to it.
"""

from __future__ import annotations

import re
import sys

_HEADING = re.compile(r"^#+ `(bart-tf .+)`$")
_ENTRY = re.compile(r"^\* `([a-z0-9-]+)`: ")


def complete(text: str) -> str:
    """Return the page with whole sentences.

    Args:
        text: What Typer wrote, in Markdown.
    """
    sections = dict(re.findall(r"^#+ `(bart-tf .+)`\n\n(.+)$", text, re.MULTILINE))
    section, lines = "bart-tf", []
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            section = heading[1]
        entry = _ENTRY.match(line)
        name = f"{section} {entry[1]}" if entry else ""
        if entry and name in sections:
            line = f"* [`{entry[1]}`](#{name.replace(' ', '-')}): {sections[name]}"
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(complete(sys.stdin.read()))
