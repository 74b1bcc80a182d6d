"""The brain data of MoDL, `dataset.hdf5`: images, coil sensitivities and masks, from which k-space is computed.

Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356; also at doi 10.5281/zenodo.6481291. The authors' Fourier transform
and masks are not centred. The importer centres both, which changes only the phase of k-space and leaves the
reconstruction unchanged.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.data.fourier import IMAGE, centred_fft
from bart_bridge.errors import InputError
from bart_bridge.files.dims import check_axes
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.importers.source import Entry, Slice, Source, as_complex, names_in

_FORM = "MoDL's dataset.hdf5"
_PREFIXES = ("trn", "tst")
_SUFFIXES = ("Org", "Csm", "Mask")
_LAST_VALIDATION = 122
NOISE = 0.01


def open_modl(path: Path, noise: float = NOISE, seed: int = 0) -> Source:
    """Open a file with `trnOrg`, `trnCsm` and `trnMask`, or with the same arrays for `tst`, or with both sets.

    Rows of the images become x, and columns become y. Units are named `trn0`, ..., `tst0`, ...

    Args:
        path: The file.
        noise: Standard deviation of the complex noise that is added to k-space, E|n|^2 = noise^2 (default 0.01 as in
            the authors' code).
        seed: Seed of the noise (default 0).

    Raises:
        InputError: The file cannot be read, or the shapes of its arrays do not fit together.
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise InputError(f"--noise must not be negative, received {noise:g}")
    units: dict[str, dict[int, Entry]] = {}
    counts = {}
    with opened(path, _FORM) as file:
        for number, prefix in enumerate(_PREFIXES):
            counts[prefix] = _count(file, prefix, path)
            for item in range(counts[prefix]):
                load = partial(_load, path, prefix, item, noise, (seed, number, item))
                units[f"{prefix}{item}"] = {0: Entry(f"{prefix}{item}", load)}
        if not units:
            keys = names_in(file)
            raise InputError(f"{path}: trnOrg, trnCsm, trnMask or tstOrg, tstCsm, tstMask are needed, found: {keys}")
        expected = {prefix + suffix for prefix in _PREFIXES for suffix in _SUFFIXES}
        left_out = {f"arrays other than {', '.join(sorted(expected))}": len(file.keys() - expected)}
    split, note = _split(counts["trn"], counts["tst"])
    description = {"noise": noise, "noise_seed": seed, "source_doi": "10.1109/TMI.2018.2865356"}
    return Source("modl-hdf5", path, units, True, split, description=description, left_out=left_out, split_note=note)


def _split(train: int, test: int) -> tuple[dict[str, str], str]:
    """Return the split of Blumenthal et al. (2023), as far as there are slices, and a note if it is incomplete.

    Their validation slices are test slices, too.
    """
    split = {"train": f"trn0-{train - 1}"} if train else {}
    if test > _LAST_VALIDATION:
        split["validation"] = f"tst50-{_LAST_VALIDATION}/8"
    if test:
        split["test"] = f"tst0-{test - 1}"
    if train and test > _LAST_VALIDATION:
        return split, ""
    note = f"split: the published one needs trn slices and tst slices 0 to {_LAST_VALIDATION}"
    return split, f"{note}, found {train} trn and {test} tst slices; these become {' and '.join(split)}"


def _count(file: h5py.File, prefix: str, path: Path) -> int:
    """Check the shapes of a set and return its number of slices, 0 if the file does not have the set."""
    names = [prefix + suffix for suffix in _SUFFIXES]
    present = [name for name in names if name in file]
    if not present:
        return 0
    for name in names:
        if name not in file or not isinstance(file[name], h5py.Dataset):
            raise InputError(f"{path}: no array '{name}' beside '{present[0]}'")
    images, coils, masks = (tuple(file[name].shape) for name in names)
    if not _shapes_fit(images, coils, masks):
        reverse = _shapes_fit(images[::-1], coils[::-1], masks[::-1])
        raise InputError(
            f"{path}: {', '.join(names)} must have shapes (slices, rows, columns), (slices, coils, rows, columns) and "
            f"(slices, rows, columns), found {images}, {coils} and {masks}"
            + ("; their axes would fit in reverse order" if reverse else "")
        )
    check_axes(f"{path}: '{names[1]}'", dict(zip(("slice", "coil", "row", "column"), coils, strict=True)))
    return images[0]


def _shapes_fit(images: tuple[int, ...], coils: tuple[int, ...], masks: tuple[int, ...]) -> bool:
    return len(images) == 3 and len(coils) == 4 and (coils[0], *coils[2:]) == images == masks


def _load(path: Path, prefix: str, item: int, noise: float, seed: tuple[int, ...]) -> Slice:
    with opened(path, _FORM) as file:
        image = as_complex(file[f"{prefix}Org"][item], path, f"{prefix}Org").T
        coils = as_complex(file[f"{prefix}Csm"][item], path, f"{prefix}Csm").transpose(0, 2, 1)
        mask = as_complex(file[f"{prefix}Mask"][item], path, f"{prefix}Mask")
    if not (np.isfinite(image).all() and np.isfinite(coils).all()):
        raise InputError(f"{path}: values must be finite, found NaN or infinity in {prefix}{item}")
    other = mask[~np.isin(mask, (0, 1))]
    if other.size:
        raise InputError(f"{path}: a mask must hold 0 and 1, found {other[0]:g} in {prefix}{item}")
    kspace = centred_fft(coils * image)
    real, imaginary = np.random.default_rng(seed).normal(scale=noise * np.sqrt(0.5), size=(2, *kspace.shape))
    kspace = kspace + (real + 1j * imaginary).astype(np.complex64)
    return Slice(kspace, True, np.fft.fftshift(mask, axes=IMAGE).T, coils, image)
