"""The dataset folder: BART files for each split, and `dataset.yaml`, which says where they come from.

    FOLDER/dataset.yaml
    FOLDER/train/kspace.cfl     [x, y, 1, coil, ..., batch]        sampled k-space, centred unitary FFT
    FOLDER/train/coils.cfl      [x, y, 1, coil, maps, ..., batch]  coil sensitivities, one map or more (soft SENSE)
    FOLDER/train/pattern.cfl    [x, y, 1, 1, ..., batch or 1]      sampling pattern; optional
    FOLDER/train/reference.cfl  [x, y, 1, 1, maps, ..., batch]     fully sampled image of each map; needed for training,
                                                                   otherwise optional

Non-Cartesian data (radial, spiral) have the same coils and reference, and

    FOLDER/train/trajectory.cfl [3, samples, spokes, 1, ..., batch or 1]  kx, ky, kz = 0; unit 1 / field of view
    FOLDER/train/kspace.cfl     [1, samples, spokes, coil, ..., batch]    sampled k-space
    FOLDER/train/pattern.cfl    [1, samples, spokes, 1, ..., batch or 1]  weights of samples; optional

`FOLDER/validation` and `FOLDER/test` hold the same files. Each `.cfl` has its `.hdr` beside it. K-space is already
multiplied with its pattern, as reconet wants it. BART computes adjoint and psf from a trajectory, unless `dataset.yaml`
says `nufft: finufft`; see `noncartesian`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

from bart_bridge.data.trajectory_units import check_reach
from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl, dims, yaml_files

SPLITS = ("train", "validation", "test")
Nufft = Literal["bart", "finufft"]
NUFFTS = get_args(Nufft)
View = Callable[[NDArray[np.complex64]], NDArray[np.complex64]]


@dataclass(frozen=True)
class Split:
    """The files of slices that have one size; every array is memory-mapped.

    Attributes:
        kspace: Path of the k-space, `(batch, coil, y, x)` for networks.
        coils: Path of the coil sensitivities, `(batch, map, coil, y, x)`.
        pattern: Path of the sampling pattern, `(batch or 1, 1, y, x)`. Without one, every position where k-space is not
            0 counts as sampled.
        reference: Path of the reference images, `(batch, map, y, x)`, if there are any.
        trajectory: Path of the trajectory `(batch or 1, 3, spokes, samples)` of non-Cartesian data, whose k-space and
            pattern end in `(..., spokes, samples)` instead of `(..., y, x)`.
        cache: Folder for the hashes of the files (see `content`) and for what is computed from a trajectory (see
            `noncartesian`); by default the folder of the k-space.
        nufft: Which program computes that, `bart` (default) or `finufft`, which is also right for odd sizes.
        gridded_by: Program and version that computed it, as `noncartesian.prepare` names them; any by default.
    """

    kspace: Path
    coils: Path
    pattern: Path | None = None
    reference: Path | None = None
    trajectory: Path | None = None
    cache: Path | None = None
    nufft: Nufft = "bart"
    gridded_by: str | None = None

    @classmethod
    def in_folder(cls, folder: Path) -> Split:
        """Find the files of a split in its folder of a dataset."""

        def optional(name: str) -> Path | None:
            # One of the two files is enough: whoever reads the array hears which one is missing.
            return folder / name if any(map(Path.exists, cfl.files(folder / name))) else None

        return cls(
            folder / "kspace", folder / "coils", optional("pattern"), optional("reference"), optional("trajectory")
        )

    @property
    def slice_count(self) -> int:
        """Number of slices."""
        name = "coils" if self.trajectory else "kspace"
        return len(_open(self.paths()[name], self._views(name)[0]))

    def paths(self) -> dict[str, Path]:
        """Return the path of every array of this split by its name."""
        arrays = ("kspace", "coils", "pattern", "reference", "trajectory")
        return {name: path for name in arrays if (path := getattr(self, name)) is not None}

    def arrays(self) -> dict[str, NDArray[np.complex64]]:
        """Open every array of this split, with the shapes in the list of attributes above."""
        return {name: _open(path, self._views(name)[0]) for name, path in self.paths().items()}

    def to_bart(self, name: str, array: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Turn an array of the shape that `arrays` gives it into a BART array of 16 dimensions."""
        return self._views(name)[1](array)

    def validate(self) -> None:
        """Check what every engine relies on: the form of the files, and a signal in every slice.

        Raises:
            InputError: As for `validate_form`, or `without_signal` finds a slice.
        """
        self.validate_form()
        for _, fault in self.without_signal():
            raise InputError(fault)

    def validate_form(self, values: bool = True) -> None:
        """Check files, dimensions and, unless `values` is false, values, as BART does or should.

        Raises:
            InputError: A file is missing or damaged, dimensions do not match, a value is NaN or infinite, or the unit
                of a trajectory cannot be 1 / field of view.
        """
        arrays = self.arrays()
        batch, coil, y, x = arrays["kspace"].shape
        allowed: dict[str, list[tuple[int, ...]]] = {
            "pattern": [(batch, 1, y, x), (1, 1, y, x)],
            "trajectory": [(batch, 3, y, x), (1, 3, y, x)],
        }
        maps = arrays["coils"].shape[1]
        if self.trajectory:
            y, x = arrays["coils"].shape[-2:]
        allowed |= {"coils": [(batch, maps, coil, y, x)], "reference": [(batch, maps, y, x)]}
        for name, path in self.paths().items():
            if name in allowed and arrays[name].shape not in allowed[name]:
                # A reference has as many maps as the coils.
                other = self.coils if name == "reference" and arrays[name].shape[1] != maps else self.kspace
                raise InputError(
                    f"{path}: dimensions ({dims.describe(cfl.read_dims(path))}) do not match those of "
                    f"{other} ({dims.describe(cfl.read_dims(other))})"
                )
            for number, item in enumerate(arrays[name] if values else ()):
                if not np.isfinite(item).all():
                    raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {number}")
        self.trajectory_warnings()

    def without_signal(self) -> Iterator[tuple[int, str]]:
        """Yield number and fault of each slice without a signal to reconstruct or an image to compare with.

        BART computes with such slices, but a network that normalizes its input divides by 0.
        """
        arrays = self.arrays()
        for number, (kspace, coils, pattern) in enumerate(each_slice(arrays)):
            sampled = np.any((pattern != 0) & (kspace != 0), axis=(1, 2))
            if not pattern.any() and self.pattern:
                yield number, f"{self.pattern}: a pattern must sample something, slice {number} is all zero"
            elif not kspace.any():
                yield number, f"{self.kspace}: k-space must hold a signal, slice {number} is all zero"
            elif not sampled.any():
                yield number, f"{self.pattern}: a pattern must sample the signal, that of slice {number} lies beside it"
            elif not coils.any():
                yield number, f"{self.coils}: coil sensitivities must not vanish, slice {number} is all zero"
            elif not (sampled & np.any(coils, axis=(0, 2, 3))).any():
                yield number, f"{self.coils}: the coils with a signal must have sensitivities, slice {number} has none"
        for number, maps in enumerate(arrays.get("reference", ())):
            if np.all(maps == maps[:, :1, :1]):
                constant = "is the same everywhere" if maps.any() else "is all zero"
                yield number, f"{self.reference}: a reference must show something, slice {number} {constant}"

    def trajectory_warnings(self) -> list[str]:
        """Return doubts about the unit of the trajectory, see `trajectory_units`; an empty list without a trajectory.

        Raises:
            InputError: The unit cannot be 1 / field of view, or a file is missing or damaged.
        """
        if self.trajectory is None:
            return []
        arrays = self.arrays()
        return check_reach(self.trajectory, arrays["trajectory"], arrays["coils"].shape[-2:])

    def _views(self, name: str) -> tuple[View, View]:
        """Return the function that turns a BART array into an array for networks, and its inverse."""
        if name == "coils":
            return dims.to_batch_map_coil_yx, dims.from_batch_map_coil_yx
        if name == "reference":
            return dims.to_batch_map_yx, dims.from_batch_map_yx
        if name == "trajectory":
            return dims.to_batch_coil_samples, dims.from_batch_positions
        if self.trajectory:
            return dims.to_batch_coil_samples, dims.from_batch_coil_samples
        return dims.to_batch_coil_yx, dims.from_batch_coil_yx


