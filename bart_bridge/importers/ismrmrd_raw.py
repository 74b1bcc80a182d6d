"""ISMRMRD raw data: Cartesian lines, sorted into slices.

Inati et al. (2017), doi 10.1002/mrm.26089. Lines that were measured several times are averaged. Calibration-only lines
do not count as samples of the image; coil sensitivities are estimated from them together with the image lines.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.fourier import remove_oversampling
from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers.encoding import parse_header, readout_pixels
from bart_bridge.importers.source import Complex, Entry, Slice, Source, fully_sampled, measured_in, reading

_FORM = "ISMRMRD raw data"
_GROUP = "dataset"
# Without ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA, which converters leave on ordinary image lines.
_NO_IMAGE = (
    "ACQ_IS_NOISE_MEASUREMENT",
    "ACQ_IS_NAVIGATION_DATA",
    "ACQ_IS_PHASECORR_DATA",
    "ACQ_IS_HPFEEDBACK_DATA",
    "ACQ_IS_DUMMYSCAN_DATA",
    "ACQ_IS_RTFEEDBACK_DATA",
    "ACQ_IS_PHASE_STABILIZATION_REFERENCE",
    "ACQ_IS_PHASE_STABILIZATION",
)
_CALIBRATION = "ACQ_IS_PARALLEL_CALIBRATION"
# Image lines, whatever other flag they carry.
_CALIBRATION_AND_IMAGE = "ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING"
_COUNTERS = ("contrast", "phase", "repetition", "set")
Lines = tuple[NDArray[np.int64], NDArray[np.int64]]


def open_ismrmrd(path: Path, average_repetitions: bool = False) -> Source:
    """Open a file whose group `dataset` has `xml` and `data`; units are slices, counted from 0.

    Args:
        path: The file.
        average_repetitions: Average the lines of all repetitions, which are rejected otherwise (default false).

    Raises:
        InputError: The file cannot be read, or uses an unsupported kind of measurement.
    """
    import ismrmrd

    with reading(path, _FORM):
        # Read the heads only: whole acquisitions would read all samples, too.
        with h5py.File(path, "r") as file:
            if _GROUP not in file or "data" not in file[_GROUP]:
                raise InputError(f"{path}: no '{_GROUP}/data' in it (found: {', '.join(list(file)[:8]) or 'nothing'})")
            heads = file[_GROUP]["data"].fields("head")[:]
        with ismrmrd.Dataset(path, _GROUP, mode="r") as data:
            encoding = parse_header(data.read_xml_header(), path)
        size_x = encoding.encodedSpace.matrixSize.x
        pixels = readout_pixels(encoding, size_x, path)
        image, calibration, left_out = _sort(heads, size_x if pixels != size_x else 0)
        if not image.any():
            counts = ", ".join(f"{name}: {count}" for name, count in left_out.items() if count)
            raise InputError(f"{path}: no image lines in it ({counts or 'no lines at all'})")
        coils, samples = (int(heads[name][image].max()) for name in ("active_channels", "number_of_samples"))
        check_axes(f"{path}: lines", {"coil": coils, "readout": samples})
        _refuse(heads[image], path, average_repetitions, "lines")
        _refuse(heads[calibration], path, average_repetitions, "calibration lines")
        rows = np.zeros(heads.size, np.int64)
        rows[image | calibration] = _rows(encoding, heads[image | calibration], path)
    slices = {int(number): heads["idx"]["slice"] == number for number in np.unique(heads["idx"]["slice"][image])}
    units = {}
    for unit, (number, in_slice) in enumerate(slices.items()):
        lines = [
            (numbers, rows[numbers]) for numbers in map(np.flatnonzero, (in_slice & image, in_slice & calibration))
        ]
        load = partial(_load, path, encoding, pixels, *lines)
        units[str(unit)] = {0: Entry(f"{path.name}/{number}", load)}
    description = {"lines": int(image.sum()), "lines_without_image": int(heads.size - image.sum())}
    return Source("ismrmrd", path, units, has_coils=False, description=description, left_out=left_out)


def _sort(heads: NDArray[Any], oversampled: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_], dict[str, int]]:
    """Find image lines and calibration-only lines, and count what is left out.

    Args:
        heads: Heads of all lines.
        oversampled: Length of a readout whose oversampling will be removed, which requires complete readouts; 0 if the
            readout is not oversampled.
    """
    both = _flagged(heads["flags"], _CALIBRATION_AND_IMAGE)
    left_out: dict[str, int] = {}
    used = np.ones(heads.size, bool)
    for name in _NO_IMAGE:
        flagged = used & ~both & _flagged(heads["flags"], name)
        left_out[f"lines flagged {name}"] = int(flagged.sum())
        used &= ~flagged
    calibration = used & ~both & _flagged(heads["flags"], _CALIBRATION)
    image = used & ~calibration
    samples = heads["number_of_samples"].astype(np.int64) - heads["discard_pre"] - heads["discard_post"]
    incomplete = calibration & (samples < oversampled)
    left_out["calibration lines whose readout is incomplete and oversampled"] = int(incomplete.sum())
    without_image = calibration & ~np.isin(heads["idx"]["slice"], heads["idx"]["slice"][image])
    left_out["calibration lines of slices without image lines"] = int((without_image & ~incomplete).sum())
    calibration &= ~incomplete & ~without_image
    left_out["lines for calibration alone (no samples, but ecalib uses them)"] = int(calibration.sum())
    discarded = heads["discard_pre"][image].sum(dtype=np.int64) + heads["discard_post"][image].sum(dtype=np.int64)
    left_out["samples that their lines say to discard"] = int(discarded)
    return image, calibration, left_out


def _flagged(flags: NDArray[np.uint64], name: str) -> NDArray[np.bool_]:
    import ismrmrd

    # ISMRMRD counts flags from 1.
    return (flags & np.uint64(1 << (getattr(ismrmrd, name) - 1))) != 0


def _refuse(lines: NDArray[Any], path: Path, average_repetitions: bool, what: str) -> None:
    if np.any(_flagged(lines["flags"], "ACQ_IS_REVERSE")):
        raise InputError(f"{path}: {what} that were read out backwards are not supported")
    for name in _COUNTERS:
        count = np.unique(lines["idx"][name]).size
        if count > 1 and not (name == "repetition" and average_repetitions):
            advice = "; --average-repetitions averages them" if name == "repetition" else ""
            raise InputError(f"{path}: one {name} is supported, its {what} have {count}{advice}")
    for name, single in (("encoding_space_ref", "encoding"), ("active_channels", "number of coils")):
        if np.unique(lines[name]).size > 1:
            raise InputError(f"{path}: one {single} is supported, its {what} have several")


def _rows(encoding: Any, lines: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """Return the row of each line in k-space, whose centre is the centre of the encoding."""
    size = encoding.encodedSpace.matrixSize.y
    limits = encoding.encodingLimits.kspace_encoding_step_1 if encoding.encodingLimits else None
    centre = limits.center if limits is not None else size // 2
    rows = lines["idx"]["kspace_encode_step_1"].astype(np.int64) - centre + size // 2
    if rows.min() < 0 or rows.max() >= size:
        raise InputError(
            f"{path}: phase-encoding steps must be within the {size} of its header, found {rows.min()} to {rows.max()}"
        )
    return rows


def _load(path: Path, encoding: Any, pixels: int, image: Lines, calibration: Lines) -> Slice:
    """Read a slice from its image lines and its calibration-only lines, both given by numbers and rows."""
    kspace, sampled = _read(path, encoding, *image)
    # A line of zeros was not measured, although the file contains it.
    empty = sampled.any(axis=1) & ~np.any(kspace != 0, axis=(0, 2))
    left_out = {"lines without any signal": int(empty.sum())}
    measured = measured_in((sampled & ~empty[:, None])[None], pixels, str(path))
    estimated_from = None
    if calibration[0].size:
        values, sampled = _read(path, encoding, *calibration)
        if len(values) != len(kspace):
            raise InputError(
                f"{path}: calibration lines must have the {len(kspace)} coils of others, found {len(values)}"
            )
        # Calibration lines replace image lines, because they are consistent with each other.
        estimated_from = remove_oversampling(np.where(sampled, values, kspace), pixels)
    return Slice(
        remove_oversampling(kspace, pixels),
        fully_sampled(measured),
        measured,
        calibration=estimated_from,
        left_out=left_out,
    )


def _read(
    path: Path, encoding: Any, numbers: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[Complex, NDArray[np.bool_]]:
    """Read lines, average repeated ones, and return k-space `(coil, y, x)` and the mask of its samples `(y, x)`."""
    import ismrmrd

    size_x, size_y = encoding.encodedSpace.matrixSize.x, encoding.encodedSpace.matrixSize.y
    with reading(path, _FORM), ismrmrd.Dataset(path, _GROUP, mode="r") as data:
        for position, (number, row) in enumerate(zip(numbers, rows, strict=True)):
            line = data.read_acquisition(int(number))
            first, last = line.discard_pre, line.number_of_samples - line.discard_post
            start = size_x // 2 - line.center_sample + first
            values = line.data[:, first:last]
            if start < 0 or start + values.shape[1] > size_x or not values.size:
                raise InputError(f"{path}: line {number} does not fit into the readout of {size_x} of its header")
            if position == 0:
                kspace = np.zeros((len(values), size_y, size_x), np.complex64)
                counts = np.zeros((size_y, size_x), np.int64)
            kspace[:, row, start : start + values.shape[1]] += values
            counts[row, start : start + values.shape[1]] += 1
    kspace /= np.maximum(counts, 1)
    if not np.isfinite(kspace).all():
        raise InputError(f"{path}: values must be finite, found NaN or infinity in lines {numbers[0]} to {numbers[-1]}")
    return kspace, counts > 0
