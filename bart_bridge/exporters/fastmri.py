"""Datasets as HDF5 files in the layout of fastMRI, one for each split; see `bart_bridge.importers.fastmri_file`.

`kspace` (slice, coil, readout, phase encoding), `ismrmrd_header`, `reconstruction_rss` where there are references, and
`mask` where one mask of whole lines describes all slices. Other patterns are the nonzero samples of k-space, as in
fastMRI's files without a mask. What fastMRI has no place for lies in a group that other readers ignore.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import Split
from bart_bridge.exporters import Exported, OnProgress
from bart_bridge.exporters.slices import DatasetSlice, OwnArrays, cartesian_splits, header, read_slices
from bart_bridge.files import atomic
from bart_bridge.wording import counted


def write_fastmri(source: Path, target: Path, on_progress: OnProgress) -> Exported:
    """Write the folder `target` with `train.h5`, `validation.h5` and `test.h5`.

    Raises:
        InputError: As in `cartesian_splits`.
    """
    splits = cartesian_splits(source, "fastMRI")
    counts = {name: split.slice_count for name, split in splits.items()}
    notes, done = [], 0
    with atomic.new_folder(target) as folder:
        for name, split in splits.items():
            with h5py.File(folder / f"{name}.h5", "w") as file:
                volume = _Volume(file, split, source.name)
                for item in read_slices(split):
                    volume.append(item)
                    done += 1
                    on_progress(done, sum(counts.values()))
                if not volume.close():
                    notes.append(f"{name}.h5 has no mask: fastMRI has one mask of whole lines for all slices of a file")
    # An import counts the files of a folder in alphabetical order.
    arguments = [f"--split={name}={sorted(splits).index(name)}" for name in splits]
    return Exported(
        ", ".join(f"{name}.h5 with {counted(count, 'slice')}" for name, count in counts.items()), notes, arguments
    )


class _Volume:
    """One file, written slice by slice."""

    def __init__(self, file: h5py.File, split: Split, name: str) -> None:
        self._file, self._count, self._done = file, split.slice_count, 0
        _, coils, y, x = split.arrays()["kspace"].shape
        file["ismrmrd_header"] = header(x, y, coils, self._count)
        self._kspace = file.create_dataset("kspace", (self._count, coils, x, y), np.complex64)
        self._own = OwnArrays(file, self._count)
        self._mask: NDArray[np.bool_] | None = None
        self._one_mask = True
        self._maximum = self._squares = 0.0
        file.attrs["acquisition"] = file.attrs["patient_id"] = name

    def append(self, item: DatasetSlice) -> None:
        """Write the next slice."""
        self._kspace[self._done] = item.kspace.transpose(0, 2, 1)
        self._own.write(self._done, item)
        lines = item.pattern[:, 0] == 1
        self._mask = lines if self._mask is None else self._mask
        self._one_mask &= bool(np.all(item.pattern == self._mask[:, None]))
        if item.reference is not None:
            # The images of the coils; where coils are normalized, their root sum of squares is that of the maps.
            images = np.sum(item.coils * item.reference[:, None], axis=0)
            self._append_image(np.sqrt(np.sum(np.abs(images) ** 2, axis=0)).T)
        self._done += 1

    def close(self) -> bool:
        """Write the mask, and return whether there is one."""
        if self._one_mask:
            self._file["mask"] = self._mask
        if self._maximum:
            self._file.attrs["max"], self._file.attrs["norm"] = self._maximum, np.sqrt(self._squares)
        return self._one_mask

    def _append_image(self, image: NDArray[Any]) -> None:
        images = self._file.require_dataset("reconstruction_rss", (self._count, *image.shape), np.float32)
        images[self._done] = image
        self._maximum = max(self._maximum, float(image.max()))
        self._squares += float(np.sum(image.astype(np.float64) ** 2))
