"""Messages and progress while something runs: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

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
        # rich takes FORCE_COLOR, which Jupyter sets, for a terminal, and would write each state of a bar as a line.
        self.console = Console(stderr=True, highlight=False, soft_wrap=True, force_terminal=sys.stderr.isatty())
        self._describe: Callable[[], str] | None = None
        self._left: Callable[[], object] | None = None
        self._bar: Progress | None = None
        self._live: Live | None = None
        self._warned: set[tuple[str, str]] = set()

    def say(self, text: str, level: int = 0) -> None:
        """Write a line, if the verbosity is at least `level`."""
        if self.verbosity >= level:
            self.console.print(text, markup=False)

    def warn(self, what: str, *things: str) -> None:
        """Write `warning: A, B: what`, or `warning: what`. Of the same thing, the same is said once."""
        new = [thing for thing in things or ("",) if (thing, what) not in self._warned]
        self._warned.update((thing, what) for thing in new)
        if new:
            self.say("warning: " + ": ".join(filter(None, [", ".join(new), what])))

    @contextmanager
    def whole(self, describe: Callable[[], str], left: Callable[[], object]) -> Iterator[None]:
        """Show what is left of a whole sequence of steps until the end of the `with` block.

        On a terminal a line stands above the bar of the running step, and is written anew several times a second, from
        another thread. Elsewhere the title of each step, which has its number, is followed by what is left.

        Args:
            describe: Returns the line.
            left: Returns what is left, for `str`.
        """
        self._describe, self._left = describe, left
        try:
            if self.verbosity >= 0 and self.console.is_terminal:
                with Live(get_renderable=self._both, console=self.console, transient=True) as self._live:
                    yield
            else:
                yield
        finally:
            self._describe = self._left = self._live = None

    def _both(self) -> Group:
        line = Text(self._describe() if self._describe else "", style="bold")
        return Group(line, self._bar) if self._bar else Group(line)

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Advance]:
        """Show the progress of one step until the end of the `with` block.

        Args:
            title: What runs.
            total: Number of units, such as epochs or slices.
        """
        if self.verbosity < 0:
            yield _nowhere
        elif not self.console.is_terminal:
            self.say(f"{title}; all steps: {self._left()}" if self._left else title)
            yield _PlainLines(self, total)
        elif self._describe is None:
            with self._new_bar() as bar, _advancing(bar, title, total) as advance:
                yield advance
        else:
            started_s = time.perf_counter()
            self._bar = self._new_bar()
            try:
                with _advancing(self._bar, title, total) as advance:
                    if self._live:
                        self._live.refresh()  # a step may be over before the next time
                    yield advance
            finally:
                self._bar = None
            self.say(f"{title}: {duration(time.perf_counter() - started_s)}")

    def _new_bar(self) -> Progress:
        return Progress(
            # The title gives way on a narrow terminal.
            TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            expand=True,
        )


@contextmanager
def _advancing(bar: Progress, title: str, total: int) -> Iterator[Advance]:
    task = bar.add_task(title, total=total, note="")

    def show(completed: int, note: str = "") -> None:
        bar.update(task, completed=completed, note=note)

    yield show
    bar.update(task, completed=total)


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
