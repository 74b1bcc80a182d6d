"""A figure as the page has it: a PNG inside the HTML."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

_WIDE = 2.0


@dataclass(frozen=True)
class Figure:
    """A picture of the page.

    Attributes:
        slug: Name in links and of exported files: lower-case letters, digits and `-`.
        title: What it shows; also said in place of the picture where that cannot be seen.
        caption: Explanation below it.
        png: A PNG file.
    """

    slug: str
    title: str
    caption: str
    png: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = struct.unpack(">II", self.png[16:24])
        return width, height

    @property
    def wide(self) -> bool:
        """Whether it takes the whole width of the page."""
        return self.size[0] > _WIDE * self.size[1]

    @property
    def source(self) -> str:
        """The picture as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()
