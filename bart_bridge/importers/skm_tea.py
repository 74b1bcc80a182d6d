"""SKM-TEA, raw-data track: knees in hybrid space, whose readout is already transformed.

Desai et al. (2021), arXiv 2203.06823, and `DATASET.md` of its authors. `files_recon_calib-24/*.h5` hold

    kspace  (x, ky, kz, echo, coil)   fully sampled: lines that were skipped come from GE's ARC, edges are padded
    maps    (x, ky, kz, coil, map)    coil sensitivities (JSENSE)
    target  (x, ky, kz, echo, map)    the image by SENSE

Each position x along the readout is a slice in the plane of both phase encodings. ky becomes y of the dataset, kz
becomes x. `masks`, which the authors' code reads, are not documented and left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers import counters
from bart_bridge.importers.folder_files import files_in
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.source import Entry, Slice, Source, as_complex, names_in, number_units

_FORM = "a raw-data file of SKM-TEA"
_ARRAYS = ("kspace", "maps", "target")


def open_skm_tea(path: Path, contrast: str | None = None) -> Source:
    """Open a file, or a folder of `.h5` files.

    Units are the slices of a file, or the files of a folder in alphabetical order, both counted from 0.

    Args:
        path: The file or folder.
        contrast: The echo, 0 or 1; required, because files have two.

    Raises:
        InputError: A file cannot be read or has another form, or there is no such echo.
    """
    files, left_out = files_in(path, ".h5")
    volumes: dict[str, dict[int, Entry]] = {}
    echo = 0
    for file in files:
        count, echoes, masks = _check(file)
        (echo,) = counters.choose("contrast", contrast, range(echoes), file)
        entries = {item: Entry(f"{file.name}/{item}", partial(_load, file, item, echo)) for item in range(count)}
        volumes[file.name] = entries
        left_out["masks of the authors"] = left_out.get("masks of the authors", 0) + masks
    units = number_units(path, volumes)
    description = {"contrast": echo, "files": list(volumes), "source_arxiv": "2203.06823"}
    return Source("skm-tea", path, units, has_coils=True, description=description, left_out=left_out)


def _check(path: Path) -> tuple[int, int, int]:
    """Check the arrays of a file and return its number of slices, echoes and masks."""
    with opened(path, _FORM) as file:
        for name in _ARRAYS:
            if not isinstance(file.get(name), h5py.Dataset):
                raise InputError(f"{path}: no array '{name}' in it (found: {names_in(file)})")
        kspace, maps, target = (tuple(file[name].shape) for name in _ARRAYS)
        if len(kspace) != 5 or not all(kspace):
            raise InputError(f"{path}: 'kspace' must have dimensions x, ky, kz, echo and coil, found {kspace}")
        x, ky, kz, echoes, coils = kspace
        if len(maps) != 5 or maps[:4] != (x, ky, kz, coils) or not maps[4]:
            raise InputError(f"{path}: 'maps' must have shape {(x, ky, kz, coils)} and maps, found {maps}")
        if target != (x, ky, kz, echoes, maps[4]):
            raise InputError(f"{path}: 'target' must have shape {(x, ky, kz, echoes, maps[4])}, found {target}")
        check_axes(f"{path}: 'kspace'", {"slice": x, "ky": ky, "kz": kz, "coil": coils})
        masks = len(file["masks"]) if isinstance(file.get("masks"), h5py.Group) else 0
    return x, echoes, masks


def _load(path: Path, item: int, echo: int) -> Slice:
    with opened(path, _FORM) as file:
        arrays = {
            "kspace": as_complex(file["kspace"][item, :, :, echo], path, "kspace"),
            "maps": as_complex(file["maps"][item], path, "maps"),
            "target": as_complex(file["target"][item, :, :, echo], path, "target"),
        }
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {item} of '{name}'")
    kspace = arrays["kspace"].transpose(2, 0, 1)
    measured = np.any(kspace != 0, axis=0)
    # Corners and padded edges of k-space are 0 in data that their authors call fully sampled.
    return Slice(
        kspace,
        True,
        coils=arrays["maps"].transpose(3, 2, 0, 1),
        reference=arrays["target"].transpose(2, 0, 1),
        limits=None if measured.all() else measured,
        axes=("phase encoding", "slice encoding"),
    )
