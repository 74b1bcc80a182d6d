"""One colour for each engine, the same in tables, figures and viewer.

The colours are those of Okabe and Ito (Color Universal Design, 2008), which differ for colour-blind readers too.
"""

from __future__ import annotations

from collections.abc import Iterable

_FIXED = {
    "reference": "#808080",
    "zero-filled": "#999999",
    "cg-sense": "#009E73",
    "bart": "#0072B2",
    "keras-tensorflow": "#D55E00",
}
_OTHERS = ("#CC79A7", "#56B4E9", "#E69F00", "#8A6FC2")


def of_engines(names: Iterable[str]) -> dict[str, str]:
    """Return a colour, `#rrggbb`, for each engine; engines that have none of their own share four in turn."""
    distinct = list(dict.fromkeys(names))
    others = [name for name in distinct if name not in _FIXED]
    return {name: _FIXED.get(name) or _OTHERS[others.index(name) % len(_OTHERS)] for name in distinct}
