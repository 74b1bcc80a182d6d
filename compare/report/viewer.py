"""The images of a report's viewer, packed into text that a script in the page unpacks."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compare.report.figures import colours

_LEVELS = 4095
_HIGHEST = 2.0
# About 1.6 bytes each in the page.
_MOST_PIXELS = 2_500_000
_MOST_SLICES = 12


@dataclass(frozen=True)
class Image:
    """One reconstruction, or the reference, of all slices.

    Attributes:
        label: What stands below it.
        engine: Engine that made it; its colour follows from this.
        network: Network that made it; empty for images that stand beside every network.
        slices: Magnitudes `(slice, y, x)`, real.
        notes: One text for each slice, for example its PSNR with unit; may be empty.
    """

    label: str
    engine: str
    network: str
    slices: NDArray[np.floating]
    notes: list[str] = field(default_factory=list)


def choose_slices(total: int, image_count: int, shape: tuple[int, int]) -> list[int]:
    """Choose evenly spread slices: at most 12, and so few that they take about 4 MB of the page."""
    affordable = _MOST_PIXELS // (image_count * shape[0] * shape[1])
    count = max(1, min(total, affordable, _MOST_SLICES))
    return [number * total // count for number in range(count)]


def pack(
    reference: Image, images: list[Image], numbers: list[int], error_gain: float, engines: Iterable[str] = ()
) -> dict[str, object]:
    """Pack the images for the page.

    Values are rounded to 4095 steps between 0 and the largest magnitude of a slice, at most twice the largest of its
    reference, where they are cut off.

    Args:
        reference: The image that errors are taken from.
        images: All others, of the same shape.
        numbers: Test-slice number of each slice.
        error_gain: Factor of the error maps.
        engines: Names of more engines, which the rest of the page has; they have a say in the colours.

    Returns:
        What `templates/page.js` reads, made of JSON types only.
    """
    packed = [reference, *images]
    stacks = [_oriented(image.slices) for image in packed]
    peaks = stacks[0].max(axis=(1, 2), initial=np.finfo(float).tiny)
    ceilings = np.minimum(np.max([stack.max(axis=(1, 2)) for stack in stacks], axis=0), _HIGHEST * peaks)
    ceilings = np.maximum(ceilings, peaks)
    colour: Mapping[str, str] = colours.by_engine([*engines, *(image.engine for image in packed)])
    return {
        "height": stacks[0].shape[1],
        "width": stacks[0].shape[2],
        "levels": _LEVELS,
        "error_gain": error_gain,
        "numbers": numbers,
        "ceilings": [float(ceiling) for ceiling in ceilings / peaks],
        "images": [
            {
                "label": image.label + ("" if np.isfinite(image.slices).all() else ", values that are not finite as 0"),
                "network": image.network,
                "colour": colour[image.engine],
                "notes": image.notes,
                "data": [_encode(one, ceiling) for one, ceiling in zip(stack, ceilings, strict=True)],
            }
            for image, stack in zip(packed, stacks, strict=True)
        ],
    }


def _oriented(slices: NDArray[np.floating]) -> NDArray[np.float64]:
    # x runs along the readout, which is drawn downwards as in BART's viewer.
    return np.nan_to_num(np.swapaxes(np.abs(slices), 1, 2).astype(np.float64), posinf=0)


def _encode(image: NDArray[np.float64], ceiling: float) -> str:
    """Compress differences of neighbours, high bytes before low ones: half the size of the compressed values."""
    codes = np.rint(np.clip(image / ceiling, 0, 1) * _LEVELS).astype(np.uint16).ravel()
    differences = np.diff(codes, prepend=np.uint16(0))
    planes = bytes((differences >> 8).astype(np.uint8)) + bytes((differences & 255).astype(np.uint8))
    return base64.b64encode(zlib.compress(planes)).decode()
