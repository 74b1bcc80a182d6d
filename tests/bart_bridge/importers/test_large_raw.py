"""Raw data of 4 GB are imported slice by slice, in a memory that does not grow with them."""

import h5py
import ismrmrd
import numpy as np
import pytest

from tests import foreign_raw
from tests.bart_bridge.importers.test_large import check_memory, noise

pytestmark = pytest.mark.slow

COILS = 24


def write_lines(path, xml, rows, samples, positions=None):
    """Write a line of noise for each `(slice, step 1, step 2)`, many at once."""
    values = noise(COILS, samples).view(np.float32).ravel()
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = xml.encode()
        data = group.create_dataset("data", (len(rows),), dtype=ismrmrd.hdf5.acquisition_dtype)
        for first in range(0, len(rows), 100):
            places = rows[first : first + 100]
            lines = np.zeros(len(places), ismrmrd.hdf5.acquisition_dtype)
            lines["head"]["active_channels"], lines["head"]["number_of_samples"] = COILS, samples
            lines["head"]["center_sample"] = samples // 2
            counters = ("slice", "kspace_encode_step_1", "kspace_encode_step_2")
            for name, column in zip(counters, np.transpose(places), strict=True):
                lines["head"]["idx"][name] = column
            for line, (_, spoke, _) in zip(lines, places, strict=True):
                line["data"] = values
                line["traj"] = np.zeros(0, np.float32)
                if positions is not None:
                    line["head"]["trajectory_dimensions"], line["traj"] = 2, positions[spoke].ravel()
            data[first : first + 100] = lines


def write_slices(folder):
    """64 slices whose lines take turns, as those of interleaved acquisitions do."""
    rows = [(item, y, 0) for y in range(264) for item in range(64)]
    write_lines(folder / "raw.h5", foreign_raw.header((1280, 264, 1), 640), rows, 1280)
    return "ismrmrd", folder / "raw.h5", (COILS, 264, 640), []


def write_volume(folder):
    rows = [(0, y, z) for z in range(160) for y in range(256)]
    write_lines(folder / "raw.h5", foreign_raw.header((512, 256, 160), 256), rows, 512)
    return "ismrmrd", folder / "raw.h5", (COILS, 160, 256), []


def write_spokes(folder):
    positions = foreign_raw.radial(264, 1280, reach=0.5)[:2].transpose(1, 2, 0).astype(np.float32)
    rows = [(item, spoke, 0) for spoke in range(264) for item in range(64)]
    xml = foreign_raw.header((640, 640, 1), trajectory="RADIAL")
    write_lines(folder / "raw.h5", xml, rows, 1280, positions)
    return "ismrmrd", folder / "raw.h5", (COILS, 640, 640), []


def write_twix(folder):
    """One line as twixtools writes it, again and again with other counters."""
    from twixtools.mdh_def import Scan_header

    from tests import foreign_twix

    header = foreign_twix.protocol(1280, 264)
    line = foreign_twix.line(noise(COILS, 1280), centres=(132, 0))
    foreign_twix.write(folder / "one.dat", [(header, [line])])
    content, start = (folder / "one.dat").read_bytes(), 10240 + len(header)
    line_end = start + int(line.dma_len)
    stored = bytearray(content[start:line_end])
    raid = bytearray(content[:start])
    raid[8 + 16 : 8 + 24] = bytes(8)  # a length of 0 stands for the rest of the file
    counter = Scan_header.Counter.offset
    with (folder / "meas.dat").open("wb") as file:
        file.write(raid)
        for y in range(264):
            for item in range(64):
                stored[counter : counter + 2] = y.to_bytes(2, "little")
                stored[counter + 4 : counter + 6] = item.to_bytes(2, "little")
                file.write(stored)
        file.write(content[line_end:])
    return "twix", folder / "meas.dat", (COILS, 264, 640), []


@pytest.mark.parametrize("write", [write_slices, write_volume, write_spokes, write_twix])
def test_memory_of_large_raw_data(write, tmp_path):
    check_memory(write(tmp_path), tmp_path)
