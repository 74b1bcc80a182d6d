"""Write an array slice by slice, with only one slice in memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import Dim


class SliceWriter:
    """Writes a BART array `[x, y, 1, coil, maps, ..., batch]` whose number of slices is known only at the end.

    The header is written when the `with` block ends without an exception; until then the array cannot be read.

    Args:
        path: Name of the array, without `.cfl` or `.hdr`. Its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.slice_count = 0
        self._shape: tuple[int, ...] = ()
        self._file = cfl.files(path)[0].open("wb")

    def append(self, values: NDArray[np.number]) -> None:
        """Append one slice, `(coil, y, x)` or `(map, coil, y, x)`, which is stored as complex64.

        Raises:
            InputError: Its shape differs from that of the first slice.
            OSError: The disk is full.
        """
        if self.slice_count == 0:
            self._shape = values.shape
        elif values.shape != self._shape:
            raise InputError(f"{self.path}: slices must have one shape, found {values.shape} after {self._shape}")
        # C order with these axes equals BART's Fortran order with the axes reversed.
        self._file.write(np.ascontiguousarray(values, dtype="<c8").data)
        self.slice_count += 1

    def __enter__(self) -> SliceWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if error_type is None and self.slice_count:
            maps, coil, y, x = (1, *self._shape)[-4:]
            dims = [x, y, 1, coil, maps, *(1,) * (Dim.BATCH - Dim.TE), self.slice_count]
            atomic.write_text(cfl.files(self.path)[1], cfl.header_text(dims))
