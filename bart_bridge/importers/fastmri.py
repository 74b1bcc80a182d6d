"""Multi-coil HDF5 files of fastMRI.

Knoll et al. (2020), doi 10.1148/ryai.2020190007. Rows of k-space are the readout, columns the phase encoding. The image
is cropped to the reconstructed field of view along the readout only. `mask` names the sampled lines; without a mask,
the lines with a signal count as sampled.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.data.fourier import remove_oversampling
from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers.encoding import parse_header, readout_pixels
from bart_bridge.importers.source import (
    APPLE_DOUBLE,
    Entry,
    Slice,
    Source,
    apple_doubles,
    as_complex,
    check_mask,
    fully_sampled,
    measured_in,
    reading,
)

_FORM = "a fastMRI multi-coil file"


def open_fastmri(path: Path) -> Source:
    """Open a file, or a folder of `.h5` files.

    Units are the slices of a file, or the files of a folder in alphabetical order, both counted from 0.

    Raises:
        InputError: A file cannot be read or is not a fastMRI multi-coil file.
    """
    files, left_out = [path], {}
    if path.is_dir():
        present = sorted(file for file in path.iterdir() if file.is_file())
        files = [file for file in present if file.suffix == ".h5" and not file.name.startswith(APPLE_DOUBLE)]
        left_out = apple_doubles(present)
        left_out["files that do not end in .h5"] = len(present) - len(files) - sum(left_out.values())
    if not files:
        raise InputError(f"{path}: a folder with .h5 files is needed, found none")
    volumes = {file.name: _entries(file) for file in files}
    description = {"readout": "oversampling removed: the field of view of the reconstruction", "files": list(volumes)}
    if path.is_dir():
        units = {str(number): entries for number, entries in enumerate(volumes.values())}
    else:
        units = {str(number): {0: entry} for number, entry in volumes[path.name].items()}
    return Source("fastmri", path, units, has_coils=False, description=description, left_out=left_out)


def _entries(path: Path) -> dict[int, Entry]:
    with reading(path, _FORM), h5py.File(path, "r") as file:
        for name in ("kspace", "ismrmrd_header"):
            if name not in file:
                raise InputError(f"{path}: no '{name}' in it (found: {', '.join(list(file)[:8]) or 'nothing'})")
        for name in ("kspace", "mask"):
            if name in file and not isinstance(file[name], h5py.Dataset):
                raise InputError(f"{path}: '{name}' must be an array, found a group")
        shape = tuple(file["kspace"].shape)
        if len(shape) != 4:
            raise InputError(f"{path}: 'kspace' must have dimensions slice, coil, readout and phase, found {shape}")
        encoding = parse_header(file["ismrmrd_header"][()], path)
        axes = dict(zip(("slice", "coil", "readout", "phase encoding"), shape, strict=True))
        check_axes(f"{path}: 'kspace'", axes, encoding.encodedSpace.matrixSize.x)
        pixels = readout_pixels(encoding, shape[2], path)
        if "mask" in file and file["mask"].shape != (shape[3],):
            raise InputError(f"{path}: 'mask' must have {shape[3]} values, found {file['mask'].shape}")
    return {item: Entry(f"{path.name}/{item}", partial(_load, path, item, pixels)) for item in range(shape[0])}


def _load(path: Path, item: int, pixels: int) -> Slice:
    with reading(path, _FORM), h5py.File(path, "r") as file:
        kspace = as_complex(file["kspace"][item], path, "kspace").transpose(0, 2, 1)
        mask = as_complex(file["mask"][()], path, "mask") if "mask" in file else None
    if not np.isfinite(kspace).all():
        raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {item} of 'kspace'")
    measured = pattern = measured_in(kspace, pixels, f"{path}: slice {item}")
    if mask is not None:
        if not np.isfinite(mask).all():
            raise InputError(f"{path}: values must be finite, found NaN or infinity in 'mask'")
        lines = mask != 0
        check_mask(lines, measured, f"{path}: 'mask'")
        pattern = np.repeat(lines[:, None], pixels, axis=1)
    return Slice(remove_oversampling(kspace, pixels), fully_sampled(measured), pattern)
