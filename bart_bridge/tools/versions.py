"""What differs between the versions of BART that this project depends on; no other module compares versions.

Each `Change` is a row: since which version BART behaves so, and what follows from it here. Ask `toolbox.has(change)`.
`tests/bart_bridge/tools/test_versions.py` shows each row on the binaries that are found.
"""

from __future__ import annotations

from dataclasses import dataclass

Version = tuple[int, ...]

# Versions whose results are compared with ours.
_COMPARED = {(0, 8), (0, 9), (1, 0)}


@dataclass(frozen=True)
class Change:
    """A change in BART's behaviour.

    Attributes:
        since: First version that has it, for example `(1, 0)`.
        bart: What BART does since then, and what it did before.
        here: What it changes in this project.
    """

    since: Version
    bart: str
    here: str

    def is_in(self, version: Version) -> bool:
        """Return whether a version has this change."""
        return version >= self.since


NAMED_IPALM = Change(
    (1, 0),
    bart="`reconet -T ipalm` trains with iPALM. Before, it trained with Adam and ignored the sub-options of `--iPALM`",
    here="other constants of iPALM than the default ones, and iPALM for MoDL, are refused before",
)
PICS_OF_ALL_SIZES = Change(
    (1, 0),
    bart="`pics` is right for all image sizes. Before, it turned the sign for each axis of 4n + 2 pixels, and was "
    "wrong for odd sizes",
    here="the baselines turn the sign back before",
)


def is_compared(version: Version) -> bool:
    """Return whether the results of a version are compared with ours."""
    return version[:2] in _COMPARED


def text(version: Version) -> str:
    """Return a version as BART writes it, for example `0.8.00`."""
    major, minor, patch = version
    return f"{major}.{minor}.{patch:02d}"
