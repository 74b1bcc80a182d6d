"""Single files other than BART's, told apart by their first bytes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.importers import twix
from bart_bridge.importers.matlab_tags import check_version_5
from bart_bridge.importers.source import reading
from bart_bridge.inspection import hdf5
from bart_bridge.inspection.description import Description, listed, sizes

_IMAGES = "n/a (images, not k-space)"
_FIRST_BYTES = 544
# Files that are only named.
_BY_START = {
    b"rawarray": ("RawArray (.ra)", "n/a (BART converts it: bart copy FILE.ra FILE)"),
    b"\x89PNG": ("PNG picture", _IMAGES),
    b"PK\x03\x04": ("ZIP archive", "n/a (a Keras model if it ends in .keras: see bart-tf weights info; or unpack it)"),
    b"\x1f\x8b": ("gzip", "n/a (unpack it)"),
}
_BY_SUFFIX = {
    ".7": "GE P-file, by its name",
    ".lab": "Philips raw data, by its name",
    ".sin": "Philips raw data, by its name",
    ".raw": "Philips raw data, by its name",
    ".par": "Philips images, by their name",
    ".rec": "Philips images, by their name",
    ".seq": "Pulseq sequence, by its name",
    ".index": "TensorFlow 1 checkpoint, by its name (see bart-tf weights info)",
}
_CONVERT = "n/a (convert it to ISMRMRD)"


def describe(path: Path) -> Description:
    """Describe a file.

    Raises:
        InputError: It is damaged, or nothing of the field.
    """
    with path.open("rb") as file:
        start = file.read(_FIRST_BYTES)
    if h5py.is_hdf5(path) or start.startswith((b"\x89HDF", b"MATLAB 7.3")):
        # Other programs write files of MATLAB without its first line.
        return hdf5.describe(path, start.startswith(b"MATLAB") or path.suffix == ".mat")
    if start.startswith(b"MATLAB 5"):
        return _matlab5(path)
    if start[128:132] == b"DICM":
        return Description(path, "DICOM", [], without_import="n/a (images, not k-space; bart-tf does not read them)")
    if is_nifti(path, start):
        return _nifti(path)
    if start.startswith(b"\x93NUMPY"):
        with reading(path, "an array of NumPy"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        rows = [("array", f"({sizes(array.shape)}) {array.dtype}")]
        return Description(path, "array of NumPy", rows, without_import="n/a (write_cfl makes a BART array of it)")
    if path.suffix == ".dat" and (generation := twix.generation(start)):
        rows = [("generation", generation[0]), ("measurements", str(generation[1]))]
        return Description(path, "Siemens raw data (twix), by its name and first bytes", rows, "twix")
    for magic, (what, reason) in _BY_START.items():
        if start.startswith(magic):
            return Description(path, what, [], without_import=reason)
    if path.suffix.lower() in _BY_SUFFIX:
        return Description(path, _BY_SUFFIX[path.suffix.lower()], [], without_import=_CONVERT)
    size = path.stat().st_size
    begins = f"{size} bytes that begin with {start[:8]!r}" if size else "an empty file"
    raise InputError(f"{path}: not recognised ({begins}); bart-tf knows HDF5, MATLAB, BART, NIfTI, twix and DICOM")


def is_nifti(path: Path, start: bytes) -> bool:
    """Tell whether the first bytes, or the name of a compressed file, are those of NIfTI."""
    return start[344:347] in {b"n+1", b"ni1"} or start[4:7] in {b"n+2", b"ni2"} or path.name.endswith(".nii.gz")


def _matlab5(path: Path) -> Description:
    from scipy.io import whosmat

    with reading(path, "MATLAB 5"):
        check_version_5(path)
        variables = whosmat(path)
    rows = [("variables", listed(f"{name} ({sizes(shape)}) {type_}" for name, shape, type_ in variables))]
    return hdf5.describe_matlab(path, "MATLAB 5", [name for name, _, _ in variables], rows)


def _nifti(path: Path) -> Description:
    if not find_spec("nibabel"):
        return Description(path, "NIfTI", [("size", "n/a (needs the extra 'nifti')")], without_import=_IMAGES)
    import nibabel

    with reading(path, "NIfTI"):
        image = nibabel.load(path)
        rows = [("size", f"{sizes(image.shape)} {image.get_data_dtype()}")]
        rows.append(("voxel", f"{' x '.join(f'{zoom:.4g}' for zoom in image.header.get_zooms()[:3])} mm"))
        rows.append(("axes", f"{''.join(code or '?' for code in nibabel.aff2axcodes(image.affine))}"))
    return Description(path, "NIfTI", rows, without_import=_IMAGES)
