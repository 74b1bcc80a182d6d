"""The dataset folder: BART files for each split, and `dataset.yaml`, which says where they come from.

    FOLDER/dataset.yaml
    FOLDER/train/kspace.cfl     [x, y, 1, coil, ..., batch]        sampled k-space, centred unitary FFT
    FOLDER/train/coils.cfl      [x, y, 1, coil, maps, ..., batch]  coil sensitivities, of one map or more (soft SENSE)
    FOLDER/train/pattern.cfl    [x, y, 1, 1, ..., batch or 1]      sampling pattern; optional
    FOLDER/train/reference.cfl  [x, y, 1, 1, maps, ..., batch]     fully sampled image of each map; optional, needed for
                                                                   training

or, of non-Cartesian data (radial, spiral),

    FOLDER/train/trajectory.cfl [3, samples, spokes, 1, ..., batch or 1]  kx, ky, kz = 0; unit 1 / field of view
    FOLDER/train/kspace.cfl     [1, samples, spokes, coil, ..., batch]    sampled k-space
    FOLDER/train/pattern.cfl    [1, samples, spokes, 1, ..., batch or 1]  weights of samples; optional

with coils and reference as above. K-space is multiplied with its pattern already, as reconet wants it. And the same for
`validation` and `test`. Each file has its `.hdr` beside it. `nufft: finufft` in `dataset.yaml` has finufft compute
adjoint and psf from the trajectory in place of BART, see `gridding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

from bart_bridge.data.trajectory_units import check_reach
from bart_bridge.errors import InputError
from bart_bridge.files import atomic, cfl, yaml_files
from bart_bridge.files.dims import (
    Dim,
    describe,
    from_batch_coil_samples,
    from_batch_coil_yx,
    from_batch_map_coil_yx,
    from_batch_map_yx,
    from_batch_positions,
    to_batch_coil_samples,
    to_batch_coil_yx,
    to_batch_map_coil_yx,
    to_batch_map_yx,
)
from bart_bridge.reconet.network_settings import Network

SPLITS = ("train", "validation", "test")
Nufft = Literal["bart", "finufft"]
NUFFTS = get_args(Nufft)
View = Callable[[NDArray[np.complex64]], NDArray[np.complex64]]


@dataclass(frozen=True)
class Split:
    """The files that describe a number of slices of one size; every array is memory-mapped.

    Attributes:
        kspace: Path of the k-space, `(batch, coil, y, x)` for networks.
        coils: Path of the coil sensitivities, `(batch, map, coil, y, x)`.
        pattern: Path of the sampling pattern, `(batch or 1, 1, y, x)`; without it, sampled is where k-space is not 0.
        reference: Path of the reference images, `(batch, map, y, x)`, if there are any.
        trajectory: Path of the trajectory `(batch or 1, 3, spokes, samples)` of non-Cartesian data; k-space and pattern
            have `(..., spokes, samples)` in place of `(..., y, x)` then.
        cache: Folder for what is remembered of the files (see `content`) and computed from a trajectory (see
            `gridding`), that of the k-space by default.
        nufft: What computes it, `bart` (default) or `finufft`, which is right for odd numbers of pixels, too.
        gridded_by: Program and version that computed it, as `gridding.prepare` says it; without it, whichever did.
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
        """Name the files of a split by the layout of the dataset folder."""
        # One file of the two is enough: reading the other one then says that it is missing.
        found = {
            name for name in ("pattern", "reference", "trajectory") if any(map(Path.exists, cfl.files(folder / name)))
        }
        optional: dict[str, Any] = {name: folder / name for name in found}
        return cls(folder / "kspace", folder / "coils", **optional)

    @property
    def items(self) -> int:
        """Number of slices."""
        name = "coils" if self.trajectory else "kspace"
        return len(_open(getattr(self, name), self._views(name)[0]))

    def paths(self) -> dict[str, Path]:
        """Return the path of every array of this split by its name."""
        arrays = ("kspace", "coils", "pattern", "reference", "trajectory")
        return {name: path for name in arrays if (path := getattr(self, name)) is not None}

    def arrays(self) -> dict[str, NDArray[np.complex64]]:
        """Open every file of this split with the shape that `Split` says."""
        return {name: _open(path, self._views(name)[0]) for name, path in self.paths().items()}

    def validate(self) -> None:
        """Check what every engine relies on.

        Raises:
            InputError: As for `validate_form`, or a slice is one of `without_signal`.
        """
        self.validate_form()
        for _, fault in self.without_signal():
            raise InputError(fault)

    def validate_form(self) -> None:
        """Check what BART checks or should: files, dimensions, numbers.

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
                    f"{path}: dimensions ({describe(cfl.read_dims(path))}) do not match those of "
                    f"{other} ({describe(cfl.read_dims(other))})"
                )
            for number, item in enumerate(arrays[name]):
                if not np.isfinite(item).all():
                    raise InputError(f"{path}: values must be finite, found NaN or infinity in slice {number}")
        self.trajectory_warnings()

    def without_signal(self) -> Iterator[tuple[int, str]]:
        """Yield number and fault of slices that hold nothing to reconstruct, or nothing to compare with.

        BART computes with such slices, but a network that normalizes divides by 0 then.
        """
        arrays = self.arrays()
        for number, (kspace, coils, pattern) in enumerate(each_slice(arrays)):
            sampled = np.any(pattern * kspace, axis=(1, 2))
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
        """Return what is to be doubted about the unit of the trajectory, see `trajectory_units`; empty without one.

        Raises:
            InputError: It cannot be 1 / field of view, or a file is missing or damaged.
        """
        if self.trajectory is None:
            return []
        arrays = self.arrays()
        return check_reach(self.trajectory, arrays["trajectory"], arrays["coils"].shape[-2:])

    def _views(self, name: str) -> tuple[View, View]:
        """Return what views a BART array with the shape that `Split` says, and the way back."""
        if name == "coils":
            return to_batch_map_coil_yx, from_batch_map_coil_yx
        if name == "reference":
            return to_batch_map_yx, from_batch_map_yx
        if name == "trajectory":
            return to_batch_coil_samples, from_batch_positions
        if self.trajectory:
            return to_batch_coil_samples, from_batch_coil_samples
        return to_batch_coil_yx, from_batch_coil_yx


@dataclass(frozen=True)
class Dataset:
    """A dataset folder.

    Attributes:
        folder: Where it is.
        description: What `dataset.yaml` says.
        cache: Where each split has a folder as its `cache`, for a dataset that cannot be written.
        gridded_by: As of `Split`.
    """

    folder: Path
    description: dict[str, Any]
    cache: Path | None = None
    gridded_by: str | None = None

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """Open a dataset folder; its splits are validated by whoever uses them.

        Raises:
            InputError: The folder or its `dataset.yaml` is missing or unreadable.
        """
        file = folder / "dataset.yaml"
        try:
            description = yaml_files.read(file)
        except InputError as error:
            raise InputError(f"{folder}: not a dataset folder ({error})") from None
        if not isinstance(description, dict):
            raise InputError(f"{file}: must be a mapping, found {type(description).__name__}")
        return cls(folder, description)

    def split(self, name: str) -> Split:
        """Return a split by its name.

        Raises:
            InputError: The dataset has no such split, or its `nufft` is neither `bart` nor `finufft`.
        """
        if not (self.folder / name).is_dir():
            found = ", ".join(split for split in SPLITS if (self.folder / split).is_dir()) or "none"
            raise InputError(f"{self.folder}: no split '{name}' (found: {found})")
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


def check_filters(network: Network, split: Split) -> None:
    """Refuse images that are too small for the filters of a network; see `check_image_size`."""
    x, y = cfl.read_dims(split.coils)[:2]
    check_image_size(network, y, x, str(split.coils))


def check_image_size(network: Network, y: int, x: int, name: str) -> None:
    """Refuse images that VarNet cannot mirror as far as its filters reach beyond the edge.

    `reconet` reads outside of its memory then: two runs give two images.

    Args:
        network: The network; MoDL continues images with zeros and takes any.
        y, x: Pixels of the images.
        name: What the images are, for the message.

    Raises:
        InputError: A filter has more than one pixel more than the images.
    """
    if network.kind == "varnet" and (y < network.kernel_y - 1 or x < network.kernel_x - 1):
        raise InputError(
            f"{name}: filters of {network.kernel_x} x {network.kernel_y} pixels need images of at least "
            f"{network.kernel_x - 1} x {network.kernel_y - 1}, found {x} x {y}"
        )


def rewritten(
    split: Split, folder: Path, change: Callable[[str, NDArray[np.complex64]], NDArray[np.complex64]]
) -> Split:
    """Write `change(name, array)` for every array of a split into a folder, as a split of its own.

    Args:
        split: The slices.
        folder: Where the files go; made if it is missing.
        change: Gets `kspace`, `coils`, ... and the array with the shape that `Split` says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Any] = {}
    for name, array in split.arrays().items():
        paths[name] = folder / name
        cfl.write(paths[name], split._views(name)[1](np.ascontiguousarray(change(name, array))))
    return replace(split, **paths)


