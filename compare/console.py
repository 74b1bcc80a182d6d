"""Messages and progress while something runs: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PLAIN_STEPS = 5


def duration(seconds: float) -> str:
    """Return a time for people: `42 s`, `3.5 min` or `2 h 10 min`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"
    minutes = round(seconds / 60)
    return f"{seconds / 60:.1f} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Advance(Protocol):
    """Report the progress of a step."""

    def __call__(self, completed: int, note: str = "") -> None:
        """Report that `completed` units are done, with a note such as the loss."""
        ...


class Reporter:
    """Write messages and progress to standard error.

    Args:
        verbosity: -1 shows only errors, 0 steps and progress, 1 also details.
    """

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str, level: int = 0) -> None:
        """Write a line, if the verbosity is at least `level`."""
        if self.verbosity >= level:
            self.console.print(text, markup=False)

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Advance]:
        """Show the progress of one step until the end of the `with` block.

        Args:
            title: What runs.
            total: Number of units, such as epochs or slices.
        """
        if self.verbosity < 0:
            yield _nowhere
        elif self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            with Progress(*columns, console=self.console) as progress:
                task = progress.add_task(title, total=total, note="")

                def show(completed: int, note: str = "") -> None:
                    progress.update(task, completed=completed, note=note)

                yield show
                progress.update(task, completed=total)
        else:
            self.say(title)
            yield _PlainLines(self, total)


class _PlainLines:
    """Progress as a few lines, evenly spread."""

    def __init__(self, reporter: Reporter, total: int) -> None:
        self.reporter = reporter
        self.total = total
        self.lines = 0

    def __call__(self, completed: int, note: str = "") -> None:
        part = completed * _PLAIN_STEPS // max(self.total, 1)
        if part > self.lines:
            self.lines = part
            self.reporter.say(f"    {completed} of {self.total}" + (f", {note}" if note else ""))


def _nowhere(completed: int, note: str = "") -> None:
    pass
