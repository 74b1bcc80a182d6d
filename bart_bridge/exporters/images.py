"""Images of a dataset, or of a BART file, as NIfTI or PNG.

A dataset does not contain the position of the patient. x of an image becomes the first axis of a NIfTI file and points
to the patient's left, y becomes the second and points to the back, slices point upwards (LPS, the axes of DICOM); a
voxel is 1 mm wide. A viewer in radiological convention then shows an image as a PNG file does: x to the right, y
downwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError, MissingExtraError
from bart_bridge.exporters import Exported, OnProgress
from bart_bridge.exporters.slices import open_splits
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import to_batch_map_yx
from bart_bridge.importers.source import Complex
from bart_bridge.wording import counted

# From voxels to mm along right, anterior, superior.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
Images = Complex  # (slice, map, y, x), memory-mapped


def write_nifti(source: Path, target: Path, on_progress: OnProgress) -> Exported:
    """Write the folder `target` with magnitude and phase `[x, y, slice]` of each split or array, float32.

    The names `NAME_part-mag.nii.gz` and `NAME_part-phase.nii.gz` are those of BIDS; phases are in radians. Several maps
    become a fourth axis.

    Raises:
        InputError: There are no images in the source.
        MissingExtraError: nibabel is not installed.
    """
    if not find_spec("nibabel"):
        raise MissingExtraError("nibabel", "nifti")
    import nibabel

    images = _open(source)
    total, done = sum(map(len, images.values())), 0
    with atomic.new_folder(target) as folder:
        for name, values in images.items():
            volume = np.asarray(values).transpose(3, 2, 0, 1)
            volume = volume[..., 0] if volume.shape[3] == 1 else volume
            for part, numbers in (("mag", np.abs(volume)), ("phase", np.angle(volume))):
                nibabel.save(nibabel.Nifti1Image(numbers, LPS), folder / f"{name}_part-{part}.nii.gz")
            done += len(values)
            on_progress(done, total)
    notes = [
        "orientation: x to the left, y to the back (LPS), voxels of 1 mm; the dataset does not contain the patient's"
    ]
    return Exported(", ".join(f"{name}_part-mag.nii.gz and -phase" for name in images), notes)


def write_png(source: Path, target: Path, on_progress: OnProgress) -> Exported:
    """Write the folder `target` with a magnitude image `NAME-0000.png` for each slice, 8 bits.

    0 is black, the largest magnitude of all slices of a split is white. Maps are combined as root sum of squares.

    Raises:
        InputError: There are no images in the source.
    """
    from PIL import Image

    images = _open(source)
    total = sum(map(len, images.values()))
    done, notes = 0, []
    with atomic.new_folder(target) as folder:
        for name, values in images.items():
            largest = max(float(image.max()) for image in _magnitudes(values)) or 1.0
            notes.append(f"{name}: white is {largest:.6g}")
            for number, image in enumerate(_magnitudes(values)):
                grey = np.round(image * (255 / largest)).astype(np.uint8)
                Image.fromarray(grey).save(folder / f"{name}-{number:04}.png")
                done += 1
                on_progress(done, total)
    return Exported(counted(total, "image"), notes)


def _magnitudes(images: Images) -> Iterator[NDArray[np.float64]]:
    """Yield the magnitude `(y, x)` of each slice."""
    for maps in images:
        yield np.sqrt(np.sum(np.abs(maps.astype(np.complex128)) ** 2, axis=0))


def _open(source: Path) -> dict[str, Images]:
    """Return the references of each split, or the images of a BART file, by a name for the files.

    Raises:
        InputError: There are none, or a value is not finite.
    """
    if source.is_dir():
        splits = {name: split for name, split in open_splits(source).items() if split.reference}
        if not splits:
            raise InputError(f"{source}: it has no references; export the images that 'bart-tf apply' makes of it")
        images = {name: split.arrays()["reference"] for name, split in splits.items()}
    else:
        array = cfl.read(source)
        try:
            images = {cfl.stem(source).name: to_batch_map_yx(array)}
        except InputError as error:
            raise InputError(f"{source}: no images: {error}") from None
    for name, values in images.items():
        for number, image in enumerate(values):
            if not np.isfinite(image).all():
                raise InputError(f"{source}: values must be finite, found NaN or infinity in image {number} of {name}")
    return images
