"""Words of messages, tables and captions that depend on a number."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, whose plural ends in -s: `1 slice`, `2 slices`, `0 coils`, `1 head slice`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def times(number: int) -> str:
    """Return how often something is done: `once` or `3 times`."""
    return "once" if number == 1 else f"{number} times"
