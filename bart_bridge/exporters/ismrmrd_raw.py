"""Datasets as ISMRMRD raw data: one acquisition for each sampled line, or for each spoke, of each slice.

Inati et al. (2017), doi 10.1002/mrm.26089. The slices of all splits have consecutive numbers. References are images of
the file, too. Coil sensitivities, patterns and references for an import lie in a group that other readers ignore.
Positions along a trajectory are in units of 1 / field of view; the format itself defines no unit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.exporters import Exported, OnProgress
from bart_bridge.exporters.slices import DatasetSlice, OwnArrays, checked_splits, header, read_slices
from bart_bridge.files import atomic
from bart_bridge.importers.source import Complex
from bart_bridge.wording import counted

_GROUP = "dataset"
# Sizes and counters of the format have 16 bits.
_LARGEST = 65535


def write_ismrmrd(source: Path, target: Path, on_progress: OnProgress) -> Exported:
    """Write the file `target`.

    Raises:
        InputError: A Cartesian pattern has other values than 0 and 1 or gaps along the readout, or the splits differ in
            size; or as in `checked_splits`.
    """
    import ismrmrd

    splits = checked_splits(source)
    counts = {name: split.slice_count for name, split in splits.items()}
    total = sum(counts.values())
    coils, y, x, spokes = _shape(splits, source)
    if max(coils, y, x, spokes, total) > _LARGEST:
        raise InputError(f"{source}: ISMRMRD holds up to {_LARGEST} slices, coils, spokes and samples along an axis")
    with atomic.new_file(target) as temporary:
        temporary.unlink()  # the library refuses a file that is not HDF5 yet
        number, weighted = 0, False
        with ismrmrd.Dataset(str(temporary), _GROUP) as data:
            data.write_xml_header(header(x, y, coils, total, spokes).encode())
            with h5py.File(temporary, "r+") as file:
                own = OwnArrays(file, total)
                for name, split in splits.items():
                    for item in read_slices(split):
                        append = _append_lines if item.trajectory is None else _append_spokes
                        append(data, item, number, f"{source / name}: slice {number}")
                        _append_reference(data, item, number)
                        own.write(number, item)
                        weighted |= not np.isin(item.pattern, (0, 1)).all()
                        number += 1
                        on_progress(number, total)
    first, arguments = 0, []
    for name, count in counts.items():
        arguments.append(f"--split={name}={first}" + (f"-{first + count - 1}" if count > 1 else ""))
        first += count
    nufft = next(iter(splits.values())).nufft if spokes else "bart"
    notes = [] if nufft == "bart" else [f"write 'nufft: {nufft}' into the dataset.yaml of an import, as it is here"]
    notes += ["samples are multiplied by the weights of the pattern, as in the dataset"] if weighted else []
    return Exported(f"{counted(total, 'slice')} of {', '.join(counts)}", notes, arguments)


def _shape(splits: dict[str, Split], source: Path) -> tuple[int, int, int, int]:
    """Return the number of coils, the pixels y and x, and the number of spokes, 0 for Cartesian data."""
    shapes = set()
    for split in splits.values():
        arrays = split.arrays()
        shapes.add((arrays["kspace"].shape[1:], arrays["coils"].shape[3:], split.trajectory is not None))
    if len(shapes) > 1:
        raise InputError(f"{source}: a file has one size, the splits have {len(shapes)}")
    (coils, spokes, samples), (y, x), along_trajectory = shapes.pop()
    if samples > _LARGEST:
        raise InputError(f"{source}: ISMRMRD holds up to {_LARGEST} samples in a line, found {samples}")
    return coils, y, x, spokes if along_trajectory else 0


def _check_lines(item: DatasetSlice, name: str) -> None:
    if not np.isin(item.pattern, (0, 1)).all():
        raise InputError(f"{name}: ISMRMRD has no place for the weights in its pattern")
    if np.any(item.pattern != item.pattern[:, :1]):
        raise InputError(f"{name}: ISMRMRD holds whole readouts, its pattern has gaps along x; fastmri can hold it")


def _append_lines(data: Any, item: DatasetSlice, number: int, name: str) -> None:
    _check_lines(item, name)
    lines = np.flatnonzero(item.pattern[:, 0]).tolist()
    for y in lines:
        line = _line(item.kspace[:, y], y, number, [y == lines[0], y == lines[-1]])
        data.append_acquisition(line)


def _append_spokes(data: Any, item: DatasetSlice, number: int, _: str) -> None:
    assert item.trajectory is not None
    positions = item.trajectory[:2].real.transpose(1, 2, 0)
    last = len(positions) - 1
    for spoke, places in enumerate(positions):
        line = _line(item.kspace[:, spoke], spoke, number, [spoke == 0, spoke == last], dimensions=2)
        line.traj[:] = places
        data.append_acquisition(line)


def _line(samples: Complex, step: int, number: int, first_and_last: list[bool], dimensions: int = 0) -> Any:
    """Return an acquisition of samples `(coil, sample)`."""
    import ismrmrd

    line = ismrmrd.Acquisition()
    line.resize(samples.shape[1], samples.shape[0], dimensions)
    line.data[:] = samples
    line.center_sample = samples.shape[1] // 2
    line.idx.kspace_encode_step_1, line.idx.slice = step, number
    line.read_dir[0] = line.phase_dir[1] = line.slice_dir[2] = 1.0
    for flag, is_set in zip((ismrmrd.ACQ_FIRST_IN_SLICE, ismrmrd.ACQ_LAST_IN_SLICE), first_and_last, strict=True):
        if is_set:
            line.set_flag(flag)
    return line


def _append_reference(data: Any, item: DatasetSlice, number: int) -> None:
    import ismrmrd

    for image in item.reference if item.reference is not None else ():
        stored = ismrmrd.Image.from_array(image)
        stored.image_index = stored.slice = number
        data.append_image("reference", stored)
