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
