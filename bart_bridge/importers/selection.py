"""Selections of the command line, such as `--split train=1-15` and `--slices 10-29`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bart_bridge.errors import InputError

_ITEM = re.compile(r"([A-Za-z]*)(\d{1,9})(?:-(\d{1,9}))?(?:/([1-9]\d{0,8}))?", re.ASCII)


def select(text: str, available: Iterable[str], option: str) -> list[str]:
    """Expand a selection such as `1-3,7,10-20/5` or `all` into names, in the order of the selection.

    Args:
        text: The selection.
        available: All names.
        option: Name of the option, for messages.

    Raises:
        InputError: The selection has another form, or a name does not exist.
    """
    names = dict.fromkeys(available)
    if text == "all":
        return list(names)
    selected: dict[str, None] = {}
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        if not match:
            raise InputError(
                f"{option} must be numbers and ranges such as 1-15,17 or 0-90/10, or all; received '{item}'"
            )
        prefix, first, last, step = match.groups()
        numbers = range(int(first), int(last or first) + 1, int(step or 1))
        if not numbers:
            raise InputError(f"{option} must have ranges that rise, received '{item}'")
        for number in numbers:
            name = f"{prefix}{number}"
            if name not in names:
                raise InputError(f"{option} {text}: there is no '{name}' (found: {_shorten(list(names))})")
            selected[name] = None
    return list(selected)


def _shorten(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])}, ..., {names[-1]}"


def parse_split(options: Iterable[str]) -> dict[str, str]:
    """Parse options such as `train=1-15` into selections by the name of the split.

    Raises:
        InputError: An option has another form, or a split is given twice.
    """
    selections: dict[str, str] = {}
    for option in options:
        name, equals, selection = option.partition("=")
        if not name or not equals or not selection or name in selections:
            raise InputError(f"--split must be NAME=SELECTION, once for each split, received '{option}'")
        selections[name] = selection
    return selections
