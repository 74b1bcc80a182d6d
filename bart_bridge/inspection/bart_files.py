"""BART's `.cfl` and `.hdr`: arrays, weights of networks, and dataset folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bart_bridge.data.dataset import SPLITS, Dataset, Split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.files.dims import Dim
from bart_bridge.files.dims import describe as describe_dims
from bart_bridge.inspection.description import Description, listed, sizes
from bart_bridge.inspection.measured import peak, trajectory_rows
from bart_bridge.reconet import weights_info
from bart_bridge.wording import counted


def is_array(path: Path) -> bool:
    """Tell whether a path is one of BART's two files, or their common name."""
    if path.suffix in {".cfl", ".hdr"}:
        # NIfTI and Analyze have .hdr beside .img.
        return path.suffix == ".cfl" or not path.with_suffix(".img").exists()
    return not path.exists() and any(file.exists() for file in cfl.files(path))


def describe(path: Path) -> Description:
    """Describe an array or a file of several arrays.

    Raises:
        InputError: One of both files is missing or damaged.
    """
    if multi_cfl.is_multi(path):
        return _several(path)
    array = cfl.read(path)
    shape = array.shape + (1,) * (len(Dim) - array.ndim)
    rows = [("dimensions", describe_dims(array.shape))]
    if shape[Dim.X] == 3 and shape[Dim.COIL] == 1 and shape[Dim.Y] > 1:
        reach = float(np.abs(array).max())
        rows.append(("largest coordinate", f"{reach:.4g} (the unit is 1 / field of view)"))
        return Description(path, "trajectory of BART", rows, without_import="n/a (a file 'trajectory' of a dataset)")
    if shape[Dim.COIL] == 1:
        rows.append(("largest value", _largest(array)))
        reason = "n/a (no coils: images, a pattern or a reference)"
        return Description(path, "array of BART", rows, without_import=reason)
    if shape[Dim.X] == 1:
        reason = "n/a (samples along a trajectory: a file 'kspace' of a dataset)"
        return Description(path, "array of BART", rows, without_import=reason)
    return Description(path, "array of BART with coils, taken as k-space", rows, "cfl")


def _largest(array: np.ndarray) -> str:
    flat = array.reshape(-1, order="F")
    largest = max(float(np.abs(part).max()) for part in np.array_split(flat, max(1, flat.size >> 22)))
    return f"{largest:.4g}"


def _several(path: Path) -> Description:
    try:
        rows = weights_info.describe_file(path).rows()
    except InputError as error:
        arrays = multi_cfl.read(path)  # a damaged file is named here
        shapes = listed(sizes(array.shape) for array in arrays)
        reason = str(error).removeprefix(f"{path}: ")
        return Description(path, "several arrays of BART", [("arrays", shapes), ("weights", f"n/a ({reason})")])
    return Description(path, "weights of a network (BART)", rows, without_import="n/a (see bart-tf weights)")


def describe_dataset(folder: Path) -> Description:
    """Describe a dataset folder: every split, and the k-space of the first one.

    Raises:
        InputError: A file is damaged.
    """
    dataset = Dataset.open(folder)
    rows = [("source", str(dataset.description.get("source", "n/a (dataset.yaml does not say)")))]
    splits = {name: dataset.split(name) for name in SPLITS if (folder / name).is_dir()}
    for name, split in splits.items():
        rows.append((name, _split(split)))
    for name, split in list(splits.items())[:1]:
        arrays = split.arrays()
        number = len(arrays["kspace"]) // 2
        kspace = np.array(arrays["kspace"][number])
        if split.trajectory:
            positions = arrays["trajectory"][number if len(arrays["trajectory"]) > 1 else 0]
            where = trajectory_rows(kspace, np.array(positions).real)[-1][1]
        else:
            where = peak(kspace)
        rows.append(("peak of k-space", f"{where} ({name}, slice {number})"))
    return Description(
        folder, "dataset of bart-tf", rows, without_import="n/a (it is one already; bart-tf export writes it)"
    )


def _split(split: Split) -> str:
    arrays = split.arrays()
    count, maps, coils, y, x = arrays["coils"].shape
    parts = [
        f"{counted(count, 'slice')} of {x} x {y} pixels, {counted(coils, 'coil')}"
        + (f", {maps} maps" if maps > 1 else "")
    ]
    if split.trajectory:
        _, _, spokes, samples = arrays["trajectory"].shape
        parts.append(f"{counted(spokes, 'spoke')} of {counted(samples, 'sample')}")
    elif split.pattern:
        share = float(np.mean([np.count_nonzero(pattern) / pattern.size for pattern in arrays["pattern"]]))
        parts.append(f"{share:.1%} sampled")
    else:
        parts.append("pattern: where k-space is not 0")
    return ", ".join([*parts, "a reference" if split.reference else "no reference"])
