"""One colour, marker and line style for each engine, the same in tables, figures and viewer.

The first colours are those of Okabe and Ito (Color Universal Design, 2008), which differ for colour-blind readers too.
Of all engines, any two differ by 10 or more (CIEDE2000) for normal, protanopic and deuteranopic eyes, and markers tell
them apart without any colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """How an engine is drawn.

    Attributes:
        colour: `#rrggbb`.
        marker: In matplotlib's words.
        line: The same.
    """

    colour: str
    marker: str
    line: str


_FIXED = {
    "reference": Style("#808080", "1", "-"),
    "zero-filled": Style("#999999", "2", "-"),
    "cg-sense": Style("#009E73", "+", "-"),
    "bart": Style("#0072B2", "o", "-"),
    "keras-tensorflow": Style("#D55E00", "x", "--"),
}
_COLOURS = (
    *("#CC79A7", "#56B4E9", "#E69F00", "#992222", "#5500EE", "#664455"),
    *("#BB1188", "#3388FF", "#BBCC88", "#666655", "#99CCDD", "#DDBBBB"),
)
_MARKERS = "s^vDP*<>pXhd"
_LINES = ("-.", ":", "--", "-")


def styles(names: Iterable[str]) -> dict[str, Style]:
    """Return a style for each engine, whatever the order of the names.

    Engines without a style of their own take twelve colours and markers in turn, then other pairs of these.
    """
    distinct = set(names)
    styles_by_name = {}
    for number, name in enumerate(sorted(distinct - _FIXED.keys())):
        marker = _MARKERS[(number + number // len(_COLOURS)) % len(_MARKERS)]
        styles_by_name[name] = Style(_COLOURS[number % len(_COLOURS)], marker, _LINES[number % len(_LINES)])
    return styles_by_name | {name: _FIXED[name] for name in distinct & _FIXED.keys()}


def by_engine(names: Iterable[str]) -> dict[str, str]:
    """Return the colour of each engine, `#rrggbb`."""
    return {name: style.colour for name, style in styles(names).items()}
