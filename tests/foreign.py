"""Small files of other people's formats, each written by the library that owns it, of images that are known."""

from dataclasses import dataclass

import h5py
import numpy as np

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers import open_source
from bart_bridge.importers.convert import ImportPlan, convert
from bart_bridge.importers.pattern_choice import PatternChoice

X, Y, COILS, SLICES = 32, 36, 4, 3
IMAGE = (-2, -1)


def dft(image, axes=IMAGE):
    """The centred unitary DFT, written out here so that the package's own is not its judge."""
    for axis in axes:
        size = image.shape[axis]
        position = np.arange(size) - size // 2
        matrix = np.exp(-2j * np.pi * np.outer(position, position) / size) / np.sqrt(size)
        image = np.moveaxis(np.tensordot(matrix, image, axes=(1, axis)), 0, axis)
    return image


@dataclass(frozen=True)
class Truth:
    """Images `(slice, y, x)` without any symmetry, and coils `(coil, y, x)` with a root sum of squares of 1."""

    images: np.ndarray
    coils: np.ndarray

    @property
    def kspace(self):
        """Fully sampled k-space, `(slice, coil, y, x)`."""
        return dft(self.coils * self.images[:, None]).astype(np.complex64)

    def oversampled(self):
        """Coils `(coil, y, 2x)` and k-space `(slice, coil, y, 2x)` of twice the field of view along the readout.

        Outside of the image there is signal, too: a crop that is one pixel off shows.
        """
        generator = np.random.default_rng(5)
        wide = generator.normal(size=(SLICES, COILS, Y, 2 * X)) + 0j
        coils = generator.normal(size=(COILS, Y, 2 * X)) + 0j
        inside = slice(X // 2, X // 2 + X)
        coils[..., inside] = self.coils
        wide[..., inside] = self.coils * self.images[:, None]
        return coils.astype(np.complex64), dft(wide).astype(np.complex64)


def make_truth():
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:Y, :X] / 32
    images = np.zeros((SLICES, Y, X), complex)
    for image in images:
        for _ in range(6):
            centre_y, centre_x = generator.uniform(0.2, 0.8, size=2)
            value = generator.normal() + 1j * generator.normal()
            image += value * (np.hypot((y - centre_y) * 1.5, x - centre_x) < generator.uniform(0.1, 0.3))
    centres = [(0, 0.2), (0.3, 1), (1.1, 0.7), (0.6, 0)]
    coils = np.stack([np.exp(-((y - a) ** 2) - (x - b) ** 2 + 1j * (a * x + 2 * b * y)) for a, b in centres])
    coils /= np.sqrt(np.sum(np.abs(coils) ** 2, axis=0))
    return Truth(images.astype(np.complex64), coils.astype(np.complex64))


def regular_lines():
    """Every second line and more in the centre: four coils can tell the image from it."""
    return (np.arange(Y) % 2 == 1) | (np.abs(np.arange(Y) - Y // 2) < 4)


def import_to(folder, kind, path, split=None, pattern=None, coils="", toolbox=None, slices=None, **options):
    """Import as the command does and return the folder."""
    source = open_source(kind, path, **options)
    splits = source.split(split or {"test": "all"}, slices)
    convert(source, folder, ImportPlan(splits, pattern or PatternChoice(), coils), lambda: toolbox)
    return folder


def import_all(folder, kind, path, coils, slices=None, pattern="source", **options):
    """Import everything into `test` and return what the command says of it, and the arrays."""
    source = open_source(kind, path, **options)
    plan = ImportPlan(source.split({}, slices), PatternChoice(pattern, 2, 8), coils)
    imported = convert(source, folder, plan, lambda: None)
    split = Dataset.open(folder).split("test")
    split.validate()
    return imported, split.arrays()


def write_coils(truth, path):
    cfl.write(path, from_batch_coil_yx(truth.coils[None]))
    return path


# One writer for each kind; each returns what is to be imported.


def write_varnet(truth, folder, version="5", subjects=(1, 2), mask=True, pad=None):
    from scipy.io import savemat

    coils, kspace = truth.oversampled()
    write = savemat if version == "5" else write_mat73
    (folder / "masks").mkdir(parents=True)
    if mask:
        lines = np.broadcast_to(regular_lines(), (2 * X, Y)).astype(float)
        write(folder / "masks/COR_PD_FS_iPat4_masks.mat", {"mask": lines})
    for subject in subjects:
        (folder / str(subject)).mkdir()
        for number in range(SLICES):
            raw = {"rawdata": kspace[number].transpose(2, 1, 0)}
            if pad:
                raw |= {"padlength_left": float(pad[0]), "padlength_right": float(pad[1])}
            write(folder / f"{subject}/rawdata{number + 1}.mat", raw)
            maps = {"sensitivities": coils.transpose(2, 1, 0), "reference": np.zeros((2 * X, Y))}
            write(folder / f"{subject}/espirit{number + 1}.mat", maps)
    return folder


def write_mat73(path, variables):
    """MATLAB 7.3: HDF5 with 512 bytes before it, dimensions reversed, complex numbers as pairs."""
    pair = np.dtype([("real", "<f8"), ("imag", "<f8")])
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            values = np.atleast_2d(np.asarray(value)).T
            if np.iscomplexobj(values):
                pairs = np.empty(values.shape, pair)
                pairs["real"], pairs["imag"] = values.real, values.imag
                values = pairs
            file[name] = values
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))


