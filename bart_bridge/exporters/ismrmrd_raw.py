"""Datasets as ISMRMRD raw data: one acquisition for each sampled line of each slice.

Inati et al. (2017), doi 10.1002/mrm.26089. The slices of all splits have consecutive numbers. References are images of
the file, too. Coil sensitivities, patterns and references for an import lie in a group that other readers ignore.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.exporters import Exported, OnProgress
from bart_bridge.exporters.slices import DatasetSlice, OwnArrays, cartesian_splits, header, read_slices
from bart_bridge.files import atomic

_GROUP = "dataset"
# Sizes and counters of the format have 16 bits.
_LARGEST = 65535


def write_ismrmrd(source: Path, target: Path, on_progress: OnProgress) -> Exported:
    """Write the file `target`.

    Raises:
        InputError: A pattern has other values than 0 and 1 or gaps along the readout, or the splits differ in size;
            or as in `cartesian_splits`.
    """
    import ismrmrd

    splits = cartesian_splits(source, "the Cartesian form of ISMRMRD")
    counts = {name: split.slice_count for name, split in splits.items()}
    total = sum(counts.values())
    coils, y, x = _shape(splits, source)
    if max(coils, y, x, total) > _LARGEST:
        raise InputError(f"{source}: ISMRMRD holds up to {_LARGEST} slices, coils and pixels along an axis")
    with atomic.new_file(target) as temporary:
        temporary.unlink()  # the library refuses a file that is not HDF5 yet
        number = 0
        with ismrmrd.Dataset(str(temporary), _GROUP) as data:
            data.write_xml_header(header(x, y, coils, total).encode())
            with h5py.File(temporary, "r+") as file:
                own = OwnArrays(file, total)
                for name, split in splits.items():
                    for item in read_slices(split):
                        _check_lines(item, f"{source / name}: slice {number}")
                        _append_lines(data, item, number)
                        _append_reference(data, item, number)
                        own.write(number, item)
                        number += 1
                        on_progress(number, total)
    first, arguments = 0, []
    for name, count in counts.items():
        arguments.append(f"--split={name}={first}" + (f"-{first + count - 1}" if count > 1 else ""))
        first += count
    return Exported(f"{total} slices of {', '.join(counts)}", [], arguments)


def _shape(splits: dict[str, Split], source: Path) -> tuple[int, int, int]:
    shapes = {split.arrays()["kspace"].shape[1:] for split in splits.values()}
    if len(shapes) > 1:
        raise InputError(f"{source}: a file has one size, the splits have {len(shapes)}")
    coils, y, x = shapes.pop()
    return coils, y, x


def _check_lines(item: DatasetSlice, name: str) -> None:
    if not np.isin(item.pattern, (0, 1)).all():
        raise InputError(f"{name}: ISMRMRD has no place for the weights in its pattern")
    if np.any(item.pattern != item.pattern[:, :1]):
        raise InputError(f"{name}: ISMRMRD holds whole readouts, its pattern has gaps along x; fastmri can hold it")


def _append_lines(data: Any, item: DatasetSlice, number: int) -> None:
    import ismrmrd

    coils, _, x = item.kspace.shape
    lines = np.flatnonzero(item.pattern[:, 0])
    for position, y in enumerate(lines):
        line = ismrmrd.Acquisition()
        line.resize(x, coils)
        line.data[:] = item.kspace[:, y]
        line.center_sample = x // 2
        line.idx.kspace_encode_step_1, line.idx.slice = int(y), number
        line.read_dir[0] = line.phase_dir[1] = line.slice_dir[2] = 1.0
        if position == 0:
            line.set_flag(ismrmrd.ACQ_FIRST_IN_SLICE)
        if position == len(lines) - 1:
            line.set_flag(ismrmrd.ACQ_LAST_IN_SLICE)
        data.append_acquisition(line)


def _append_reference(data: Any, item: DatasetSlice, number: int) -> None:
    import ismrmrd

    for image in item.reference if item.reference is not None else ():
        stored = ismrmrd.Image.from_array(image)
        stored.image_index = stored.slice = number
        data.append_image("reference", stored)
