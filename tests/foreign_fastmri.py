"""Files in the layouts of fastMRI's relatives: prostate, folders of several sizes, M4Raw and SKM-TEA."""

import tempfile
from pathlib import Path

import h5py
import numpy as np

from bart_bridge.exporters import export
from tests import foreign, foreign_raw
from tests.foreign import COILS, SLICES, X, Y


def write_prostate(truth, path, averages=3, calibration=8):
    """Odd lines in the first and third average, even ones in the second; the first and third differ by an offset.

    Tibrewala et al. (2024), doi 10.1038/s41597-024-03252-w, and the reader of its authors.
    """
    _, kspace = truth.oversampled()
    stored = np.zeros((averages, SLICES, COILS, 2 * X, Y), np.complex64)
    for average in range(averages):
        lines = np.arange(Y) % 2 == (average + 1) % 2
        offset = {0: 0.5, 2: -0.5}.get(average, 0)
        stored[average] = (kspace.transpose(0, 1, 3, 2) + offset) * lines
    with h5py.File(path, "w") as file:
        file["kspace"] = stored
        first = Y // 2 - calibration // 2
        file["calibration_data"] = kspace.transpose(0, 1, 3, 2)[..., first : first + calibration]
        file["ismrmrd_header"] = foreign.header()
        file["reconstruction_rss"] = np.ones((SLICES, X, X), np.float32)
        file.attrs["acquisition"] = "AXT2"
    return path


def write_volumes(truth, folder, sizes=((Y, COILS), (Y - 4, COILS), (Y, COILS - 1)), each=2):
    """Volumes of several numbers of lines and coils in one folder, as brain data have them."""
    folder.mkdir()
    _, kspace = truth.oversampled()
    for number, (lines, coils) in enumerate(sizes):
        for copy in range(each - (number > 0)):
            start = Y // 2 - lines // 2
            with h5py.File(folder / f"file_brain_{number}{copy}.h5", "w") as file:
                file["kspace"] = kspace.transpose(0, 1, 3, 2)[:, :coils, :, start : start + lines]
                file["ismrmrd_header"] = foreign.header()
                file.attrs["acquisition"] = "AXT1" if copy else "AXFLAIR"
    return folder


def write_m4raw(truth, folder, contrasts=("T1", "FLAIR"), repetitions=2, edges=(0, 0)):
    """Repetitions that differ by an offset whose mean is 0, with a header that is not one of ISMRMRD.

    Lyu et al. (2023), doi 10.1038/s41597-023-02181-4, and the tutorial of its authors.
    """
    folder.mkdir(exist_ok=True)
    kspace = truth.kspace.transpose(0, 1, 3, 2).copy()
    lines = (np.arange(Y) >= edges[0]) & (np.arange(Y) < Y - edges[1])
    for contrast in contrasts:
        for repetition in range(repetitions):
            offset = repetition - (repetitions - 1) / 2
            with h5py.File(folder / f"2022061003_{contrast}{repetition + 1:02}.h5", "w") as file:
                file["kspace"] = ((kspace + offset) * lines).astype(np.complex64)
                file["reconstruction_rss"] = np.ones((SLICES, X, Y), np.float32)
                file["ismrmrd_header"] = (
                    '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
                    "<sequenceParameters><TR>500</TR><echo_spacing>N/A</echo_spacing></sequenceParameters></ismrmrdHeader>"
                )
                file.attrs["acquisition"] = f"AX{contrast}"
    return folder


def write_skm_tea(truth, path, echo=1):
    """The image in one of two echoes, noise in the other; our y is ky, our x is kz.

    Desai et al. (2021), arXiv 2203.06823, and `DATASET.md` of its authors.
    """
    noise = np.random.default_rng(3).normal(size=(SLICES, Y, X, 2, COILS)).astype(np.complex64)
    kspace, target = noise.copy(), noise[..., :1].copy()
    kspace[:, :, :, echo] = truth.kspace.transpose(0, 2, 3, 1)
    target[:, :, :, echo, 0] = truth.images
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        file["maps"] = np.repeat(truth.coils.transpose(1, 2, 0)[None, ..., None], SLICES, axis=0)
        file["target"] = target
        file["masks/poisson_6.0x"] = np.ones((Y, X), np.uint8)
    return path


def write_breast(truth, path, spokes=64, images=4, partitions=None, centre=None):
    """The three images, cut to squares, and an empty one; spokes as in the authors' code, written out.

    Solomon et al. (2024), arXiv 2406.05270; github.com/eddysolo/demo_dce_recon.
    """
    angles, steps = np.deg2rad(111.24611797) * np.arange(spokes), (np.arange(2 * X) - X) / 2
    positions = np.stack([np.outer(np.sin(angles), steps), np.outer(np.cos(angles), steps)])
    square = slice((Y - X) // 2, (Y - X) // 2 + X)
    stack = np.zeros((images, COILS, spokes, 2 * X), complex)
    for number, image in enumerate(truth.images):
        stack[number] = foreign_raw.sampled((truth.coils * image)[:, square], positions)
    # The authors' transform of partitions is a centred forward DFT; this is its inverse.
    stored = foreign.dft(stack.conj(), axes=(0,)).conj()
    kept = slice(0, partitions)
    parts = np.stack([stored.real, stored.imag]).transpose(0, 3, 4, 2, 1)[..., kept]
    with h5py.File(path, "w") as file:
        kspace = file.create_dataset("kspace", data=parts.astype(np.float32))
        kspace.attrs["partitions"] = str(parts.shape[-1])
        kspace.attrs["centerPartition"] = str(centre or images // 2 + 1)
        kspace.attrs["imagesPerSlab"] = str(images)
        file["temptv"] = np.zeros((images, 2, X, X), np.float32)
    return path


def write_exported(truth, folder, kind, source=None):
    """What `bart-tf export` makes of a dataset; `source` is a file of ISMRMRD (default: k-space of BART)."""
    with tempfile.TemporaryDirectory() as name:
        path = source or foreign.write_bart(truth, Path(name) / "kspace")
        coils = str(foreign.write_coils(truth, Path(name) / "coils"))
        data = foreign.import_to(Path(name) / "data", "ismrmrd" if source else "cfl", path, coils=coils)
        export(kind, data, folder / "exported")
    return folder / "exported"
