"""Three-dimensional brain volumes of Calgary-Campinas: hybrid space, with the readout already transformed.

Beauferris et al. (2022), doi 10.3389/fnins.2022.919186; layout as in the owners' github.com/rmsouza01/MC-MRI-Rec.
`kspace` has the axes readout position, phase encoding, slice encoding, and coil with real and imaginary part in turn.
The centre of k-space is in its middle, but the owners' plain inverse DFT shows the head in the middle of the image, so
the phase of k-space has its origin at the first pixel. The importer moves this origin to the centre.
"""

from __future__ import annotations

from functools import partial
from math import ceil
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers import matching
from bart_bridge.importers.folder_files import files_in
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.source import Complex, Entry, Slice, Source, fully_sampled, names_in

_FORM = "a Calgary-Campinas volume"
# Part of the slice encodings that the scanner measured; the rest may hold other values than zero.
_MEASURED = 0.85
# The owners evaluate without the outer 50 of 256 positions.
_POSITIONS, _SLICES = 256, "50-205"
_AXES = ("phase encoding", "slice encoding")
Shape = tuple[int, int, int, int]


def open_calgary(path: Path, match: str | None = None) -> Source:
    """Open a volume, or a folder of `.h5` volumes. Units are volumes, counted from 0.

    The phase encoding becomes y and the slice encoding x. The last 15 % of the slice encodings count as not measured.

    Args:
        path: The file or folder.
        match: Facts of the files to take from a folder, such as `size=218x170` (phase x slice encoding), also of
            `coils`. All by default, which must have one size and number of coils.

    Raises:
        InputError: A file cannot be read or has another layout, or the files differ.
    """
    present, left_out = open_files(path)
    taken = matching.select({name: file_facts(shape) for name, shape in present.items()}, match, path)
    left_out["files that --match does not take"] = len(present) - len(taken)
    files = [path / name if path.is_dir() else path for name in taken]
    shapes = {file: present[file.name] for file in files}
    units = {
        str(number): {x: Entry(f"{file.name}/{x}", partial(_load, file, x)) for x in range(shape[0])}
        for number, (file, shape) in enumerate(shapes.items())
    }
    published = all(shape[0] == _POSITIONS for shape in shapes.values())
    note = f"slices: the published ones, {_SLICES}, need {_POSITIONS} positions along the readout: all are taken"
    description = {"files": [file.name for file in files], "source_doi": "10.3389/fnins.2022.919186"}
    return Source(
        "calgary-campinas",
        path,
        units,
        has_coils=False,
        default_slices=_SLICES if published else None,
        description=description,
        left_out=left_out,
        slices_note="" if published else note,
    )


def open_files(path: Path) -> tuple[dict[str, Shape], dict[str, int]]:
    """Return the sizes `(x, phase, slice, coil)` of a file, or of the files of a folder; count what is left out.

    Raises:
        InputError: There is no such file, or one cannot be read or has another layout.
    """
    files, left_out = files_in(path, ".h5")
    return {file.name: _shape(file) for file in files}, left_out


def file_facts(shape: Shape) -> dict[str, str]:
    """Return what `--match` compares: `size` (phase x slice encoding) and `coils`."""
    _, phase, partitions, coils = shape
    return {"size": f"{phase}x{partitions}", "coils": str(coils)}


def _shape(path: Path) -> Shape:
    """Check the layout of a file and return the sizes `(x, phase, slice, coil)`."""
    with opened(path, _FORM) as file:
        data = file.get("kspace")
        if not isinstance(data, h5py.Dataset):
            raise InputError(f"{path}: no array 'kspace' in it (found: {names_in(file)})")
        if data.ndim != 4 or data.shape[3] % 2 or data.dtype.kind not in "fi":
            raise InputError(
                f"{path}: 'kspace' must hold real numbers with dimensions readout position, phase encoding, slice "
                f"encoding and 2 x coils, found {data.shape} of type {data.dtype}"
            )
        x, phase, partitions, parts = map(int, data.shape)
    axes = {"slice": x, "phase encoding": phase, "slice encoding": partitions, "coil": parts // 2}
    check_axes(f"{path}: 'kspace'", axes)
    return x, phase, partitions, parts // 2


def _load(path: Path, position: int) -> Slice:
    with opened(path, _FORM) as file:
        values = np.ascontiguousarray(file["kspace"][position], dtype=np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {position} of 'kspace'")
    kspace = values.view(np.complex64).transpose(2, 0, 1)
    first = ceil(_MEASURED * kspace.shape[2])
    invented = kspace[:, :, first:].any()
    kspace = _centre_phase(kspace)
    kspace[:, :, first:] = 0
    measured = np.any(kspace != 0, axis=0)
    limits = np.broadcast_to(np.arange(kspace.shape[2]) < first, measured.shape)
    return Slice(
        kspace,
        fully_sampled(measured[:, :first]),
        measured,
        limits=limits,
        axes=_AXES,
        notes=(f"values beyond {_MEASURED:.0%} of the slice encodings were not measured: set to 0",)
        if invented
        else (),
    )


def _centre_phase(kspace: Complex) -> Complex:
    """Multiply k-space by a phase that moves the origin of the image from its first to its central pixel."""
    _, y, x = kspace.shape
    return (kspace * np.outer(_ramp(y), _ramp(x))).astype(np.complex64)


def _ramp(size: int) -> NDArray[np.complex128]:
    centre = size // 2
    ramp: NDArray[np.complex128] = np.exp(2j * np.pi * ((np.arange(size) - centre) * centre % size) / size)
    return ramp
