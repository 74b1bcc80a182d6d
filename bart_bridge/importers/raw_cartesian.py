"""Cartesian raw data: lines are sorted into slices, or into volumes whose readout becomes slices.

Lines that were measured several times are averaged. Calibration-only lines do not count as samples of the image; coil
sensitivities are estimated from them together with the image lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.fourier import remove_oversampling
from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes, check_limits
from bart_bridge.importers.raw_lines import RawLines, extents
from bart_bridge.importers.source import Complex, Entry, Slice, fully_sampled, measured_in
from bart_bridge.importers.volume import Piece, Volume

Units = dict[str, dict[int, Entry]]
# Slices of a volume that are read at once; if there is calibration, twice as much is in memory.
_BLOCK_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Grid:
    """The Cartesian grid of k-space, whose centre is at index `floor(n/2)` of each axis.

    Attributes:
        samples: Length of the readout, with oversampling.
        pixels: Length of the readout without oversampling.
        rows: Number of phase-encoding steps.
        partitions: Number of steps of the second phase encoding; 1 for two-dimensional data.
        notes: What the user should know, one line each.
    """

    samples: int
    pixels: int
    rows: int
    partitions: int
    notes: tuple[str, ...] = ()


def cartesian_units(lines: RawLines, grid: Grid) -> tuple[Units, RawLines, Grid]:
    """Sort lines into slices.

    Returns:
        The units of a `Source`: the slices of two-dimensional data, or the positions along the readout of a volume; if
        there are several volumes, they are the units. Then the lines that are used, and the grid, whose readout keeps
        its oversampling if echoes are asymmetric.

    Raises:
        InputError: Lines do not fit the grid.
    """
    lines = _checked(lines, grid)
    image_heads = lines.image()
    start, stop = extents(image_heads, grid.samples)
    volumes = grid.partitions > 1
    if not volumes and grid.pixels != grid.samples and not _equal_edges(start, stop, grid.samples):
        note = "readouts are incomplete, so that they keep their oversampling"
        grid = replace(grid, pixels=grid.samples, notes=(*grid.notes, note))
    if image_heads["reversed"].any():
        note = (
            f"{int(image_heads['reversed'].sum())} of {image_heads.size} readouts were reversed and are turned; there "
            "is no correction of their phase, so EPI may have ghosts"
        )
        grid = replace(grid, notes=(*grid.notes, note))
    if volumes or grid.pixels != grid.samples:
        first, last = extents(lines.heads, grid.samples)
        incomplete = (first > start.max(initial=0)) | (last < stop.min(initial=grid.samples))
        lines = lines.without_calibration(incomplete, "calibration lines whose readout is incomplete and oversampled")
    units: Units = {}
    numbers = np.unique(image_heads["slice"])
    for unit, number in enumerate(numbers.tolist()):
        image, calibration = (
            np.flatnonzero((lines.heads["slice"] == number) & lines.heads[use]) for use in ("image", "calibration")
        )
        if not volumes:
            load = partial(_load, lines, grid, image, calibration)
            units[str(unit)] = {0: Entry(f"{lines.path.name}/{number}", load)}
            continue
        positions = _positions(lines, grid, number, image, calibration)
        units |= (
            {str(unit): positions} if len(numbers) > 1 else {str(item): {0: entry} for item, entry in positions.items()}
        )
    return units, lines, grid


def _checked(lines: RawLines, grid: Grid) -> RawLines:
    """Check that lines are within the grid, and leave out calibration lines that serve no slice."""
    lines.require_image()
    heads = lines.heads
    image = heads["image"]
    coils = int(heads["coils"][image].max())
    check_axes(f"{lines.path}: lines", {"coil": coils, "readout": int(heads["samples"][image].max())})
    plane = grid.partitions if grid.partitions > 1 else grid.samples
    check_limits(f"{lines.path}: the k-space of its header", 1, (coils, grid.rows, plane))
    lines = lines.without_calibration(
        ~np.isin(heads["slice"], heads["slice"][image]), "calibration lines of slices without image lines"
    )
    used = lines.heads[lines.heads["image"] | lines.heads["calibration"]]
    for name, size, what in (
        ("row", grid.rows, "phase-encoding steps"),
        ("partition", grid.partitions, "partition-encoding steps"),
    ):
        if used[name].min() < 0 or used[name].max() >= size:
            raise InputError(
                f"{lines.path}: {what} must be within the {size} of its header, found {used[name].min()} to "
                f"{used[name].max()}"
            )
    return lines


def _equal_edges(start: NDArray[np.int64], stop: NDArray[np.int64], size: int) -> bool:
    """Tell whether all lines have the same extent, which may leave edges of equal width."""
    same = np.unique(start).size == 1 and np.unique(stop).size == 1
    return same and abs((size // 2 - int(start[0])) - (int(stop[0]) - 1 - size // 2)) <= 1


def _load(lines: RawLines, grid: Grid, image: NDArray[np.int64], calibration: NDArray[np.int64]) -> Slice:
    """Read a slice from its image lines and its calibration-only lines, both given by their numbers."""
    kspace, sampled = _read(lines, grid, image)
    # A line of zeros was not measured, although the file contains it.
    empty = sampled.any(axis=1) & ~np.any(kspace != 0, axis=(0, 2))
    left_out = {"lines without any signal": int(empty.sum())}
    measured = measured_in((sampled & ~empty[:, None])[None], grid.pixels, str(lines.path))
    estimated_from = None
    if calibration.size:
        values, sampled = _read(lines, grid, calibration)
        _check_coils(lines, len(values), len(kspace))
        # Calibration lines replace image lines, because they are consistent with each other.
        estimated_from = remove_oversampling(np.where(sampled, values, kspace), grid.pixels)
    return Slice(
        remove_oversampling(kspace, grid.pixels),
        fully_sampled(measured),
        measured,
        calibration=estimated_from,
        left_out=left_out,
    )


def _check_coils(lines: RawLines, calibration: int, image: int) -> None:
    if calibration != image:
        raise InputError(f"{lines.path}: calibration lines must have the {image} coils of others, found {calibration}")


def _read(lines: RawLines, grid: Grid, numbers: NDArray[np.int64]) -> tuple[Complex, NDArray[np.bool_]]:
    """Read lines, average repeated ones, and return k-space `(coil, y, x)` and the mask of its samples `(y, x)`."""
    kspace = np.zeros((int(lines.heads["coils"][numbers[0]]), grid.rows, grid.samples), np.complex64)
    counts = np.zeros((grid.rows, grid.samples), np.int64)
    for head, place, values in lines.placed(numbers, grid.samples):
        kspace[:, head["row"], place] += values
        counts[head["row"], place] += 1
    kspace /= np.maximum(counts, 1)
    if not np.isfinite(kspace).all():
        raise InputError(
            f"{lines.path}: values must be finite, found NaN or infinity in lines {numbers[0]} to {numbers[-1]}"
        )
    return kspace, counts > 0


def _positions(
    lines: RawLines, grid: Grid, number: int, image: NDArray[np.int64], calibration: NDArray[np.int64]
) -> dict[int, Entry]:
    """List the slices along the readout of a volume."""
    used = [numbers for numbers in (image, calibration) if numbers.size]
    volumes = [_volume(lines, grid, numbers, _BLOCK_BYTES // len(used)) for numbers in used]
    if len(volumes) > 1:
        _check_coils(lines, volumes[1].shape[0], volumes[0].shape[0])

    def load(position: int) -> Slice:
        image = volumes[0].load(position)
        if len(volumes) == 1:
            return image
        extra = volumes[1].load(position)
        return replace(image, calibration=np.where(np.asarray(extra.pattern), extra.kspace, image.kspace))

    volume = f"{lines.path.name}/{number}"
    return {position: Entry(f"{volume}/{position}", partial(load, position)) for position in range(grid.pixels)}


def _volume(lines: RawLines, grid: Grid, numbers: NDArray[np.int64], block_bytes: int) -> Volume:
    heads = lines.heads[numbers]
    coils = int(heads["coils"][0])
    counts = np.zeros((grid.partitions, grid.rows), np.int64)
    np.add.at(counts, (heads["partition"], heads["row"]), 1)

    def pieces() -> Iterator[Piece]:
        for head, place, values in lines.placed(numbers, grid.samples):
            readout = np.zeros((coils, grid.samples), np.complex64)
            at = int(head["partition"]), int(head["row"])
            readout[:, place] = values / np.float32(counts[at])
            yield at, readout

    shape = coils, grid.partitions, grid.rows
    return Volume(str(lines.path), shape, grid.pixels, pieces, block_bytes=block_bytes)
