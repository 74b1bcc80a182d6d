"""Siemens raw data, written by `twixtools` with a protocol of only what an import reads."""

import contextlib
import io
import struct

import numpy as np
import twixtools
from twixtools.mdb import Mdb_local

from tests import foreign

COUNTERS = ("Lin", "Par", "Sli", "Ave", "Eco", "Phs", "Rep", "Set", "Seg")


def protocol(columns, rows, partitions=1, factor=2.0, **more):
    """The header of a measurement; `more` are values of the protocol, such as `alRegridMode="2"`."""
    meas = {"iRoFTLength": columns, "iPEFTLength": rows, "i3DFTLength": partitions, "alRegridMode": 1}
    kspace = {"ucDimension": 4 if partitions > 1 else 2, "ucTrajectory": 1, "lBaseResolution": int(columns / factor)}
    meas |= {name: value for name, value in more.items() if name in meas}
    kspace |= {name: value for name, value in more.items() if name not in meas}
    values = "".join(f'<ParamLong."{name}"> {{ {value} }}\n' for name, value in meas.items())
    values += f'<ParamDouble."flReadoutOSFactor"> {{ <Precision> 6 {factor:.6f} }}\n'
    lines = "".join(f"sKSpace.{name}\t = \t{value}\n" for name, value in kspace.items())
    parts = {"Config": "<XProtocol>\n", "Dicom": values, "Meas": values}
    parts["MeasYaps"] = f"### ASCCONV BEGIN ###\n{lines}\n### ASCCONV END ###\n"
    body = b"".join(
        name.encode() + b"\0" + struct.pack("<I", len(text) + 1) + text.encode() + b"\0" for name, text in parts.items()
    )
    size = -(-(8 + len(body)) // 32) * 32
    return np.frombuffer((struct.pack("<II", size, len(parts)) + body).ljust(size, b"\0"), "S1")


def line(values, flags=(), centre=None, cut=(0, 0), centres=(0, 0), **counters):
    """A line `(coil, sample)`; counters are those of the vendor, such as `Lin`; `centres` those of Lin and Par."""
    item = Mdb_local(np.asarray(values, np.complex64))
    for name, value in counters.items():
        assert name in COUNTERS
        setattr(item.mdh.Counter, name, value)
    item.mdh.CenterCol = values.shape[1] // 2 if centre is None else centre
    item.mdh.CutOff.Pre, item.mdh.CutOff.Post = cut
    item.mdh.CenterLin, item.mdh.CenterPar = centres
    for flag in ("ONLINE", *flags):
        item.add_flag(flag)
    return item


def write(path, measurements):
    """Write measurements, pairs of a header and lines, of which the images are in the last."""
    scans = [{"hdr_str": header, "mdb": list(lines)} for header, lines in measurements]
    with contextlib.redirect_stdout(io.StringIO()):  # it tells that it adds the last line
        twixtools.write_twix(scans, str(path))
    return path


def write_slices(truth, path):
    """Two averages of which one is off, lines in random order, a noise scan, and every second readout turned."""
    _, kspace = truth.oversampled()
    generator = np.random.default_rng(3)
    lines = [line(generator.normal(size=(foreign.COILS, 64)) + 0j, ["NOISEADJSCAN"])]
    order = [(s, y, average) for s in range(foreign.SLICES) for y in range(foreign.Y) for average in (0, 1)]
    for index in generator.permutation(len(order)):
        number, y, average = order[index]
        values = kspace[number, :, y] + (0.5 - average)
        turned = y % 2 == 1
        counters = {"Lin": y, "Sli": number, "Ave": average, "Seg": int(turned)}
        stored = values[:, ::-1] if turned else values
        lines.append(line(stored, ["REFLECT"] * turned, centres=(foreign.Y // 2, 0), **counters))
    return write(path, [(protocol(2 * foreign.X, foreign.Y), lines)])
