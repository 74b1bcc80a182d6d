"""Siemens raw data (`twix`, `.dat`), whose layout the package `twixtools` knows.

Ehses et al., twixtools, https://github.com/pehses/twixtools. Lines are read as they are: there is no correction of the
phase of EPI, and no regridding.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError, MissingExtraError
from bart_bridge.importers.raw_cartesian import Grid, cartesian_units
from bart_bridge.importers.raw_lines import CHOSEN, LINE, RawLines
from bart_bridge.importers.source import Complex, Source, reading
from bart_bridge.wording import counted

_FORM = "Siemens raw data"
_END = "ACQEND"
_NO_IMAGE = (
    "SYNCDATA",
    "NOISEADJSCAN",
    "PHASCOR",
    "RTFEEDBACK",
    "HPFEEDBACK",
    "REFPHASESTABSCAN",
    "PHASESTABSCAN",
    "RETRO_DUMMYSCAN",
    "SLICE_ACCEL_REFSCAN",
    "SLICE_ACCEL_PHASCOR",
)
_COUNTERS = {"row": "Lin", "partition": "Par", "slice": "Sli", "segment": "Seg", "average": "Ave", "contrast": "Eco"}
_COUNTERS |= {"phase": "Phs", "repetition": "Rep", "set": "Set"}
_CARTESIAN, _VOLUME = 1, 4


@dataclass(frozen=True)
class _Measurement:
    """The measurement of a file that holds the images, which is the last one.

    Attributes:
        protocol: Values of the protocol by name, in the parts `Meas`, `MeasYaps`, `Dicom`.
        start: Position of the first line in bytes.
        end: Position after the last one.
        has_line_header: Whether lines have a header of their own, besides those of channels (software VD and later).
        notes: What the user should know.
    """

    protocol: dict[str, Any]
    start: int
    end: int
    has_line_header: bool
    notes: tuple[str, ...]


def open_twix(
    path: Path,
    repetition: str | None = None,
    average: str | None = None,
    contrast: str | None = None,
    set_: str | None = None,
    phase: str | None = None,
) -> Source:
    """Open a file; units are slices, or positions along the readout of a volume, counted from 0.

    Args:
        path: The file, of software VB, VD, VE or XA.
        repetition: Which repetition, or `average`; required if there are several.
        average: Which average (default: the mean of all).
        contrast: Which contrast; required if there are several.
        set_: Which set; required if there are several.
        phase: Which phase of the heart; required if there are several.

    Raises:
        InputError: The file cannot be read, uses an unsupported kind of measurement, or needs a choice.
        MissingExtraError: twixtools is not installed.
    """
    if not find_spec("twixtools"):
        raise MissingExtraError("twixtools", "twix")
    with reading(path, _FORM):
        measurement = _last_measurement(path)
        heads, positions, ended = _heads(path, measurement)
        lines = _lines(path, measurement, heads, positions)
        lines = lines.chosen(dict(zip(CHOSEN, (repetition, average, contrast, set_, phase), strict=True)))
        grid = _grid(path, measurement, "" if ended else "the file has no end mark: its measurement was interrupted")
        units, lines, grid = cartesian_units(_in_grid(lines, heads, grid), grid)
    image = int(lines.heads["image"].sum())
    description = {"lines": image, "lines_without_image": int(heads.size - image)}
    return Source(
        "twix", path, units, has_coils=False, description=description, left_out=lines.counted(), notes=grid.notes
    )


def generation(start: bytes) -> tuple[str, int] | None:
    """Tell the two generations of files apart by their first 8 bytes.

    VD and VE begin with 0 and the number of measurements, VB with the length of its header, as the readers twixtools
    0.24 and pymapvbvd 0.7.0 tell them apart.

    Returns:
        The generation and the number of measurements; None if the bytes are not those of Siemens raw data.
    """
    if len(start) < 8:
        return None
    first, second = struct.unpack("<II", start[:8])
    if first < 10000 and 0 < second <= 64:
        return "VD or VE", second
    if 32 <= first < 1 << 24 and 0 < second < 64:
        return "VB", 1
    return None


def _last_measurement(path: Path) -> _Measurement:
    from twixtools import hdr_def, helpers, twixprot

    with path.open("rb") as file:
        first_bytes = file.read(8)
    if generation(first_bytes) is None:
        begins = f"it begins with {first_bytes!r}" if first_bytes else "it is empty"
        raise InputError(f"{path}: {_FORM} are needed, {begins}")
    size = path.stat().st_size
    # `read_twix` leaves the file open if it is damaged. The library prints its warnings.
    with path.open("rb") as file, contextlib.redirect_stdout(io.StringIO()):
        has_line_header, count = helpers.idea_version_check(file)
        start, length = 0, size
        if has_line_header:
            entry = np.fromfile(file, hdr_def.MultiRaidFileHeader, 1)[0]["entry"][int(count) - 1]
            start = int(entry["off_"])
            length = int(entry["len_"]) or size - start
        file.seek(start)
        header_length = int(np.fromfile(file, hdr_def.SingleMeasInit, 1)[0]["hdr_len"])
        file.seek(start)
        protocol = twixprot.parse_twix_hdr(file)
    end = start + length
    if end > size:
        raise InputError(f"{path}: it ends {end - size} bytes before the end of its measurement")
    notes = (f"it has {count} measurements, of which the last is imported",) if count > 1 else ()
    return _Measurement(protocol, start + header_length, end, bool(has_line_header), notes)


def _heads(path: Path, measurement: _Measurement) -> tuple[NDArray[np.void], NDArray[np.int64], bool]:
    """Return head and position of each line, and whether the measurement has an end mark."""
    from twixtools import mdb, mdh_def

    line = mdb.Mdb_base(measurement.has_line_header)
    size = np.dtype(type(line.mdh)).itemsize
    heads = bytearray()
    positions: list[int] = []
    position, ended = measurement.start, False
    with path.open("rb") as file:
        while position + size <= measurement.end:
            file.seek(position)
            file.readinto(line.mdh)
            if ended := mdh_def.is_flag_set(line.mdh, _END):
                break
            length = int(line.dma_len)
            if length < size or position + length > measurement.end:
                raise InputError(
                    f"{path}: line {len(positions)} is damaged or cut off, it has {counted(length, 'byte')}"
                )
            heads += bytes(line.mdh)
            positions.append(position)
            position += length
    dtype = np.dtype(type(line.mdh))
    return np.frombuffer(bytes(heads), dtype), np.array(positions, np.int64), ended


def _lines(path: Path, measurement: _Measurement, heads: NDArray[np.void], positions: NDArray[np.int64]) -> RawLines:
    """Find image lines and calibration-only lines, and count what is left out."""
    from twixtools import mdb

    lines = np.zeros(heads.size, LINE)
    for name, counter in _COUNTERS.items():
        lines[name] = heads["Counter"][counter]
    lines["coils"], lines["samples"] = heads["UsedChannels"], heads["SamplesInScan"]
    lines["first"], lines["last"] = heads["CutOff"]["Pre"], lines["samples"] - heads["CutOff"]["Post"]
    lines["centre"], lines["reversed"] = heads["CenterCol"], _flagged(heads, "REFLECT")
    used, left_out = np.ones(heads.size, bool), {}
    for name in _NO_IMAGE:
        flagged = used & _flagged(heads, name)
        left_out[f"lines flagged {name}"] = int(flagged.sum())
        used &= ~flagged
    lines["calibration"] = used & _flagged(heads, "PATREFSCAN") & ~_flagged(heads, "PATREFANDIMASCAN")
    lines["image"] = used & ~lines["calibration"]
    if left_out["lines flagged SLICE_ACCEL_REFSCAN"]:
        raise InputError(f"{path}: simultaneous slices (multi-band) are not supported")

    def read(numbers: NDArray[np.int64]) -> Iterator[Complex]:
        with reading(path, _FORM), path.open("rb") as file:
            for number in numbers:
                file.seek(int(positions[number]))
                values = mdb.Mdb(file, measurement.has_line_header).data
                if values.shape != (lines["coils"][number], lines["samples"][number]):
                    raise ValueError(f"line {number} has {counted(values.shape[0], 'coil')}")
                yield np.asarray(values, np.complex64)

    return RawLines(path, lines, read, left_out)


def _flagged(heads: NDArray[np.void], name: str) -> NDArray[np.bool_]:
    from twixtools.mdh_def import mask_dict

    return (heads["EvalInfoMask"] & np.uint64(1 << mask_dict[name])) != 0


def _grid(path: Path, measurement: _Measurement, note: str) -> Grid:
    """Return the grid of k-space: the lengths of the vendor's transforms, without interpolation."""
    measured, yaps = measurement.protocol["Meas"], measurement.protocol["MeasYaps"]
    kspace = yaps["sKSpace"]
    if int(kspace.get("ucTrajectory", _CARTESIAN)) != _CARTESIAN:
        raise InputError(f"{path}: only Cartesian measurements are supported, the file has no other positions")
    if int(np.ravel(measured.get("alRegridMode") or 1)[0]) > 1:
        raise InputError(f"{path}: EPI that samples on the ramps of its gradients is not supported")
    interpolated = 2 if int(kspace.get("uc2DInterpolation", 0)) == 1 else 1
    columns, rows = (int(measured[name]) // interpolated for name in ("iRoFTLength", "iPEFTLength"))
    partitions = int(measured["i3DFTLength"]) if int(kspace["ucDimension"]) == _VOLUME else 1
    factor = float(measured.get("flReadoutOSFactor") or measurement.protocol["Dicom"]["flReadoutOSFactor"])
    if min(columns, rows, partitions) < 1 or not 1 <= factor <= columns:
        raise InputError(
            f"{path}: sizes must be positive, found {columns} x {rows} x {partitions}, oversampled by {factor:g}"
        )
    notes = (*measurement.notes, *([note] if note else []))
    return Grid(columns, round(columns / factor), rows, partitions, notes)


def _in_grid(lines: RawLines, heads: NDArray[np.void], grid: Grid) -> RawLines:
    """Move rows and partitions so that the centre of each line's k-space is the centre of the grid."""
    moved = lines.heads.copy()
    moved["row"] += grid.rows // 2 - heads["CenterLin"].astype(np.int64)
    if grid.partitions > 1:
        moved["partition"] += grid.partitions // 2 - heads["CenterPar"].astype(np.int64)
    else:
        moved["partition"] = 0
    return RawLines(lines.path, moved, lines.read, lines.left_out)
