"""The slices of a dataset, read one at a time, and the header that describes them to readers of ISMRMRD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.data.dataset import SPLITS, Dataset, Split
from bart_bridge.errors import InputError
from bart_bridge.importers import exported
from bart_bridge.importers.source import Complex


@dataclass(frozen=True)
class DatasetSlice:
    """One slice of a split.

    Attributes:
        kspace: `(coil, y, x)` complex64, sampled by the pattern; along a trajectory `(coil, spoke, sample)`.
        coils: `(map, coil, y, x)`.
        pattern: `(y, x)`, or `(spoke, sample)`.
        reference: `(map, y, x)`, if the split has references.
        trajectory: Positions `(3, spoke, sample)` in units of 1 / field of view, if the split has a trajectory.
    """

    kspace: Complex
    coils: Complex
    pattern: Complex
    reference: Complex | None
    trajectory: Complex | None = None


def cartesian_splits(folder: Path, form: str) -> dict[str, Split]:
    """Open the splits of a Cartesian dataset, as `checked_splits` does.

    Args:
        folder: The dataset folder.
        form: The format that is written, for messages.

    Raises:
        InputError: As in `checked_splits`, or k-space is not Cartesian.
    """
    for split in open_splits(folder).values():
        if split.trajectory:
            raise InputError(
                f"{split.trajectory}: {form} has no place for a trajectory; ismrmrd has one, or export the images"
            )
    return checked_splits(folder)


def checked_splits(folder: Path) -> dict[str, Split]:
    """Open the splits of a dataset, their dimensions checked, in the order train, validation, test.

    Raises:
        InputError: It is no dataset folder, a file is damaged, there is no split, or only some have a trajectory.
    """
    splits = open_splits(folder)
    for split in splits.values():
        split.validate_form(values=False)
    if len({split.trajectory is None for split in splits.values()}) > 1:
        raise InputError(
            f"{folder}: a file is Cartesian or has trajectories, of the splits {' and '.join(splits)} only some have"
        )
    return splits


def open_splits(folder: Path) -> dict[str, Split]:
    """Open the splits of a dataset, in the order train, validation, test.

    Raises:
        InputError: It is no dataset folder, or has no split.
    """
    dataset = Dataset.open(folder)
    splits = {name: dataset.split(name) for name in SPLITS if (folder / name).is_dir()}
    if not splits:
        raise InputError(f"{folder}: a dataset needs one of the splits {', '.join(SPLITS)}")
    return splits


def read_slices(split: Split) -> Iterator[DatasetSlice]:
    """Read the slices of a split; files are opened for each, so that their pages do not fill the memory.

    Raises:
        InputError: A value is not finite.
    """
    for number in range(split.slice_count):
        item = _read(split, number)
        for name, values in vars(item).items():
            if values is not None and not np.isfinite(values).all():
                path = split.kspace.with_name(name)
                raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {number}")
        yield item


def _read(split: Split, number: int) -> DatasetSlice:
    arrays = split.arrays()
    kspace = np.array(arrays["kspace"][number])
    if "pattern" in arrays:
        patterns = arrays["pattern"]
        pattern = np.array(patterns[number if len(patterns) > 1 else 0, 0])
    else:
        pattern = np.any(kspace != 0, axis=0).astype(np.complex64)
    reference = np.array(arrays["reference"][number]) if "reference" in arrays else None
    positions = arrays.get("trajectory")
    trajectory = None if positions is None else np.array(positions[number if len(positions) > 1 else 0])
    return DatasetSlice(kspace, np.array(arrays["coils"][number]), pattern, reference, trajectory)


class OwnArrays:
    """Writes what `bart_bridge.importers.exported` reads, slice by slice, into an HDF5 file.

    Args:
        file: The file, open for writing.
        slice_count: Number of slices.
    """

    def __init__(self, file: h5py.File, slice_count: int) -> None:
        self._group, self._count = file.create_group(exported.GROUP), slice_count

    def write(self, number: int, item: DatasetSlice) -> None:
        """Write the arrays of one slice."""
        arrays = {exported.COILS: item.coils, exported.PATTERN: item.pattern, exported.REFERENCE: item.reference}
        for name, values in arrays.items():
            if values is not None:
                shape, chunks = (self._count, *values.shape), (1, *values.shape)
                dataset = self._group.require_dataset(name, shape, np.complex64, chunks=chunks)
                dataset[number] = values


def header(x: int, y: int, coils: int, slices: int, spokes: int = 0) -> str:
    """Return the XML header of slices.

    A dataset contains neither its field of view nor the frequency. The header says 1 mm for each pixel, and 0 Hz.

    Args:
        x: Pixels along x.
        y: Pixels along y.
        coils: Number of coils.
        slices: Number of slices.
        spokes: Lines of a slice along a trajectory; 0 (default) for Cartesian slices.
    """
    from ismrmrd import xsd

    space = xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=x, y=y, z=1), fieldOfView_mm=xsd.fieldOfViewMm(x=float(x), y=float(y), z=1.0)
    )
    limits = xsd.encodingLimitsType(
        kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=(spokes or y) - 1, center=(spokes or y) // 2),
        slice=xsd.limitType(minimum=0, maximum=slices - 1, center=slices // 2),
    )
    trajectory = xsd.trajectoryType.OTHER if spokes else xsd.trajectoryType.CARTESIAN
    encoding = xsd.encodingType(encodedSpace=space, reconSpace=space, encodingLimits=limits, trajectory=trajectory)
    text: str = xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=0),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(receiverChannels=coils),
        encoding=[encoding],
    ).toXML()
    return text
