"""A figure as the page has it: a PNG inside the HTML."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from io import BytesIO

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
        """The picture as a data URL, with at most 256 colours; see `compact`."""
        return data_url(self.png)


def data_url(png: bytes) -> str:
    """Return a picture as an address that contains it, made smaller by `compact`."""
    return "data:image/png;base64," + base64.b64encode(compact(png)).decode()


def compact(png: bytes) -> bytes:
    """Return a PNG with at most 256 colours: half of the bytes or less, and no difference that an eye sees.

    Args:
        png: An opaque PNG, as Matplotlib writes it. Smooth edges of lines have thousands of colours there.
    """
    from PIL import Image

    buffer = BytesIO()
    with Image.open(BytesIO(png)) as picture:
        reduced = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        reduced.save(buffer, format="png", optimize=True)
    return min(png, buffer.getvalue(), key=len)
