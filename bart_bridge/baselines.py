"""What one would use without a network: reconstructions by BART's own tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from bart_bridge.dataset import Split
from bart_bridge.dims import from_batch_coil_yx, to_batch_coil_yx
from bart_bridge.toolbox import Argument, Toolbox

CG_SENSE_ITERATIONS = 50
CG_SENSE_GRID = tuple(float(weight) for weight in np.logspace(-4, 0, 9))


def cg_sense(
    split: Split, toolbox: Toolbox, regularization: float, on_slice: Callable[[], None] = lambda: None
) -> NDArray[np.complex64]:
    """Reconstruct with `bart pics`: argmin_x |P F C x - y|^2 + regularization |x|^2 by conjugate gradients.

    Args:
        split: The slices.
        toolbox: The BART to use.
        regularization: Weight of the l2 term, on the scale to which `pics` brings the data.
        on_slice: Called after each slice.

    Returns:
        Images on the scale of the data, `(batch, y, x)`.

    Raises:
        ToolError: BART failed.
    """
    images = []
    for slice_arrays in _slices(split):
        options: list[Argument] = ["-S", "-l2", "-r", regularization, "-i", CG_SENSE_ITERATIONS]
        if "pattern" in slice_arrays:
            options += ["-p", slice_arrays["pattern"]]
        image = toolbox.compute("pics", *options, slice_arrays["kspace"], slice_arrays["coils"])
        images.append(to_batch_coil_yx(image)[0, 0])
        on_slice()
    return np.stack(images)


def _slices(split: Split) -> Iterator[dict[str, NDArray[np.complex64]]]:
    arrays = split.arrays()
    for item in range(split.items):
        yield {name: from_batch_coil_yx(array[[item if len(array) > 1 else 0]]) for name, array in arrays.items()}
