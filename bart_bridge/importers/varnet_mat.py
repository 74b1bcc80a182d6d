"""The knee data of the variational network, in its MATLAB and BART formats.

Hammernik et al. (2018), doi 10.1002/mrm.26977; BART files: doi 10.5281/zenodo.6482961. Splits and preparation follow
Blumenthal et al. (2023), doi 10.1002/mrm.29485. References are computed from the fully sampled data, because the
published references are cropped one pixel off the centre.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.fourier import crop_readout, remove_oversampling
from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers import cfl_files, matlab
from bart_bridge.importers.source import (
    APPLE_DOUBLE,
    Complex,
    Entry,
    Slice,
    Source,
    apple_doubles,
    as_complex,
    check_mask,
    fully_sampled,
    measured_in,
)

_OVERSAMPLING = 2
# The validation subject is one of the test subjects, as in the paper.
_SPLIT = {"train": "1-15", "validation": "16", "test": "16-20"}
_SLICES = "10-29"
_PUBLISHED_SUBJECTS = {str(number) for number in range(1, 21)}
_PUBLISHED_SLICES = set(range(10, 30))
_PUBLISHED_LINES = 368


def open_varnet(path: Path) -> Source:
    """Open a folder such as `coronal_pd_fs`.

    It has one folder per subject and a folder `masks`, or BART files `ksp_<subject>.cfl` and `col_<subject>.cfl`.
    Slices are counted from 0: slice 10 is `rawdata11.mat`.

    Raises:
        InputError: It is not such a folder, or it has several masks for 4-fold acceleration.
    """
    if not path.is_dir():
        raise InputError(f"{path}: a folder with the subjects of the knee data is needed")
    left_out = apple_doubles([*path.iterdir(), *path.glob("*/*")])
    subjects = _matlab_subjects(path) or _bart_subjects(path)
    if not subjects:
        raise InputError(f"{path}: neither <subject>/rawdata<number>.mat nor ksp_<subject>.cfl was found in it")
    description = {
        "readout": f"oversampling removed: the centre 1/{_OVERSAMPLING} of the image",
        "source_doi": "10.1002/mrm.26977",
    }
    split, split_note, slices_note = _SPLIT, "", ""
    slices: str | None = _SLICES
    if not subjects.keys() >= _PUBLISHED_SUBJECTS:
        split = {"test": "all"}
        split_note = f"split: the published one needs subjects 1 to 20, found {', '.join(subjects)}: all go into test"
    if not all(entries.keys() >= _PUBLISHED_SLICES for entries in subjects.values()):
        slices = None
        slices_note = f"slices: not every subject has the published ones, {_SLICES}: all are taken"
    return Source("varnet-mat", path, subjects, True, split, slices, description, left_out, split_note, slices_note)


def published_lines() -> NDArray[np.bool_]:
    """Return which of 368 phase-encoding lines the regular 4-fold pattern of the published comparison samples."""
    line = np.arange(_PUBLISHED_LINES)
    return (line % 4 == 0) | ((line >= 170) & (line <= 197)) | published_edges()


def published_edges() -> NDArray[np.bool_]:
    """Return which of these lines are at the edges, where k-space may be zero-padded."""
    line = np.arange(_PUBLISHED_LINES)
    return (line <= 18) | (line >= 349)


def _numbered(paths: list[Path], pattern: str) -> dict[int, Path]:
    matches = [(re.fullmatch(pattern, path.name, re.ASCII), path) for path in paths]
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def _matlab_subjects(path: Path) -> dict[str, dict[int, Entry]]:
    lines = _mask_lines(path)
    subjects = {}
    for number, folder in _numbered([child for child in path.iterdir() if child.is_dir()], r"(\d{1,4})").items():
        files = _numbered(list(folder.iterdir()), r"rawdata(\d{1,4})\.mat")
        entries = {
            slice_number - 1: Entry(f"{number}/{file.name}", partial(_load_matlab, file, slice_number, lines))
            for slice_number, file in files.items()
        }
        if entries:
            subjects[str(number)] = entries
    return subjects


def _mask_lines(path: Path) -> NDArray[np.bool_] | None:
    """Read the sampled lines of the one mask for 4-fold acceleration, if there is one."""
    masks = [file for file in path.glob("masks/*[iI][pP]at4*.mat") if not file.name.startswith(APPLE_DOUBLE)]
    if len(masks) > 1:
        raise InputError(f"{path / 'masks'}: one 4-fold mask is needed, found {len(masks)}; leave the right one there")
    if not masks:
        return None
    mask = matlab.read(masks[0], ["mask"])["mask"]
    if mask.ndim != 2 or np.any(mask != mask[:1]):
        raise InputError(f"{masks[0]}: 'mask' must be constant along the readout (dimension 1)")
    return mask[0] != 0


def _load_matlab(file: Path, number: int, lines: NDArray[np.bool_] | None) -> Slice:
    variables = matlab.read(file, ["rawdata"], ["padlength_left", "padlength_right"])
    maps = file.with_name(f"espirit{number}.mat")
    coils = matlab.read(maps, ["sensitivities"])["sensitivities"]
    left, right = (int(np.real(variables.get(f"padlength_{side}", np.zeros(1))).flat[0]) for side in ("left", "right"))
    kspace = _coil_first(variables["rawdata"], file, "rawdata")
    line = np.arange(kspace.shape[1])
    padded = (line < left) | (line >= line.size - right)
    return _slice(kspace, _coil_first(coils, maps, "sensitivities"), lines, padded, file)


def _coil_first(array: NDArray[Any], file: Path, name: str) -> Complex:
    """Transpose MATLAB's `(x, y, coil)` to `(coil, y, x)`; a single coil may lack its dimension."""
    if array.ndim not in {2, 3}:
        raise InputError(f"{file}: '{name}' must have dimensions readout, phase encoding and coil, found {array.shape}")
    array = array.reshape(*array.shape[:2], -1)
    check_axes(f"{file}: '{name}'", dict(zip(("readout", "phase encoding", "coil"), array.shape, strict=True)))
    return as_complex(array, file, name).transpose(2, 1, 0)