@dataclass(frozen=True)
class Dataset:
    """A dataset folder.

    Examples:
        >>> from bart_bridge import Toolbox
        >>> from bart_bridge.data.simulation import Simulation, simulate
        >>> simulate(Path("phantoms"), Simulation(size=24, train=2, validation=1, test=1), Toolbox.find())
        >>> dataset = Dataset.open(Path("phantoms"))
        >>> dataset.description["source"]
        'simulated phantoms'
        >>> train = dataset.split("train")
        >>> train.validate()
        >>> train.arrays()["kspace"].shape  # (batch, coil, y, x)
        (2, 4, 24, 24)

    Attributes:
        folder: Its path.
        description: The content of `dataset.yaml`.
        cache: Folder of the caches of all splits, for a dataset that cannot be written; by default each split has its
            own, see `Split`.
        gridded_by: As in `Split`.
    """

    folder: Path
    description: dict[str, Any]
    cache: Path | None = None
    gridded_by: str | None = None

    @classmethod
    def open(cls, folder: str | Path) -> Dataset:
        """Open a dataset folder, without a look at its splits; see `Split.validate`.

        Raises:
            InputError: The folder or its `dataset.yaml` is missing or unreadable.
        """
        file = (folder := Path(folder)) / "dataset.yaml"
        if not file.exists():
            raise InputError(f"{folder}: not a dataset folder (there is no dataset.yaml in it)")
        try:
            description = yaml_files.read(file)
        except InputError as error:
            raise InputError(f"{folder}: not a dataset folder ({str(error).removeprefix(f'{folder}/')})") from None
        if not isinstance(description, dict):
            raise InputError(f"{file}: must be a mapping, found {type(description).__name__}")
        return cls(folder, description)

    def split(self, name: str) -> Split:
        """Return a split by its name.

        Raises:
            InputError: The dataset has no such split, or its `nufft` is neither `bart` nor `finufft`.
        """
        if not (self.folder / name).is_dir():
            splits = ", ".join(split for split in SPLITS if (self.folder / split).is_dir()) or "none"
            raise InputError(f"{self.folder}: no split '{name}' (found: {splits})")
        nufft = self.description.get("nufft", "bart")
        if nufft not in NUFFTS:
            raise InputError(f"{self.folder / 'dataset.yaml'}: nufft must be bart or finufft, received '{nufft}'")
        split = replace(Split.in_folder(self.folder / name), nufft=nufft, cache=self.cache and self.cache / name)
        return replace(split, gridded_by=self.gridded_by) if split.trajectory else split


