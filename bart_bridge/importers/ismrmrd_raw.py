"""ISMRMRD raw data: Cartesian lines, sorted into slices.

Inati et al. (2017), doi 10.1002/mrm.26089. Lines that were measured several times as averages are averaged.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.importers.encoding import parse_header, readout_pixels
from bart_bridge.importers.fourier import remove_oversampling
from bart_bridge.importers.sampling import fully_sampled
from bart_bridge.importers.source import Entry, Slice, Source, reading

_FORM = "ISMRMRD raw data"
_GROUP = "dataset"
_NO_IMAGE = (
    "ACQ_IS_NOISE_MEASUREMENT",
    "ACQ_IS_PARALLEL_CALIBRATION",
    "ACQ_IS_NAVIGATION_DATA",
    "ACQ_IS_PHASECORR_DATA",
    "ACQ_IS_HPFEEDBACK_DATA",
    "ACQ_IS_DUMMYSCAN_DATA",
    "ACQ_IS_RTFEEDBACK_DATA",
    "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA",
    "ACQ_IS_PHASE_STABILIZATION_REFERENCE",
    "ACQ_IS_PHASE_STABILIZATION",
)
_COUNTERS = ("contrast", "phase", "repetition", "set")


def open_ismrmrd(path: Path, average_repetitions: bool = False) -> Source:
    """Open a file whose group `dataset` has `xml` and `data`; units are slices, from 0.

    Args:
        path: The file.
        average_repetitions: Average lines of all repetitions; by default several repetitions are refused.

    Raises:
        InputError: The file cannot be read, or was measured in a way that is not supported.
    """
    import ismrmrd

    with reading(path, _FORM):
        # The heads alone: reading whole acquisitions would bring all of the data.
        with h5py.File(path, "r") as file:
            if _GROUP not in file or "data" not in file[_GROUP]:
                raise InputError(f"{path}: no '{_GROUP}/data' in it (found: {', '.join(list(file)[:8]) or 'nothing'})")
            heads = file[_GROUP]["data"].fields("head")[:]
        with ismrmrd.Dataset(path, _GROUP, mode="r") as data:
            encoding = parse_header(data.read_xml_header(), path)
        numbers = np.flatnonzero(~_flagged(heads["flags"], *_NO_IMAGE))
        lines = heads[numbers]
        _refuse(lines, path, average_repetitions)
        rows = _rows(encoding, lines, path)
        pixels = readout_pixels(encoding, encoding.encodedSpace.matrixSize.x, path)
        slices = [int(number) for number in np.unique(lines["idx"]["slice"])]
    units = {}
    for unit, number in enumerate(slices):
        here = lines["idx"]["slice"] == number
        load = partial(_load, path, encoding, pixels, numbers[here], rows[here])
        units[str(unit)] = {0: Entry(f"{path.name}/{number}", load)}
    description = {"lines": int(numbers.size), "lines_without_image": int(heads.size - numbers.size)}
    return Source("ismrmrd", path, units, has_coils=False, description=description)


def _flagged(flags: NDArray[np.uint64], *names: str) -> NDArray[np.bool_]:
    import ismrmrd

    # ISMRMRD counts flags from 1.
    bits = sum(1 << (getattr(ismrmrd, name) - 1) for name in names)
    return (flags & np.uint64(bits)) != 0


def _refuse(lines: NDArray[Any], path: Path, average_repetitions: bool) -> None:
    if not lines.size:
        raise InputError(f"{path}: no image lines in it")
    if np.any(_flagged(lines["flags"], "ACQ_IS_REVERSE")):
        raise InputError(f"{path}: lines that were read out backwards are not supported")
    for name in _COUNTERS:
        found = np.unique(lines["idx"][name]).size
        if found > 1 and not (name == "repetition" and average_repetitions):
            advice = "; --average-repetitions averages them" if name == "repetition" else ""
            raise InputError(f"{path}: one {name} is supported, it has {found}{advice}")
    for name, single in (("encoding_space_ref", "encoding"), ("active_channels", "number of coils")):
        if np.unique(lines[name]).size > 1:
            raise InputError(f"{path}: one {single} is supported, its lines have several")


def _rows(encoding: Any, lines: NDArray[Any], path: Path) -> NDArray[np.int64]:
    """Return where each line belongs along the phase encoding: the encoding's centre is the centre of k-space."""
    size = encoding.encodedSpace.matrixSize.y
    limits = encoding.encodingLimits.kspace_encoding_step_1 if encoding.encodingLimits else None
    centre = limits.center if limits is not None else size // 2
    rows = lines["idx"]["kspace_encode_step_1"].astype(np.int64) - centre + size // 2
    if rows.min() < 0 or rows.max() >= size:
        raise InputError(
            f"{path}: phase-encoding steps must be within the {size} of its header, found {rows.min()} to {rows.max()}"
        )
    return rows


def _load(path: Path, encoding: Any, pixels: int, numbers: NDArray[np.int64], rows: NDArray[np.int64]) -> Slice:
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
                times = np.zeros((size_y, size_x), np.int64)
            kspace[:, row, start : start + values.shape[1]] += values
            times[row, start : start + values.shape[1]] += 1
    kspace /= np.maximum(times, 1)
    if not np.isfinite(kspace).all():
        raise InputError(f"{path}: values must be finite, found NaN or infinity in lines {numbers[0]} to {numbers[-1]}")
    measured = np.greater(times, 0)
    if pixels != size_x:
        complete = np.asarray(measured.all(axis=1))
        if not np.array_equal(complete, measured.any(axis=1)):
            raise InputError(f"{path}: readouts that are incomplete and oversampled are not supported (partial echo)")
        measured = np.repeat(complete[:, None], pixels, axis=1)
    return Slice(remove_oversampling(kspace, pixels), fully_sampled(measured), measured)