def _bart_subjects(path: Path) -> dict[str, dict[int, Entry]]:
    subjects = {}
    for number, file in _numbered(list(path.iterdir()), r"ksp_(\d{1,4})\.cfl").items():
        count, _, y, _ = cfl_files.item_shape(file)
        published = y == _PUBLISHED_LINES
        subjects[str(number)] = {
            item: Entry(f"{file.name}/{item}", partial(_load_bart, file, number, item, published))
            for item in range(count)
        }
    return subjects


def _load_bart(file: Path, number: int, item: int, published: bool) -> Slice:
    maps = file.with_name(f"col_{number}.cfl")
    if cfl_files.item_shape(maps)[0] <= item:
        raise InputError(f"{maps}: there is no slice {item}, {file.name} has one")
    kspace, coils = cfl_files.read_item(file, item), cfl_files.read_item(maps, item)
    if published:
        # The published pattern applies to k-space that is complete except for zero-padded edges, which it samples.
        edges = published_edges()
        if np.all(kspace.any(axis=(0, 2)) | edges):
            return _slice(kspace, coils, published_lines(), edges, file)
    return _slice(kspace, coils, None, np.zeros(kspace.shape[1], bool), file)


def _slice(
    kspace: Complex, coils: Complex, lines: NDArray[np.bool_] | None, padded: NDArray[np.bool_], file: Path
) -> Slice:
    """Return a slice; padded edges are known to be 0, so they count as measured and sampled."""
    if kspace.shape[-1] % _OVERSAMPLING:
        raise InputError(f"{file}: a readout with oversampling must have an even length, found {kspace.shape[-1]}")
    if coils.shape != kspace.shape:
        raise InputError(f"{file}: the coil sensitivities must have its shape {kspace.shape}, found {coils.shape}")
    # The transform would spread NaN and infinity, with a warning.
    if not np.isfinite(kspace).all():
        raise InputError(f"{file}: values must be finite, found NaN or infinity in k-space")
    pixels = kspace.shape[-1] // _OVERSAMPLING
    measured = pattern = measured_in(kspace, pixels, str(file)) | padded[:, None]
    if lines is not None:
        if lines.size != kspace.shape[1]:
            raise InputError(f"{file}: the mask must have its {kspace.shape[1]} lines, found {lines.size}")
        check_mask(lines, measured, f"{file}: the mask")
        pattern = np.repeat((lines | padded)[:, None], pixels, axis=1)
    return Slice(remove_oversampling(kspace, pixels), fully_sampled(measured), pattern, crop_readout(coils, pixels))