def _open(path: Path, view: View) -> NDArray[np.complex64]:
    array = cfl.read(path)
    try:
        return view(array)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def each_slice(
    arrays: Mapping[str, NDArray[np.complex64]],
) -> Iterator[tuple[NDArray[np.complex64], NDArray[np.complex64], NDArray[np.complex64]]]:
    """Yield k-space `(coil, y, x)`, coils `(map, coil, y, x)` and pattern `(y, x)` of each slice of `Split.arrays`.

    Without a pattern, a position counts as sampled where any coil has a signal, as BART estimates it.
    """
    patterns = arrays.get("pattern")
    for number, (kspace, coils) in enumerate(zip(arrays["kspace"], arrays["coils"], strict=True)):
        if patterns is None:
            pattern = np.any(kspace != 0, axis=0).astype(np.complex64)
        else:
            pattern = patterns[number if len(patterns) > 1 else 0, 0]
        yield kspace, coils, pattern


def write_split(folder: Path, arrays: dict[str, NDArray[np.complex64]]) -> None:
    """Write BART arrays named `kspace`, `coils`, `pattern`, ... into a new folder, as a split."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        cfl.write(folder / name, array)


@contextmanager
def new_folder(folder: Path, description: dict[str, Any]) -> Iterator[Path]:
    """Make a dataset folder, which appears only when it is complete.

    Args:
        folder: The new folder; its parents are made if they are missing.
        description: The content of `dataset.yaml`.

    Yields:
        A temporary folder beside it, in which the `with` block writes the splits.

    Raises:
        InputError: The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: already exists; name a new folder or remove it")
    with atomic.new_parents(folder), atomic.new_folder(folder) as temporary:
        yield temporary
        (temporary / "dataset.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
