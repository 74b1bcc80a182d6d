"""ISMRMRD raw data. Inati et al. (2017), doi 10.1002/mrm.26089."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.importers import exported
from bart_bridge.importers.encoding import Header, read_header, readout_pixels, stored_header
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.hdf5_heaps import read_fixed
from bart_bridge.importers.ismrmrd_groups import choose_group
from bart_bridge.importers.raw_cartesian import Grid, Units, cartesian_units
from bart_bridge.importers.raw_lines import CHOSEN, LINE, RawLines
from bart_bridge.importers.raw_trajectories import OWN_UNIT, Field, noncartesian_units
from bart_bridge.importers.source import Complex, Source, reading

_FORM = "ISMRMRD raw data"
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
_BATCH_BYTES = 32 * 2**20


def open_ismrmrd(
    path: Path,
    group: str | None = None,
    repetition: str | None = None,
    average: str | None = None,
    contrast: str | None = None,
    set_: str | None = None,
    phase: str | None = None,
) -> Source:
    """Open a file of raw data; units are slices, or positions along the readout of a volume, counted from 0.

    Args:
        path: The file.
        group: Name of the group with `xml` and `data` (default: the only one).
        repetition: Which repetition, or `average`; required if there are several.
        average: Which average (default: the mean of all).
        contrast: Which contrast; required if there are several.
        set_: Which set; required if there are several.
        phase: Which phase of the heart; required if there are several.

    Raises:
        InputError: The file cannot be read, uses an unsupported kind of measurement, or needs a choice.
    """
    with reading(path, _FORM):
        with opened(path, _FORM) as file:
            group = choose_group(file, group, path)
            heads = read_fixed(file[group]["data"], "head")
            text = stored_header(file[group], "xml", path)
        header = read_header(text, path)
        lines = _lines(path, group, heads, header)
        choices = dict(zip(CHOSEN, (repetition, average, contrast, set_, phase), strict=True))
        lines, encoding = _one_encoding(lines.chosen(choices), heads, header)
        if encoding.trajectory.value in ("cartesian", "epi"):
            coordinates = lines.heads["image"] & (heads["trajectory_dimensions"] > 0)
            lines.left_out["coordinates of Cartesian lines"] = int(coordinates.sum())
            grid = _grid(lines, encoding)
            units, lines, grid = cartesian_units(_in_grid(lines, encoding, grid), grid)
            notes, shape = grid.notes, (grid.rows, grid.pixels)
            units, ours = (units, False) if grid.partitions > 1 else _completed(units, lines, path, shape)
        else:
            field = _field(encoding, path)
            positions = partial(_positions, path, group, lines.heads, heads["trajectory_dimensions"])
            unit = OWN_UNIT if exported.is_in(path) else ""
            units, notes, weights = noncartesian_units(lines, positions, field, unit)
            lines.left_out.update(weights)
            units, ours = _completed(units, lines, path, field.shape, along_trajectory=True)
    image = int(lines.heads["image"].sum())
    description = {"lines": image, "lines_without_image": int(heads.size - image)}
    return Source(
        "ismrmrd", path, units, has_coils=ours, description=description, left_out=lines.counted(), notes=notes
    )


def _completed(
    units: Units, lines: RawLines, path: Path, pixels: tuple[int, int], along_trajectory: bool = False
) -> tuple[Units, bool]:
    """Add the arrays of a file of `bart-tf export` to its slices, and tell whether it is one."""
    heads = lines.image()
    shape = (len(units), int(heads["coils"][0]), *pixels)
    samples = int(heads["last"][0] - heads["first"][0])
    sampled = (heads.size // len(units), samples) if along_trajectory else None
    with opened(path, _FORM) as file:
        ours = exported.present(file, shape, path, sampled)
    if ours:
        units = {unit: {0: exported.completed(entries[0], int(unit), path)} for unit, entries in units.items()}
    return units, ours


def _lines(path: Path, group: str, heads: NDArray[Any], header: Header) -> RawLines:
    """Find image lines and calibration-only lines, and count what is left out."""
    lines = np.zeros(heads.size, LINE)
    index = heads["idx"]
    lines["row"], lines["partition"] = index["kspace_encode_step_1"], index["kspace_encode_step_2"]
    for name in ("slice", "segment", *CHOSEN):
        lines[name] = index[name]
    lines["coils"], lines["samples"] = heads["active_channels"], heads["number_of_samples"]
    lines["first"], lines["last"] = heads["discard_pre"], lines["samples"] - heads["discard_post"]
    lines["centre"] = heads["center_sample"]
    lines["reversed"] = _flagged(heads["flags"], "ACQ_IS_REVERSE")
    both = _flagged(heads["flags"], _CALIBRATION_AND_IMAGE)
    left_out = dict(header.left_out)
    used = np.ones(heads.size, bool)
    for name in _NO_IMAGE:
        flagged = used & ~both & _flagged(heads["flags"], name)
        left_out[f"lines flagged {name}"] = int(flagged.sum())
        used &= ~flagged
    lines["calibration"] = used & ~both & _flagged(heads["flags"], _CALIBRATION)
    lines["image"] = used & ~lines["calibration"]

    def read(numbers: NDArray[np.int64]) -> Iterator[Complex]:
        for head, values in _stored(path, group, "data", lines, numbers):
            with reading(path, _FORM):
                samples = values.view(np.complex64).reshape(head["coils"], head["samples"])
            yield samples

    return RawLines(path, lines, read, left_out)


def _stored(
    path: Path, group: str, name: str, lines: NDArray[np.void], numbers: NDArray[np.int64]
) -> Iterator[tuple[np.void, NDArray[np.float32]]]:
    """Yield the head and the stored numbers, `data` or `traj`, of lines."""
    with opened(path, _FORM) as file:
        for batch in _batches(numbers, lines):
            for head, row in zip(lines[batch], file[group]["data"][batch], strict=True):
                if row[name].dtype.kind != "f":
                    raise ValueError(f"numbers must be floating-point numbers, found {row[name].dtype}")
                yield head, np.ascontiguousarray(row[name], np.float32)


def _flagged(flags: NDArray[np.uint64], name: str) -> NDArray[np.bool_]:
    import ismrmrd

    # ISMRMRD counts flags from 1.
    return (flags & np.uint64(1 << (getattr(ismrmrd, name) - 1))) != 0


def _batches(numbers: NDArray[np.int64], lines: NDArray[np.void]) -> Iterator[slice]:
    """Yield runs of neighbouring lines, each of a bounded size: HDF5 reads them at once."""
    largest = 8 * int(lines["coils"].max()) * int(lines["samples"].max())
    length = max(1, _BATCH_BYTES // max(1, largest))
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
        for start in range(int(run[0]), int(run[-1]) + 1, length):
            yield slice(start, min(start + length, int(run[-1]) + 1))


def _one_encoding(lines: RawLines, heads: NDArray[Any], header: Header) -> tuple[RawLines, Any]:
    """Return the encoding of the image lines, and leave out calibration lines of another grid."""
    references = heads["encoding_space_ref"]
    used = np.unique(references[lines.heads["image"]])
    if used.size > 1 or used[0] >= len(header.encodings):
        raise InputError(
            f"{lines.path}: image lines of one encoding are supported, they use encodings "
            f"{', '.join(map(str, used))} of the {len(header.encodings)} of its header"
        )
    encoding = header.encodings[used[0]]
    alike = [number for number, other in enumerate(header.encodings) if other.encodedSpace == encoding.encodedSpace]
    return lines.without_calibration(~np.isin(references, alike), "calibration lines of another encoding"), encoding


def _in_grid(lines: RawLines, encoding: Any, grid: Grid) -> RawLines:
    """Move rows and partitions so that the centre of the encoding is the centre of the grid."""
    heads = lines.heads.copy()
    limits = encoding.encodingLimits
    for name, step, size in (
        ("row", "kspace_encoding_step_1", grid.rows),
        ("partition", "kspace_encoding_step_2", grid.partitions),
    ):
        limit = getattr(limits, step) if limits else None
        if name == "partition" and size == 1 and np.unique(heads[name][heads["image"]]).size == 1:
            heads[name] = 0
        else:
            heads[name] += size // 2 - (limit.center if limit else size // 2)
    return RawLines(lines.path, heads, lines.read, lines.left_out)


def _grid(lines: RawLines, encoding: Any) -> Grid:
    """Return the grid of the encoding; lines say whether the readout is oversampled, where the header does not."""
    encoded, reconstructed = encoding.encodedSpace, encoding.reconSpace
    size, path = encoded.matrixSize.x, lines.path
    if ramps := _ramp_samples(encoding):
        raise InputError(f"{path}: EPI that samples on the ramps of its gradients is not supported ({ramps})")
    pixels = readout_pixels(encoding, size, path)
    image = lines.image()
    measured, centre = int(image["samples"].max()), int(image["centre"].max())
    notes: tuple[str, ...] = ()
    whole = np.all(image["samples"] == measured) and centre == measured // 2
    if whole and measured == 2 * size:
        note = f"its header has a readout of {size}, its lines have {measured}: taken as two-fold oversampling"
        size, notes = measured, (note,)
    elif whole and 2 * measured == size and pixels == measured == reconstructed.matrixSize.x:
        note = f"its header has a readout of {size}, its lines have {measured}: oversampling was removed before"
        size, notes = measured, (note,)
    return Grid(size, pixels, encoded.matrixSize.y, encoded.matrixSize.z, notes)


def _ramp_samples(encoding: Any) -> str:
    """Say how much earlier than its flat top a readout of EPI starts; empty if it does not, or the header is silent."""
    described = encoding.trajectoryDescription
    values = {item.name: item.value for item in described.userParameterLong} if described else {}
    ramp, delay = values.get("rampUpTime"), values.get("acqDelayTime")
    if ramp is None or delay is None or delay >= ramp:
        return ""
    return f"it starts {delay} us into a ramp of {ramp} us"


def _field(encoding: Any, path: Path) -> Field:
    """Return the image of a non-Cartesian encoding."""
    encoded, reconstructed = encoding.encodedSpace, encoding.reconSpace
    if encoded.matrixSize.z != 1:
        raise InputError(
            f"{path}: three-dimensional non-Cartesian data are not supported, its header has "
            f"{encoded.matrixSize.z} partitions"
        )
    axes = [(encoded.fieldOfView_mm.x, encoded.matrixSize.x, reconstructed.fieldOfView_mm.x)]
    axes.append((encoded.fieldOfView_mm.y, encoded.matrixSize.y, reconstructed.fieldOfView_mm.y))
    for view, size, reconstructed_view in axes:
        if not (0 < size < 4096 and 0 < reconstructed_view <= 1.001 * view < np.inf):
            raise InputError(
                f"{path}: the reconstructed field of view must be within the encoded one, and that within 4096 pixels, "
                f"found {reconstructed_view:g} mm of {view:g} mm with {size} pixels"
            )
    (x_view, x_size, x_image), (y_view, y_size, y_image) = axes
    pixels = x_size * min(x_image / x_view, 1), y_size * min(y_image / y_view, 1)
    return Field(pixels, (x_image, y_image), (x_view, y_view))


def _positions(
    path: Path,
    group: str,
    lines: NDArray[np.void],
    dimensions: NDArray[np.integer[Any]],
    numbers: NDArray[np.int64],
) -> Iterator[NDArray[np.float32]]:
    """Read the positions of lines, `(sample, dimension)` each."""
    stored = _stored(path, group, "traj", lines, numbers)
    for (head, values), count in zip(stored, dimensions[numbers], strict=True):
        with reading(path, _FORM):
            positions = values.reshape(head["samples"], count)
        yield positions