def write_zenodo(truth, folder, subjects=(1, 2)):
    coils, kspace = truth.oversampled()
    folder.mkdir()

    def slices_along_13(array):
        bart = from_batch_coil_yx(array)
        return bart.reshape((*bart.shape[:13], SLICES, 1, 1))

    for subject in subjects:
        cfl.write(folder / f"ksp_{subject}", slices_along_13(kspace))
        cfl.write(folder / f"col_{subject}", slices_along_13(np.repeat(coils[None], SLICES, axis=0)))
    return folder


def write_modl(truth, path):
    """Rows of MoDL's images are our x."""
    mask = np.fft.ifftshift(np.broadcast_to(regular_lines(), (X, Y)))
    with h5py.File(path, "w") as file:
        for prefix in ("trn", "tst"):
            file[f"{prefix}Org"] = truth.images.transpose(0, 2, 1)
            file[f"{prefix}Csm"] = np.repeat(truth.coils.transpose(0, 2, 1)[None], SLICES, axis=0)
            file[f"{prefix}Mask"] = np.repeat(mask[None], SLICES, axis=0).astype(np.int8)
    return path


def header(readout=2 * X, view=2.0, repetitions=1, trajectory="CARTESIAN", partitions=1):
    from ismrmrd import xsd

    def space(x, factor, z=1):
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=x, y=Y, z=z),
            fieldOfView_mm=xsd.fieldOfViewMm(x=factor * 200.0, y=225.0, z=5.0),
        )

    encoding = xsd.encodingType(
        encodedSpace=space(readout, view, partitions),
        reconSpace=space(X, 1.0),
        trajectory=xsd.trajectoryType[trajectory],
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=Y - 1, center=Y // 2)
        ),
    )
    return xsd.ismrmrdHeader(
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=128000000), encoding=[encoding]
    ).toXML()


def write_fastmri(truth, path, undersampled=False):
    _, kspace = truth.oversampled()
    with h5py.File(path, "w") as file:
        stored = kspace.transpose(0, 1, 3, 2)
        if undersampled:
            stored = stored * regular_lines()
            file["mask"] = regular_lines()
        else:
            rss = np.sqrt(np.sum(np.abs(truth.coils * truth.images[:, None]) ** 2, axis=1)).transpose(0, 2, 1)
            file["reconstruction_rss"] = rss[..., Y // 2 - X // 2 :][..., :X].astype(np.float32)
        file["kspace"] = stored
        file["ismrmrd_header"] = header()
        file.attrs["acquisition"] = "CORPDFS_FBK"
    return path


def write_ismrmrd(truth, path, lines=range(Y), repetitions=1, **header_options):
    """Lines in random order, among lines that belong to no image; each line is two averages of which one is off."""
    import ismrmrd

    _, kspace = truth.oversampled()
    generator = np.random.default_rng(2)
    order = [(s, y, average, r) for s in range(SLICES) for y in lines for average in (0, 1) for r in range(repetitions)]
    with ismrmrd.Dataset(str(path), "dataset") as data:
        data.write_xml_header(header(**header_options).encode())
        for flag in (ismrmrd.ACQ_IS_NOISE_MEASUREMENT, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION):
            data.append_acquisition(acquisition(generator.normal(size=(COILS, 2 * X)) + 0j, flag))
        for index in generator.permutation(len(order)):
            number, y, average, repetition = order[index]
            line = acquisition(kspace[number, :, y] + (0.5 - average))
            line.idx.slice, line.idx.kspace_encode_step_1, line.idx.average = number, y, average
            line.idx.repetition = repetition
            data.append_acquisition(line)
    return path


def acquisition(values, flag=None):
    import ismrmrd

    line = ismrmrd.Acquisition()
    line.resize(values.shape[1], values.shape[0])
    line.data[:] = values
    line.center_sample = values.shape[1] // 2
    if flag:
        line.set_flag(flag)
    return line


def write_bart(truth, path):
    cfl.write(path, from_batch_coil_yx(truth.kspace))
    return path