def first_slice(split: Split, folder: Path) -> Split:
    """Write the first slice of a split into a folder, as a split of its own."""
    return rewritten(split, folder, lambda name, array: array[:1])


def along_batch(split: Split, folder: Path) -> Split:
    """Return a split with the same slices, all along dimension 15, without a copy of their values.

    To `reconet`, slices along dimension 13 belong together: they share the scale of `--normalize` and the psf of a
    trajectory. Here, every slice stands for itself.

    Args:
        split: The slices.
        folder: Where headers, and links to the values, go if slices lie along other dimensions; made if needed.
    """
    paths: dict[str, Any] = {}
    for name, path in split.paths().items():
        dims = cfl.read_dims(path)
        if prod(dims[Dim.SLICE : Dim.BATCH]) != 1:
            folder.mkdir(exist_ok=True)
            paths[name] = folder / name
            cfl.link(paths[name], path, (*dims[: Dim.SLICE], 1, 1, prod(dims[Dim.SLICE :])))
    return replace(split, **paths)


def each_slice(arrays: dict[str, NDArray[np.complex64]]) -> Iterator[tuple[NDArray[np.complex64], ...]]:
    """Yield k-space, coils `(map, coil, y, x)` and pattern of each slice of `Split.arrays`.

    Without a pattern, sampled is where any coil has a signal, as BART estimates it.
    """
    for item, (kspace, coils) in enumerate(zip(arrays["kspace"], arrays["coils"], strict=True)):
        if "pattern" in arrays:
            patterns = arrays["pattern"]
            pattern = patterns[item if len(patterns) > 1 else 0, 0]
        else:
            pattern = np.any(kspace != 0, axis=0).astype(np.complex64)
        yield kspace, coils, pattern


def write_split(folder: Path, arrays: dict[str, NDArray[np.complex64]]) -> None:
    """Write the arrays of a split, BART arrays named `kspace`, `coils`, `pattern`, `reference`, into a new folder."""
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        cfl.write(folder / name, array)


@contextmanager
def new_folder(folder: Path, description: dict[str, Any]) -> Iterator[Path]:
    """Make a dataset folder that appears only when it is complete.

    Yields:
        A temporary folder beside it, to be filled with splits.

    Raises:
        InputError: The folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: already exists; name a new folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic.new_folder(folder) as temporary:
        yield temporary
        (temporary / "dataset.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
