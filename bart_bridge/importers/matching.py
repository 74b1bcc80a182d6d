"""Files of one folder that differ in size, coils or contrast: which of them become a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from bart_bridge.errors import InputError

# What the slices of a dataset must share.
ALIKE = ("size", "coils")
_SHOWN = 6
Facts = Mapping[str, str]


def select(files: Mapping[str, Facts], match: str | None, path: Path, advice: str = "") -> list[str]:
    """Return the names of the files that an import takes.

    Args:
        files: What is known of each file by its name, such as `{"size": "640x320", "coils": "16"}`.
        match: The facts that a file must have, such as `size=640x320,coils=16`; None takes all.
        path: The folder, for messages; or a file, for which `match` must be None.
        advice: What a message about files that differ names beside `--match` (default: nothing).

    Raises:
        InputError: `path` is a file and has a `match`; `match` has another form, no file matches, or the files that
            match differ in size or coils.
    """
    if match is not None and not path.is_dir():
        raise InputError(f"{path}: --match chooses files of a folder, this is a file")
    wanted = _parse(match, files)
    matching = {name: facts for name, facts in files.items() if wanted.items() <= facts.items()}
    if not matching:
        raise InputError(f"{path}: no file matches --match {match} (found: {_list(files.values())})")
    if len(groups(matching)) > 1:
        raise InputError(
            f"{path}: the slices of a dataset need one size and number of coils, found {_list(matching.values())}; "
            f"choose with --match{advice}"
        )
    return list(matching)


def groups(files: Mapping[str, Facts]) -> dict[str, int]:
    """Count the files of a folder by size and number of coils, as values for `select`, the most frequent first."""
    return _count(files.values())


def _parse(match: str | None, files: Mapping[str, Facts]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    known = dict.fromkeys(name for facts in files.values() for name in facts)
    for item in (match or "").split(",") if match is not None else []:
        name, equals, value = item.strip().partition("=")
        if not equals or not value or name not in known or name in wanted:
            raise InputError(
                f"--match must be facts such as size=640x320,coils=16 ({', '.join(known)}), received '{item}'"
            )
        wanted[name] = value
    return wanted


def _count(facts: Iterable[Facts]) -> dict[str, int]:
    counts = Counter(",".join(f"{name}={each[name]}" for name in ALIKE) for each in facts)
    return dict(counts.most_common())


def _list(facts: Iterable[Facts]) -> str:
    counts = _count(facts)
    shown = [f"{group} ({count} {'file' if count == 1 else 'files'})" for group, count in list(counts.items())[:_SHOWN]]
    return "; ".join(shown) + (f"; and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else "")
