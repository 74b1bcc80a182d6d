"""One HDF5 file in the layout of fastMRI.

Rows of k-space are the readout, columns the phase encoding. The image is cropped to the reconstructed field of view
along the readout only. `mask` names the sampled lines; without a mask, the lines with a signal count as sampled.

Knee and brain (Knoll et al. 2020, doi 10.1148/ryai.2020190007): `kspace` (slice, coil, readout, phase encoding).
Prostate T2 (Tibrewala et al. 2024, doi 10.1038/s41597-024-03252-w): `kspace` (average, slice, coil, readout, phase
encoding), and `calibration_data` (slice, coil, readout, calibration line) for coil sensitivities. The averages sample
different lines.

Files of `bart-tf export` have further arrays, see `exported`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bart_bridge.data.fourier import remove_oversampling
from bart_bridge.errors import InputError
from bart_bridge.files.dims import MAX_SLICES, check_axes
from bart_bridge.importers import exported
from bart_bridge.importers.encoding import parse_header, readout_pixels, stored_header
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.partial_fourier import along_axis
from bart_bridge.importers.source import (
    Complex,
    Slice,
    as_complex,
    check_mask,
    fully_sampled,
    measured_in,
    names_in,
)

FORM = "a fastMRI multi-coil file"
_ARRAYS = ("kspace", "mask", "calibration_data")


@dataclass(frozen=True)
class FastmriFile:
    """What a file says about itself.

    Attributes:
        path: The file.
        shape: Shape of `kspace` without averages: `(slice, coil, readout, phase encoding)`.
        averages: Number of averages of prostate data; 0 if `kspace` has no such axis.
        pixels: Length of the readout without oversampling.
        exported: Whether it has the arrays of `bart-tf export`.
        attributes: Its attributes `acquisition` and `acceleration`, as far as it has them.
    """

    path: Path
    shape: tuple[int, int, int, int]
    averages: int
    pixels: int
    exported: bool
    attributes: dict[str, str]

    @property
    def facts(self) -> dict[str, str]:
        """What `--match` compares: `size` (readout x phase encoding), `coils`, and the attributes."""
        _, coils, readout, phase = self.shape
        return {"size": f"{readout}x{phase}", "coils": str(coils), **self.attributes}


def open_file(path: Path) -> FastmriFile:
    """Read what a file says about itself.

    Raises:
        InputError: The file cannot be read, or is not a multi-coil file with Cartesian lines.
    """
    with opened(path, FORM) as file:
        refuse_relatives(file, path)
        for name in ("kspace", "ismrmrd_header"):
            if name not in file:
                raise InputError(f"{path}: no '{name}' in it (found: {names_in(file)})")
        for name in _ARRAYS:
            if name in file and not isinstance(file[name], h5py.Dataset):
                raise InputError(f"{path}: '{name}' must be an array, found a group")
        stored = tuple(file["kspace"].shape)
        if len(stored) not in {4, 5}:
            raise InputError(f"{path}: 'kspace' must have dimensions slice, coil, readout and phase, found {stored}")
        if not all(stored):
            raise InputError(f"{path}: 'kspace' must not be empty, found {stored}")
        *averages, slices, coils, readout, phase = stored
        if averages and averages[0] > MAX_SLICES:
            raise InputError(f"{path}: 'kspace' can have {MAX_SLICES} averages at most, found {averages[0]}")
        encoding = parse_header(stored_header(file, "ismrmrd_header", path), path)
        axes = {"slice": slices, "coil": coils, "readout": readout, "phase encoding": phase}
        check_axes(f"{path}: 'kspace'", axes, encoding.encodedSpace.matrixSize.x)
        pixels = readout_pixels(encoding, readout, path)
        shape = (slices, coils, readout, phase)
        _check_shapes(file, shape, path)
        ours = exported.present(file, (slices, coils, phase, pixels), path)
        attributes = {name: _text(file.attrs[name]) for name in ("acquisition", "acceleration") if name in file.attrs}
    return FastmriFile(path, shape, averages[0] if averages else 0, pixels, ours, attributes)


def refuse_relatives(file: h5py.File, path: Path) -> None:
    """Refuse files of the same project that hold something else, by their names.

    Raises:
        InputError: The file is one of single-coil, diffusion or breast data.
    """
    kspace = file.get("kspace")
    if not isinstance(kspace, h5py.Dataset):
        return
    fault = ""
    if "phase_correction" in file or (kspace.ndim == 5 and "coil_sens_maps" in file):
        fault = "prostate diffusion data of fastMRI are echo-planar and need corrections that bart-tf does not make"
    elif kspace.ndim == 5 and kspace.dtype.kind == "f" and 2 in {kspace.shape[0], kspace.shape[-1]}:
        fault = "breast data of fastMRI are a golden-angle stack of stars; import them as fastmri-breast"
    elif kspace.ndim == 3 and "reconstruction_esc" in file:
        fault = "single-coil data of fastMRI are emulated and have no coils; import the multi-coil data"
    if fault:
        raise InputError(f"{path}: {fault}")


def load(file: FastmriFile, item: int, averages: Sequence[int]) -> Slice:
    """Read one slice.

    Args:
        file: From `open_file`.
        item: Number of the slice.
        averages: The averages whose mean it is, line by line; ignored for files without averages.
    """
    path = file.path
    with opened(path, FORM) as stored:
        kspace = _read_kspace(file, stored, item, averages)
        mask = np.squeeze(as_complex(stored["mask"][()], path, "mask")) if "mask" in stored else None
        calibration = _calibration(stored, item, kspace, path) if "calibration_data" in stored else None
    for name, values in {"kspace": kspace, "mask": mask, "calibration_data": calibration}.items():
        if values is not None and not np.isfinite(values).all():
            where = f"'{name}'" if name == "mask" else f"slice {item} of '{name}'"
            raise InputError(f"{path}: values must be finite, found NaN or infinity in {where}")
    measured = pattern = measured_in(kspace, file.pixels, f"{path}: slice {item}")
    if mask is not None:
        lines = np.atleast_1d(mask) != 0
        check_mask(lines, measured, f"{path}: 'mask'")
        signal = np.asarray(measured.any(axis=1))
        if along_axis(signal, "phase encoding"):  # partial Fourier: what is missing at one side was not measured
            lines &= signal
        pattern = np.repeat(lines[:, None], file.pixels, axis=1)
    return Slice(
        remove_oversampling(kspace, file.pixels),
        fully_sampled(measured),
        pattern,
        calibration=None if calibration is None else remove_oversampling(calibration, file.pixels),
    )


def _read_kspace(file: FastmriFile, stored: h5py.File, item: int, averages: Sequence[int]) -> Complex:
    """Return k-space `(coil, y, x)`; each line is the mean over the averages that measured it."""
    if not file.averages:
        return as_complex(stored["kspace"][item], file.path, "kspace").transpose(0, 2, 1)
    total, counts = None, None
    for average in averages:
        values = as_complex(stored["kspace"][average, item], file.path, "kspace").transpose(0, 2, 1)
        lines = np.any(values != 0, axis=(0, 2))
        total = values if total is None else total + values
        counts = lines.astype(np.float32) if counts is None else counts + lines
    assert total is not None
    assert counts is not None
    result: Complex = total / np.maximum(counts, 1)[:, None]
    return result


def _calibration(stored: h5py.File, item: int, kspace: Complex, path: Path) -> Complex:
    """Return the calibration lines of a slice in the centre of k-space `(coil, y, x)`, 0 elsewhere.

    Coil sensitivities depend on differences between positions in k-space only, so the centre is as good as any place.
    """
    values = as_complex(stored["calibration_data"][item], path, "calibration_data").transpose(0, 2, 1)
    calibration = np.zeros_like(kspace)
    start = kspace.shape[1] // 2 - values.shape[1] // 2
    calibration[:, start : start + values.shape[1]] = values
    return calibration


def _check_shapes(file: h5py.File, shape: tuple[int, int, int, int], path: Path) -> None:
    phase = shape[3]
    mask = file["mask"].shape if "mask" in file else (phase,)
    if [size for size in mask if size != 1] != [phase] and phase != 1:
        raise InputError(f"{path}: 'mask' must have {phase} values, found {mask}")
    if "calibration_data" in file:
        found = file["calibration_data"].shape
        if len(found) != 4 or found[:3] != shape[:3] or found[3] > phase:
            raise InputError(f"{path}: 'calibration_data' must have shape {shape[:3]} and lines, found {found}")


def _text(value: Any) -> str:
    """Return an attribute as a short text: a string, or a number such as 4 or 4.0."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, np.ndarray | np.generic) and np.ndim(value) == 0:
        value = value.item()
    text = f"{value:g}" if isinstance(value, int | float) else str(value)
    return " ".join(text.split())[:40]
