"""One row of images: reference, reconstructions without a network, every engine, with error maps and PSNR."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compare.report.figures.images import ERROR_GAIN
from compare.report.summary.comparison import Comparison
from compare.results import statistics
from compare.results.images import REFERENCE, Images
from compare.results.table import select

if TYPE_CHECKING:
    import pandas

# A thumbnail: the viewer below has the whole image.
_LARGEST = 160
_BASELINE_ORDER = ("zero-filled", "cg-sense")


@dataclass(frozen=True)
class Tile:
    """An image of the row.

    Attributes:
        label: Engine or baseline.
        network: Name of the network; empty for a baseline.
        psnr: With unit; empty where there is none.
        image: A PNG as a data URL; empty where there is no image.
        error: The same of the error map; empty for the reference.
        state: Why there is no image, or what is wrong with the run; empty for nothing.
    """

    label: str
    network: str
    psnr: str
    image: str = ""
    error: str = ""
    state: str = ""


@dataclass(frozen=True)
class Strip:
    """The row.

    Attributes:
        caption: Which slice it is, and what the error maps are.
        error_gain: Factor of the error maps.
        tiles: The images from left to right.
        pixelated: Whether images are so small that their pixels are to be seen.
    """

    caption: str
    error_gain: int
    tiles: list[Tile]
    pixelated: bool


def strip(comparison: Comparison, images: Images) -> Strip | None:
    """Make the row of a typical test slice; None without a reference and a reconstruction.

    Args:
        comparison: The engines, their results and what is wrong with their runs.
        images: The images that are there.
    """
    if len(images) < 2:
        return None
    number, why = _typical_slice(comparison, len(images[REFERENCE]))
    reference = np.abs(images[REFERENCE][number])
    peak = float(reference.max()) or 1.0
    keys = [("", name) for name in _baselines(comparison, images)]
    keys += [(network, engine) for network in comparison.networks for engine in comparison.engines_of(network)]
    tiles = [Tile("reference", "", "", _png(reference, peak))]
    for network, engine in keys:
        state = comparison.states.get((network, engine))
        word = state.kind if state else ""
        image = images.get((network, engine, "apply"))
        if image is None:
            tiles.append(Tile(engine, network if len(comparison.networks) > 1 else "", "", state=word or "no image"))
            continue
        magnitude = np.nan_to_num(np.abs(image[number]), nan=0.0, posinf=peak)
        error = _png(ERROR_GAIN * np.abs(magnitude - reference), peak)
        psnr = _psnr(comparison.results, network, engine, number)
        shown = network if len(comparison.networks) > 1 else ""
        tiles.append(Tile(engine, shown, psnr, _png(magnitude, peak), error, word))
    caption = f"Test slice {number}{why}. Below each image: {ERROR_GAIN} times its error, on the same grey scale."
    return Strip(caption, ERROR_GAIN, tiles, max(reference.shape) < _LARGEST)


def _typical_slice(comparison: Comparison, total: int) -> tuple[int, str]:
    """Choose the slice whose PSNR is the median of the base, and say so; the first one where that is not known."""
    for network in comparison.networks:
        psnr = statistics.slices_of(comparison.results, network, comparison.base, "psnr")
        psnr = psnr[np.isfinite(psnr.to_numpy())].sort_values()
        if len(psnr) and int(psnr.index[(len(psnr) - 1) // 2]) < total:
            of_network = f" for {network}" if len(comparison.networks) > 1 else ""
            return int(psnr.index[(len(psnr) - 1) // 2]), f", the median in PSNR of {comparison.base}{of_network}"
    return 0, ""


def _baselines(comparison: Comparison, images: Images) -> list[str]:
    """List the reconstructions without a network, the usual ones first; those that failed or are missing too."""
    names = [engine for network, engine, _ in images if not network and engine != "reference"]
    names += [engine for network, engine in comparison.states if not network]
    return sorted(dict.fromkeys(names), key=lambda name: (name not in _BASELINE_ORDER, name != "zero-filled"))


def _psnr(results: pandas.DataFrame, network: str, engine: str, number: int) -> str:
    rows = select(results, network=network, engine=engine, phase="apply", metric="psnr", slice=str(number))
    values = rows.value.dropna()
    return f"{values.iloc[0]:.1f} dB" if len(values) else ""


def _png(magnitude: NDArray[np.floating], peak: float) -> str:
    from PIL import Image

    # x runs along the readout, which is drawn downwards as in BART's viewer.
    grey = np.rint(255 * np.clip(magnitude.T / peak, 0, 1)).astype(np.uint8)
    picture = Image.fromarray(grey)
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.BOX)
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
