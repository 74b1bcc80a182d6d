"""Charts of means with their intervals, engine beside engine; a template draws them as a table with marks in its cells.

Positions are percentages of the width of a cell, so that a chart fits any screen and has the colours of the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

FIRST, SECOND, PUBLISHED = "first", "second", "published"
# Left and right of the outermost values, as a part of their range.
_MARGIN = 0.08
_MOST_TICKS = 4
# In percent of the width.
_EDGE = 4.0
_LEAST_DISTANCE = 26.0


@dataclass(frozen=True)
class Mark:
    """A value with its interval.

    Attributes:
        mean: The value.
        low: Lower end; the value itself where there is no interval.
        high: Upper end.
        kind: `FIRST` or `SECOND` quantity of a panel, or `PUBLISHED`.
    """

    mean: float
    low: float
    high: float
    kind: str = FIRST


@dataclass(frozen=True)
class Scale:
    """The axis of a panel.

    Attributes:
        low: Value at the left edge.
        high: Value at the right edge.
        logarithmic: Whether distances are ratios.
    """

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def around(cls, marks: Iterable[Mark], logarithmic: bool, least: Sequence[float] = ()) -> Scale:
        """Return a scale on which all marks lie.

        Args:
            marks: What is to be drawn. Values at 0 or below have no place on a logarithmic scale.
            logarithmic: Whether distances are ratios.
            least: Further values that must lie on the scale.
        """
        values = [value for mark in marks for value in (mark.mean, mark.low, mark.high)] + list(least)
        values = [value for value in values if math.isfinite(value) and (value > 0 or not logarithmic)] or [1.0]
        low, high = min(values), max(values)
        if logarithmic:
            margin = max((high / low) ** _MARGIN, 1.15)
            return cls(low / margin, high * margin, True)
        margin = (high - low) * _MARGIN or max(abs(high) * _MARGIN, 1e-3)
        return cls(low - margin, high + margin, False)

    def percent(self, value: float) -> float:
        """Return where a value lies, from 0 at the left to 100 at the right; values beyond the edges lie on them."""
        if self.logarithmic:
            value, low, high = math.log(max(value, self.low)), math.log(self.low), math.log(self.high)
        else:
            low, high = self.low, self.high
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Return position and text of a few round values on the scale."""
        from matplotlib import ticker

        locators: list[ticker.Locator] = [ticker.MaxNLocator(_MOST_TICKS, steps=[1, 2, 5, 10])]
        if self.logarithmic:
            # Powers of ten where two of them are on the scale; round values between them, else any round values.
            locators = [ticker.LogLocator(), ticker.LogLocator(subs=(1.0, 2.0, 5.0)), *locators]
        for locator in locators:
            values = [float(value) for value in locator.tick_values(self.low, self.high)]
            placed = [
                (self.percent(value), f"{round(value, 12):g}") for value in values if self.low < value < self.high
            ]
            # A text at the edge would reach into the next panel.
            placed = [(percent, text) for percent, text in placed if _EDGE <= percent <= 100 - _EDGE]
            if len(placed) > 1:
                break
        apart: list[tuple[float, str]] = []
        for percent, text in placed:
            if not apart or percent - apart[-1][0] >= _LEAST_DISTANCE:
                apart.append((percent, text))
        return apart


@dataclass(frozen=True)
class Panel:
    """A column of a chart.

    Attributes:
        title: What it shows, with the unit.
        subtitle: What marks and intervals are.
        scale: Its axis.
        target: Name of the table with the same numbers.
        band: From where to where values count as equal; None for none.
        neutral: Value that means no difference; None for none.
    """

    title: str
    subtitle: str
    scale: Scale
    target: str = ""
    band: tuple[float, float] | None = None
    neutral: float | None = None


@dataclass(frozen=True)
class Cell:
    """What a panel shows of an engine.

    Attributes:
        text: The value in words, or why there is none.
        marks: What is drawn.
    """

    text: str
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """An engine, or another thing that is compared.

    Attributes:
        label: Its name.
        cells: One for each panel.
        note: What its numbers depend on, such as a version.
        state: What is wrong with it; empty for nothing.
    """

    label: str
    cells: list[Cell]
    note: str = ""
    state: str = ""


@dataclass(frozen=True)
class Chart:
    """Panels side by side.

    Attributes:
        title: Said to those who do not see it.
        heading: Of the first column.
        panels: The columns.
        groups: Rows by network; a group without a name has no heading.
        legend: What the kinds of marks are, by kind.
        notes: Lines below it.
    """

    title: str
    heading: str
    panels: list[Panel]
    groups: dict[str, list[Row]]
    legend: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def longest(self) -> int:
        """Characters of the longest text beside a mark, for which its column needs room."""
        texts = [cell.text for rows in self.groups.values() for row in rows for cell in row.cells]
        return max(map(len, texts), default=0)
