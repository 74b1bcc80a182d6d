"""Arrays that `bart-tf export` adds to an HDF5 file of another format, so that an import gives the same dataset again.

They lie in the group `bart_tf`, which other readers ignore:

    coil_sensitivities  (slice, map, coil, y, x)  complex64
    pattern             (slice, y, x)             complex64; along a trajectory (slice, spoke, sample)
    reference           (slice, map, y, x)        complex64; optional
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.source import Complex, Entry, Slice, as_complex

GROUP = "bart_tf"
COILS, PATTERN, REFERENCE = "coil_sensitivities", "pattern", "reference"


def is_in(path: Path) -> bool:
    """Tell whether an HDF5 file has these arrays.

    Raises:
        InputError: The file cannot be read.
    """
    with opened(path, "a file of bart-tf") as file:
        return GROUP in file


def present(
    file: h5py.File, shape: tuple[int, int, int, int], path: Path, sampled: tuple[int, int] | None = None
) -> bool:
    """Tell whether a file has these arrays.

    Args:
        file: The file.
        shape: Number of slices and coils, y and x.
        path: Its path, for messages.
        sampled: Number of spokes and of samples along each, of slices along a trajectory.

    Raises:
        InputError: An array is missing or has another shape.
    """
    if GROUP not in file:
        return False
    group = file[GROUP]
    slices, coils, y, x = shape
    if not isinstance(group, h5py.Group) or not {COILS, PATTERN} <= set(group):
        raise InputError(f"{path}: '{GROUP}' must be a group with {COILS} and {PATTERN}")
    maps = getattr(group[COILS], "shape", ())[1:2]
    expected = {
        COILS: (slices, *maps, coils, y, x),
        PATTERN: (slices, *(sampled or (y, x))),
        REFERENCE: (slices, *maps, y, x),
    }
    for name, wanted in expected.items():
        if name in group and (not isinstance(group[name], h5py.Dataset) or group[name].shape != wanted):
            raise InputError(f"{path}: '{GROUP}/{name}' must be an array of shape {wanted}")
    return True


def completed(entry: Entry, item: int, path: Path) -> Entry:
    """Return an entry whose slice also has the arrays of the slice `item` in a file.

    Args:
        entry: What an importer reads from the same file.
        item: Number of the slice.
        path: The file.
    """

    def load() -> Slice:
        loaded = entry.load()
        arrays = _read(item, path)
        # The pattern says more than the signal, which may be 0 by chance.
        # Weighted samples, or those along a trajectory, are not the k-space of an image.
        plain = loaded.trajectory is None and bool(np.isin(arrays[PATTERN], (0, 1)).all())
        complete = plain and (loaded.fully_sampled or bool(arrays[PATTERN].all()))
        return replace(
            loaded,
            fully_sampled=complete,
            pattern=arrays[PATTERN],
            coils=arrays[COILS],
            reference=arrays.get(REFERENCE, loaded.reference),
        )

    return Entry(entry.name, load)


def _read(item: int, path: Path) -> dict[str, Complex]:
    with opened(path, "a file of bart-tf") as file:
        group = file[GROUP]
        names = [name for name in (COILS, PATTERN, REFERENCE) if name in group]
        arrays = {name: as_complex(group[name][item], path, f"{GROUP}/{name}") for name in names}
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise InputError(f"{path}: values must be finite, found NaN or infinity in '{GROUP}/{name}'")
    return arrays
