"""Three-dimensional Cartesian k-space as two-dimensional slices.

Along a fully sampled readout the inverse Fourier transform can be computed first. Each position along the readout is
then a two-dimensional problem, whose plane contains both phase encodings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.fourier import crop_readout, idft_matrix
from bart_bridge.errors import InputError
from bart_bridge.importers.partial_fourier import READOUT, along_axis
from bart_bridge.importers.source import Complex, Slice, fully_sampled

# A piece of k-space: its place in (z, y), such as `(3, slice(None))`, and its values (coil, ..., readout).
Piece = tuple[tuple[Any, Any], Complex]
# Meaning of y and x of a slice.
AXES = ("second phase encoding", "phase encoding")
_BLOCK_BYTES = 256 * 2**20
# Integer samples may be 0 in all coils by chance.
_ZERO_BY_CHANCE = 0.2


@dataclass(frozen=True, eq=False)
class Volume:
    """K-space `(coil, z, y, readout)` that is read piece by piece, and its slices along the readout.

    The last two blocks of neighbouring slices are kept, such as those of image and calibration lines. Reading slices in
    order reads k-space once for each block, and memory does not grow with the volume.

    Attributes:
        name: Name of the volume, for messages.
        shape: Sizes `(coil, z, y)`.
        pixels: Number of slices; positions beyond them at both ends are readout oversampling and are left out.
        pieces: Returns all pieces, each with all coils and whole readouts; may be called several times. Pieces at the
            same place are added.
        block_bytes: Size of a block (default 256 MiB; at least one slice).
    """

    name: str
    shape: tuple[int, int, int]
    pixels: int
    pieces: Callable[[], Iterable[Piece]]
    block_bytes: int = _BLOCK_BYTES

    def load(self, position: int) -> Slice:
        """Return the slice at a position along the readout, whose y is z of the volume and whose x is y.

        The centred unitary inverse DFT of its k-space is the image of the volume at this position.

        Raises:
            InputError: Values are not finite, or the readouts are not all sampled alike.
        """
        size = max(1, min(self.pixels, self.block_bytes // (8 * int(np.prod(self.shape)))))
        block = _read(self, position - position % size, size)
        echo = along_axis(block.readout, READOUT)
        return Slice(
            block.kspace[position % size].copy(),
            fully_sampled(block.measured),
            block.measured,
            axes=AXES,
            notes=(f"{echo}; they count as 0",) if echo else (),
        )


@dataclass(frozen=True)
class _Block:
    """K-space of neighbouring slices `(slice, coil, z, y)`, and which lines `(z, y)` and samples were measured."""

    kspace: Complex
    measured: NDArray[np.bool_]
    readout: NDArray[np.bool_]


@lru_cache(maxsize=2)
def _read(volume: Volume, first: int, size: int) -> _Block:
    count = min(size, volume.pixels - first)
    kspace = np.zeros((count, *volume.shape), np.complex64)
    measured = np.zeros(volume.shape[1:], bool)
    counts: Any = np.zeros(1, np.int64)
    transform = None
    for place, values in volume.pieces():
        if not np.isfinite(values).all():
            raise InputError(f"{volume.name}: values must be finite, found NaN or infinity in k-space")
        signal = np.any(values != 0, axis=0)
        measured[place] |= signal.any(axis=-1)
        counts = counts + signal.reshape(-1, signal.shape[-1]).sum(axis=0)
        if transform is None:
            positions = crop_readout(np.arange(values.shape[-1]), volume.pixels)
            transform = idft_matrix(values.shape[-1], positions[first : first + count])
        kspace[(slice(None), slice(None), *place)] += np.moveaxis(values @ transform, -1, 0)
    inside = np.logical_or.accumulate(counts > 0) & np.logical_or.accumulate(counts[::-1] > 0)[::-1]
    if counts[inside].min(initial=counts.max()) <= (1 - _ZERO_BY_CHANCE) * counts.max() and counts.any():
        raise InputError(
            f"{volume.name}: the readout of a volume must be fully sampled, or cut alike in all lines; found samples "
            f"with {counts[inside].min()} of {counts.max()} lines"
        )
    return _Block(kspace, measured, inside)
