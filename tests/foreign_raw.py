"""ISMRMRD files line by line, written by the package that owns the format, of the images in `tests.foreign`."""

import ismrmrd
import numpy as np

from tests import foreign

CALIBRATION, BOTH = ismrmrd.ACQ_IS_PARALLEL_CALIBRATION, ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING
NOISE, REVERSE = ismrmrd.ACQ_IS_NOISE_MEASUREMENT, ismrmrd.ACQ_IS_REVERSE


def header(encoded=(foreign.X, foreign.Y, 1), pixels=None, trajectory="CARTESIAN", encodings=1, centre=None):
    """An XML header; `pixels` is the readout without oversampling, of a field of view of 200 mm."""
    from ismrmrd import xsd

    x, y, z = encoded
    pixels = pixels or x

    def space(readout, view):
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=readout, y=y, z=z),
            fieldOfView_mm=xsd.fieldOfViewMm(x=view, y=225.0, z=5.0),
        )

    def limits(size, middle):
        return xsd.limitType(minimum=0, maximum=size - 1, center=size // 2 if middle is None else middle)

    encoding = xsd.encodingType(
        encodedSpace=space(x, 200.0 * x / pixels),
        reconSpace=space(pixels, 200.0),
        trajectory=xsd.trajectoryType[trajectory],
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=limits(y, centre), kspace_encoding_step_2=limits(z, None)
        ),
    )
    conditions = xsd.experimentalConditionsType(H1resonanceFrequency_Hz=128000000)
    return xsd.ismrmrdHeader(experimentalConditions=conditions, encoding=[encoding] * encodings).toXML()


def line(values, flags=(), positions=None, **fields):
    """A line `(coil, sample)`; fields are those of its counters or of its head, positions `(sample, dimension)`."""
    acquisition = ismrmrd.Acquisition()
    acquisition.resize(values.shape[1], values.shape[0], 0 if positions is None else positions.shape[1])
    acquisition.data[:] = values
    if positions is not None:
        acquisition.traj[:] = positions
    acquisition.center_sample = values.shape[1] // 2
    for flag in flags:
        acquisition.set_flag(flag)
    for name, value in fields.items():
        target = acquisition.idx if hasattr(acquisition.idx, name) else acquisition
        setattr(target, name, value)
    return acquisition


def write(path, xml, lines, group="dataset"):
    """Write lines into a group of a file, which may have others."""
    with ismrmrd.Dataset(str(path), group) as data:
        data.write_xml_header(xml.encode() if isinstance(xml, str) else xml)
        for item in lines:
            data.append_acquisition(item)
    return path


def slice_lines(kspace, rows=None, flags=(), **fields):
    """The lines of k-space `(coil, y, x)`."""
    rows = range(kspace.shape[1]) if rows is None else rows
    return [line(kspace[:, y], flags, kspace_encode_step_1=y, **fields) for y in rows]


def write_turned(truth, path):
    """EPI: every second line was read out backwards; its samples are stored as they came."""
    _, kspace = truth.oversampled()
    lines = [item for number in range(foreign.SLICES) for item in slice_lines(kspace[number], slice=number)]
    for item in lines[1::2]:
        item.data[:] = item.data[:, ::-1].copy()
        item.set_flag(REVERSE)
    return write(path, header((2 * foreign.X, foreign.Y, 1), foreign.X, "EPI"), lines)


def write_volume(truth, path, rows=None, **options):
    """A volume whose three positions along an oversampled readout are the slices of the truth.

    Its partitions are the rows of a slice, its phase-encoding steps the columns.
    """
    generator = np.random.default_rng(6)
    hybrid = generator.normal(size=(foreign.COILS, foreign.Y, foreign.X, 2 * foreign.SLICES)) + 0j
    hybrid[..., 2:5] = truth.kspace.transpose(1, 2, 3, 0)
    kspace = foreign.dft(hybrid, axes=(-1,))
    places = [(z, y) for z in (range(foreign.Y) if rows is None else rows) for y in range(foreign.X)]
    lines = [
        line(kspace[:, z, y], kspace_encode_step_1=y, kspace_encode_step_2=z)
        for z, y in (places[number] for number in generator.permutation(len(places)))
    ]
    shape = 2 * foreign.SLICES, foreign.X, foreign.Y
    return write(path, header(shape, foreign.SLICES), [*lines, *options.get("more", lambda _: [])(kspace)])


def radial(spokes=48, samples=2 * foreign.X, reach=foreign.X / 2):
    """Positions `(3, spoke, sample)` in 1 / field of view, and the exact k-space of an image at them."""
    angles = np.pi * np.arange(spokes) / spokes
    steps = reach * (np.arange(samples) - samples // 2) / (samples // 2)
    return np.stack([np.outer(np.cos(angles), steps), np.outer(np.sin(angles), steps), np.zeros((spokes, samples))])


def sampled(images, positions):
    """The unitary Fourier sum of images `(..., y, x)` at positions, written out."""
    y_size, x_size = images.shape[-2:]
    x, y = np.arange(x_size) - x_size // 2, np.arange(y_size) - y_size // 2
    along_x = np.exp(-2j * np.pi * positions[0][..., None] * x / x_size)
    along_y = np.exp(-2j * np.pi * positions[1][..., None] * y / y_size)
    values = np.einsum("cyx,stx,sty->cst", images, along_x, along_y, optimize=True)
    return values / np.sqrt(x_size * y_size)


# Pixels of 200 / 32 = 225 / 36 mm.
FACTORS = {
    "cycles per pixel": (1 / foreign.X, 1 / foreign.Y),
    "radians per pixel": (2 * np.pi / foreign.X, 2 * np.pi / foreign.Y),
    "1 / field of view": (1, 1),
    "1/m": (1 / 0.2, 1 / 0.225),
    "rad/m": (2 * np.pi / 0.2, 2 * np.pi / 0.225),
}


def write_radial(truth, path, positions, unit="1 / field of view", third=None, xml=None, numbers=(0,)):
    factors = np.array([*FACTORS[unit], 1])[: 3 if third is not None else 2]
    lines = []
    for number in numbers:
        values = sampled(truth.coils * truth.images[number], positions)
        for spoke in range(values.shape[1]):
            stored = positions[: len(factors), spoke].T * factors
            if third is not None:
                stored[:, 2] = third
            lines.append(line(values[:, spoke], positions=stored, slice=number, kspace_encode_step_1=spoke))
    return write(path, xml or header(trajectory="RADIAL"), lines)
