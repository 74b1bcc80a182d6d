"""The line that says why a fast version is not used."""

from __future__ import annotations

import sys


def report(what: str, error: Exception) -> None:
    """Write one line to standard error: what does not work and what is done instead, and the error that shows it."""
    reason = str(error).strip().splitlines()
    print(f"{what} ({type(error).__name__}: {reason[0] if reason else ''})", file=sys.stderr)  # noqa: T201
