"""Cardiac k-space of CMRxRecon 2023, 2024 and 2025, in MATLAB files of version 7.3.

Wang et al. (2024), doi 10.1038/s41597-024-03525-4; layouts as in the owners' github.com/CmrxRecon/CMRxRecon and
CMRxRecon2024, and cmrxrecon.github.io/2025/Data.html. MATLAB's dimensions are readout, phase encoding, coil, slice and
time frame; HDF5 stores them in reverse. Single-coil data lack the coil, data of one frame lack the frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers import matching
from bart_bridge.importers.folder_files import files_in
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.selection import select
from bart_bridge.importers.source import Complex, Entry, Slice, Source, fully_sampled, names_in, number_units
from bart_bridge.wording import counted

_FORM = "a CMRxRecon file (MATLAB 7.3)"
# 2023: kspace_full, kspace_sub04, kspace_single_full, ...; 2024: kspace_full, kus; 2025: kspace, kus.
NAME = re.compile(r"kspace|kus|kspace_(single_)?(full|sub\d\d)")
_SINGLE = "kspace_single_"
_PARTS = ("real", "imag")
_MASK_FILE = "_mask"


@dataclass(frozen=True)
class CmrxreconFile:
    """What a file says about itself.

    Attributes:
        path: The file.
        array: Name of its k-space.
        shape: Shape of k-space, `(frame, slice, coil, y, x)`.
    """

    path: Path
    array: str
    shape: tuple[int, int, int, int, int]

    @property
    def facts(self) -> dict[str, str]:
        """What `--match` compares: `size` (readout x phase encoding), `coils`, and `name`, that of the file."""
        *_, coils, y, x = self.shape
        return {"size": f"{x}x{y}", "coils": str(coils), "name": self.path.stem}


def open_cmrxrecon(path: Path, frames: str = "0", match: str | None = None) -> Source:
    """Open a file, or all files below a folder that are no masks.

    Units are the slices of a file, or the files of a folder in alphabetical order, both counted from 0. Slices of a
    file are numbered frame by frame.

    Args:
        path: The file or folder.
        frames: Selection of time frames, each of which becomes a slice, such as `0` (default), `0-11/2` or `all`.
        match: Facts of the files to take from a folder, such as `name=cine_sax`, also of `size` and `coils`. All by
            default, which must have one size and number of coils.

    Raises:
        InputError: A file cannot be read or has another layout, the files differ, or there is no such frame.
    """
    files, left_out = open_files(path)
    taken = matching.select({label: file.facts for label, file in files.items()}, match, path)
    left_out["files that --match does not take"] = len(files) - len(taken)
    volumes = {}
    unused = 0
    for label in taken:
        file, (count, items, *_) = files[label].path, files[label].shape
        available = {str(frame): frame for frame in range(count)}
        chosen = [available[text] for text in select(frames, available, f"{file}: --frames")]
        unused += (count - len(chosen)) * items
        load = partial(_load, file, files[label].array)
        volumes[label] = {
            number: Entry(f"{label}/slice {item}, frame {frame}", partial(load, (frame, count), item))
            for number, (frame, item) in enumerate(product(chosen, range(items)))
        }
    left_out["slices of time frames that --frames does not take"] = unused
    units = number_units(path, volumes)
    description = {"frames": frames, "files": list(volumes), "source_doi": "10.1038/s41597-024-03525-4"}
    return Source("cmrxrecon", path, units, has_coils=False, description=description, left_out=left_out)


def open_files(path: Path) -> tuple[dict[str, CmrxreconFile], dict[str, int]]:
    """Open a file, or all files below a folder that are no masks, by their names there; count what is left out.

    Raises:
        InputError: There is no such file, or one cannot be read or has another layout.
    """
    files, left_out = files_in(path, ".mat", below=True)
    if path.is_dir():
        masks = [file for file in files if _MASK_FILE in file.stem]
        files = [file for file in files if file not in masks]
        left_out["mask files (*_mask*.mat); --pattern takes one"] = len(masks)
    if not files:
        raise InputError(f"{path}: a folder with k-space is needed, found only {counted(len(masks), 'mask')}")
    names = [file.name if file == path else str(file.relative_to(path)) for file in files]
    return {name: CmrxreconFile(file, *_shape(file)) for name, file in zip(names, files, strict=True)}, left_out


def _shape(path: Path) -> tuple[str, tuple[int, int, int, int, int]]:
    """Return the name of k-space in a file and its shape `(frame, slice, coil, y, x)`."""
    with opened(path, _FORM) as file:
        names = [name for name in file if NAME.fullmatch(name)]
        if len(names) != 1:
            raise InputError(
                f"{path}: one of kspace_full, kspace_sub.., kspace or kus is needed, found {names_in(file)}"
            )
        shape = tuple(map(int, _parts(file[names[0]], path, names[0])[0].shape))
    single = names[0].startswith(_SINGLE)
    spatial = 2 if single else 3
    if not spatial <= len(shape) <= spatial + 2:
        meanings = f"readout, phase encoding, {'' if single else 'coil, '}slice and time frame"
        raise InputError(f"{path}: '{names[0]}' must have dimensions {meanings}, found {shape[::-1]}")
    if len(shape) == spatial + 2 and min(shape[:2]) > max(shape[-2:]):
        order = f"time frame, slice, {'' if single else 'coil, '}phase encoding and readout"
        raise InputError(
            f"{path}: '{names[0]}' must have the dimensions {order} in HDF5, found {shape}; its axes would fit in "
            "reverse order"
        )
    # MATLAB drops dimensions of 1 at the end.
    frame, item = (1, 1, *shape[:-spatial])[-2:]
    coil, y, x = (1, *shape[-spatial:])[-3:]
    check_axes(f"{path}: '{names[0]}'", {"slice": frame * item, "readout": x, "phase encoding": y, "coil": coil})
    return names[0], (frame, item, coil, y, x)


def _parts(item: Any, path: Path, name: str) -> list[Any]:
    """Return the real and imaginary part of a compound or struct as indexable arrays, or a real array by itself."""
    if isinstance(item, h5py.Group):
        parts = [item.get(part) for part in _PARTS]
        if not all(isinstance(part, h5py.Dataset) and part.dtype.kind in "fiu" for part in parts):
            raise InputError(f"{path}: '{name}' must hold 'real' and 'imag', found {', '.join(list(item)[:8])}")
        if parts[0].shape != parts[1].shape:
            raise InputError(f"{path}: '{name}' must have parts of one shape, found {parts[0].shape}, {parts[1].shape}")
        return parts
    if item.dtype.names == _PARTS and all(item.dtype[part].kind in "fiu" for part in _PARTS):
        return [item]
    raise InputError(f"{path}: '{name}' must be complex (fields 'real' and 'imag'), found type {item.dtype}")


def _load(path: Path, name: str, frames: tuple[int, int], item: int) -> Slice:
    frame, _ = frames
    with opened(path, _FORM) as file:
        parts = _parts(file[name], path, name)
        single = name.startswith(_SINGLE)
        outer = len(parts[0].shape) - (2 if single else 3)
        values = [np.asarray(part[(frame, item)[2 - outer :]]) for part in parts]
    kspace = _complex(values)
    if single:
        kspace = kspace[None]
    if not np.isfinite(kspace).all():
        raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {item} of frame {frame}")
    measured = np.any(kspace != 0, axis=0)
    return Slice(kspace, fully_sampled(measured), measured, frame=frames)


def _complex(parts: list[NDArray[Any]]) -> Complex:
    real, imaginary = parts if len(parts) == 2 else (parts[0][part] for part in _PARTS)
    kspace = np.empty(real.shape, np.complex64)
    kspace.real, kspace.imag = real, imaginary
    return kspace
