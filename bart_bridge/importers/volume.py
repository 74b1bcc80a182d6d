"""Three-dimensional Cartesian k-space as two-dimensional slices.

Along a fully sampled readout the inverse Fourier transform can be computed first. Each position along the readout is
then a two-dimensional problem, whose plane contains both phase encodings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.fourier import centred_ifft, crop_readout
from bart_bridge.errors import InputError
from bart_bridge.importers.source import Complex

# A piece of k-space: its place in (z, y), such as `(3, slice(None))`, and its values (coil, ..., readout).
Piece = tuple[tuple[Any, Any], Complex]
_BLOCK_BYTES = 256 * 2**20
# Integer samples may be 0 in all coils by chance.
_ZERO_BY_CHANCE = 0.2


class Volume:
    """K-space `(coil, z, y, readout)` that is read piece by piece, and its slices along the readout.

    A block of neighbouring slices is kept. Reading slices in order reads k-space once for each block, and memory does
    not grow with the volume.

    Args:
        name: Name of the volume, for messages.
        shape: Sizes `(coil, z, y)`.
        pixels: Number of slices; positions beyond them at both ends are readout oversampling and are left out.
        pieces: Returns all pieces, each with all coils and whole readouts; may be called several times. Pieces at the
            same place are added.
        block_bytes: Size of a block (default 256 MiB; at least one slice).
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int, int],
        pixels: int,
        pieces: Callable[[], Iterable[Piece]],
        block_bytes: int = _BLOCK_BYTES,
    ) -> None:
        self.name, self.shape, self.pixels = name, shape, pixels
        self._pieces = pieces
        self._block_size = max(1, min(pixels, block_bytes // (8 * int(np.prod(shape)))))
        self._first = -1
        self._block = np.zeros((0, *shape), np.complex64)
        self._measured = np.zeros(shape[1:], bool)
        self._readout = slice(0, 0)

    def kspace(self, position: int) -> Complex:
        """Return k-space of the slice at a position along the readout, `(coil, z, y)`.

        Its centred unitary inverse DFT is the image of the volume at this position.

        Raises:
            InputError: Values are not finite, or the readouts are not all sampled alike.
        """
        first = position - position % self._block_size
        if first != self._first:
            self._read(first)
        return self._block[position - first].copy()

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Mask `(z, y)` of the lines with a signal, known once a slice was read."""
        return self._measured

    @property
    def readout(self) -> slice:
        """Samples of the readout that were measured, known once a slice was read."""
        return self._readout

    def _read(self, first: int) -> None:
        self._first, self._block = -1, np.zeros((0, *self.shape), np.complex64)
        count = min(self._block_size, self.pixels - first)
        block = np.zeros((count, *self.shape), np.complex64)
        columns: Any = 0
        for place, values in self._pieces():
            if not np.isfinite(values).all():
                raise InputError(f"{self.name}: values must be finite, found NaN or infinity in k-space")
            signal = np.any(values != 0, axis=0)
            self._measured[place] |= signal.any(axis=-1)
            columns = columns + signal.reshape(-1, signal.shape[-1]).sum(axis=0)
            image = crop_readout(centred_ifft(values, (-1,)), self.pixels)[..., first : first + count]
            block[(slice(None), slice(None), *place)] += np.moveaxis(image, -1, 0)
        self._readout = _extent(np.atleast_1d(columns), self.name)
        self._first, self._block = first, block


def _extent(counts: NDArray[np.int64], name: str) -> slice:
    """Return which samples of the readout were measured, from the number of signals in each."""
    positions = np.flatnonzero(counts)
    if not positions.size:
        return slice(0, 0)
    extent = slice(int(positions[0]), int(positions[-1]) + 1)
    if counts[extent].min() <= (1 - _ZERO_BY_CHANCE) * counts.max():
        raise InputError(
            f"{name}: the readout of a volume must be fully sampled, or cut alike in all lines; found samples with "
            f"{counts[extent].min()} of {counts.max()} lines"
        )
    return extent
