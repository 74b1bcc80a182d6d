"""Breast data of fastMRI: golden-angle spokes in planes that are stacked along the slice encoding (stack of stars).

Solomon et al. (2024), arXiv 2406.05270, and the reconstruction of its authors, github.com/eddysolo/demo_dce_recon. The
files have no header and no trajectory; the authors' code defines both:

    kspace  (real and imaginary part, spoke, sample, coil, partition)  float32
            attributes `centerPartition` (from 1) and `imagesPerSlab`: the partitions are zero-filled around the centre

Spoke n has the angle 111.246 n degrees, its sample i lies (i - samples / 2) / 2 from the centre in units of 1 / field
of view. All spokes of the scan become one slice. Slices have the numbers of the authors' images, `temptv`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes, check_limits
from bart_bridge.importers.folder_files import files_in
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.source import Entry, Slice, Source, as_complex, number_units
from bart_bridge.importers.volume import Piece, Volume

_FORM = "a breast file of fastMRI"
_PARTS = 2
# Of the published files; the attributes of a file come first.
_CENTRE, _IMAGES = 32, 192
_LARGEST = 1024


def open_breast(path: Path) -> Source:
    """Open a file, or a folder of `.h5` files.

    Units are the slices of a file, or the files of a folder in alphabetical order, both counted from 0.

    Raises:
        InputError: A file cannot be read or has another layout.
    """
    files, left_out = files_in(path, ".h5")
    volumes = {file.name: _entries(file) for file in files}
    units = number_units(path, volumes)
    description = {"files": list(volumes), "source_arxiv": "2406.05270"}
    notes = ("the file has no trajectory: golden-angle spokes of 111.246 degrees, as its authors use",)
    return Source(
        "fastmri-breast", path, units, has_coils=False, description=description, left_out=left_out, notes=notes
    )


def _entries(path: Path) -> dict[int, Entry]:
    with opened(path, _FORM) as file:
        kspace = file.get("kspace")
        if not isinstance(kspace, h5py.Dataset) or kspace.ndim != 5 or kspace.shape[0] != _PARTS:
            found = getattr(kspace, "shape", "none")
            raise InputError(
                f"{path}: 'kspace' must have dimensions part (2), spoke, sample, coil and partition, found {found}"
            )
        _, spokes, samples, coils, partitions = map(int, kspace.shape)
        check_axes(f"{path}: 'kspace'", {"slice": partitions, "coil": coils, "sample": samples, "spoke": spokes})
        centre = _attribute(kspace, "centerPartition", _CENTRE, path) - 1
        images = _attribute(kspace, "imagesPerSlab", _IMAGES, path)
    first = images // 2 - centre
    if not (first >= 0 and first + partitions <= images <= _LARGEST):
        raise InputError(
            f"{path}: {partitions} partitions with the centre {centre + 1} do not fit into {images} images per slab"
        )
    check_limits(f"{path}: a spoke of all partitions", 1, (coils, samples, images))
    shape = coils, spokes, samples
    pieces = partial(_spokes, path, shape, slice(first, first + partitions), images)
    volume = Volume(str(path), shape, images, pieces)
    trajectory = golden_angle(spokes, samples)

    def load(item: int) -> Slice:
        # The authors' transform along partitions is the forward one, which has the images in reverse order.
        kspace = volume.load(-item % images).kspace
        return Slice(kspace, fully_sampled=False, trajectory=trajectory, pixels=(samples // 2, samples // 2))

    return {item: Entry(f"{path.name}/{item}", partial(load, item)) for item in range(images)}


def golden_angle(spokes: int, samples: int) -> NDArray[np.float32]:
    """Return the authors' trajectory `(3, spoke, sample)` in units of 1 / field of view; the readout is oversampled."""
    angles = np.arange(spokes) * np.pi / ((1 + 5**0.5) / 2)
    steps = (np.arange(samples) - samples // 2) / 2
    trajectory = np.zeros((3, spokes, samples), np.float32)
    trajectory[0], trajectory[1] = np.outer(np.sin(angles), steps), np.outer(np.cos(angles), steps)
    return trajectory


def _spokes(path: Path, shape: tuple[int, int, int], place: slice, images: int) -> Iterator[Piece]:
    """Read the spokes one after the other, `(coil, sample, partition)`, zero-filled along the partitions."""
    coils, spokes, samples = shape
    for spoke in range(spokes):
        with opened(path, _FORM) as file:
            parts = as_complex(file["kspace"][:, spoke], path, "kspace")
        values = np.zeros((coils, samples, images), np.complex64)
        values[..., place] = (parts[0] + 1j * parts[1]).transpose(1, 0, 2)
        yield (spoke, slice(None)), values


def _attribute(kspace: h5py.Dataset, name: str, default: int, path: Path) -> int:
    """Return a number that the files store as text."""
    value: Any = kspace.attrs.get(name, default)
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise InputError(f"{path}: the attribute '{name}' must be a number, found '{text[:40]}'")
    return int(text)
