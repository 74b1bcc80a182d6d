"""Write an array slice by slice, with only one slice in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import Dim

ToBart = Callable[[NDArray[np.complex64]], NDArray[np.complex64]]


class SliceWriter:
    """Writes a BART array whose number of slices is known only at the end.

    The header is written when the `with` block ends without an exception; until then the array cannot be read.

    Args:
        path: Name of the array, without `.cfl` or `.hdr`. Its folder must exist.
        to_bart: Turns an array of one slice, with an axis of 1 before the others, into a BART array of 16 dimensions.
        merge: Whether slices that are all equal are stored once (default false).
    """

    def __init__(self, path: Path, to_bart: ToBart, merge: bool = False) -> None:
        self.path = path
        self.slice_count = 0
        self._to_bart, self._merge = to_bart, merge
        self._shape: tuple[int, ...] = ()
        self._dims: tuple[int, ...] = ()
        self._digests: set[bytes] = set()
        self._file = cfl.files(path)[0].open("wb")

    def append(self, values: NDArray[np.number]) -> None:
        """Append one slice, which is stored as complex64.

        Raises:
            InputError: Its shape differs from that of the first slice.
            OSError: The disk is full.
        """
        array = self._to_bart(np.asarray(values, np.complex64)[None])
        if self.slice_count == 0:
            self._shape, self._dims = values.shape, array.shape
        elif values.shape != self._shape:
            raise InputError(f"{self.path}: slices must have one shape, found {values.shape} after {self._shape}")
        stored = array.ravel(order="F").astype("<c8", copy=False)
        self._file.write(stored.data)
        self.slice_count += 1
        if self._merge:
            self._digests.add(hashlib.sha256(stored.data).digest())

    def __enter__(self) -> SliceWriter:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if len(self._digests) == 1:
            self._file.truncate(8 * int(np.prod(self._dims)))
            self.slice_count = 1
        self._file.close()
        if error_type is None and self.slice_count:
            dims = [*self._dims[: Dim.BATCH], self.slice_count]
            atomic.write_text(cfl.files(self.path)[1], cfl.header_text(dims))
