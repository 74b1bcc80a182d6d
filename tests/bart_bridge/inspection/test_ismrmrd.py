"""What `bart-tf inspect` says of ISMRMRD files: encodings, counters, flags, groups and trajectories."""

import h5py
import numpy as np

from bart_bridge.inspection import inspect
from tests import foreign, foreign_raw
from tests.bart_bridge.inspection.conftest import command, facts, measured
from tests.foreign import COILS, SLICES, X, Y


def test_ismrmrd(truth, tmp_path):
    lines = np.flatnonzero(foreign.regular_lines())
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", lines, repetitions=2)
    rows = measured(path, truth, "ISMRMRD raw data")
    assert rows["encoding 0"] == (
        f"cartesian, encoded {2 * X} x {Y} x 1 in 400 x 225 x 5 mm, reconstructed {X} x {Y} x 1 in 200 x 225 x 5 mm"
    )
    assert rows["acquisitions"] == str(SLICES * len(lines) * 4 + 2)
    assert rows["ACQ_IS_NOISE_MEASUREMENT"] == "1"
    assert (rows["averages"], rows["repetitions"]) == ("2 (0 to 1)", "2 (0 to 1)")
    assert command(rows) == ("ismrmrd", ["--repetition=0"])


def write_groups(truth, path, names, rows=range(0, Y, 2)):
    """One slice in each group, the first of which is complete and has two contrasts."""
    for number, name in enumerate(names):
        contrasts, taken = ((0, 1), range(Y)) if number == 0 else ((0,), rows)
        kspace = (number + 1) * truth.kspace[number % SLICES]
        lines = [item for contrast in contrasts for item in foreign_raw.slice_lines(kspace, taken, contrast=contrast)]
        foreign_raw.write(path, foreign_raw.header(), lines, name)
    return path


def groups_of(path):
    """The rows before the first group, and those of each group by its name."""
    parts = {None: {}}
    for name, text in inspect(path).table():
        if name == "group":
            parts[text] = {}
        else:
            list(parts.values())[-1][name] = text
    return parts


def test_groups_are_described_one_by_one(truth, tmp_path):
    parts = groups_of(write_groups(truth, tmp_path / "raw.h5", ["first", "the second", "third"]))
    assert parts.pop(None) == {"format": "ISMRMRD raw data", "groups": "3 (first, the second, third)"}
    assert list(parts) == ["first", "the second", "third"]
    shares = ["100.0%, counts as fully sampled", "50.0% (acceleration 2.00)", "50.0% (acceleration 2.00)"]
    assert [rows["sampled"] for rows in parts.values()] == shares
    assert [rows["acquisitions"] for rows in parts.values()] == [str(2 * Y), str(Y // 2), str(Y // 2)]
    for number, rows in enumerate(parts.values()):
        kept = truth.kspace[number] if number == 0 else truth.kspace[number, :, ::2]
        peak = (number + 1) * np.sqrt(np.sum(np.abs(kept) ** 2, axis=0)).max()
        assert rows["peak of k-space"].endswith(f"magnitude {peak:.4g}")
        assert (rows["coils"], rows["pixels"].split(" (")[0]) == (str(COILS), f"{X} x {Y}")
    assert parts["first"]["contrasts"] == "2 (0 to 1)"
    assert command(parts["first"]) == ("ismrmrd", ["--group=first", "--contrast=0"])
    assert command(parts["the second"]) == ("ismrmrd", ["--group=the second"])


def test_many_groups_are_one_line_each(truth, tmp_path):
    names = [f"scan_{number:02}" for number in range(34)]
    parts = groups_of(write_groups(truth, tmp_path / "raw.h5", names, rows=range(17, 20)))
    assert list(parts) == [None, "scan_00"]
    assert parts[None]["groups"].startswith("34 (scan_00, scan_01, ")
    assert parts[None]["group scan_00"].startswith(f"{2 * Y} acquisitions; cartesian, encoded {X} x {Y} x 1 in ")
    assert parts[None]["group scan_31"].startswith("3 acquisitions; cartesian, encoded ")
    assert "group scan_32" not in parts[None]
    assert parts[None]["more groups"] == "2"
    assert command(parts["scan_00"]) == ("ismrmrd", ["--group=scan_00", "--contrast=0"])


def test_one_group_without_a_header_does_not_hide_the_others(truth, tmp_path):
    path = write_groups(truth, tmp_path / "raw.h5", ["first", "second"])
    with h5py.File(path, "r+") as file:
        del file["first/xml"]
    parts = groups_of(path)
    assert parts["first"]["import"] == "n/a (no 'first/xml' in it, which is the header (found: data))"
    assert command(parts["second"]) == ("ismrmrd", ["--group=second"])


def test_commands_of_all_groups_stay_whole(truth, tmp_path):
    description = inspect(write_groups(truth, tmp_path / ("a long name " * 8 + ".h5"), ["first", "second"]))
    lines = description.text(80).splitlines()
    commands = [part.command for part in description.parts.values()]
    indent = lines[0].index("ISMRMRD")
    assert [line[indent:] for line in lines if line.startswith("import")] == commands
    assert max(len(line) for line in lines if not line.startswith("import")) <= 80
    assert lines.count("") == 2


def test_groups_of_images_are_no_raw_data(truth, tmp_path):
    path = write_groups(truth, tmp_path / "raw.h5", ["first"])
    with h5py.File(path, "r+") as file:
        file["images/data"] = np.ones((2, 3), np.float32)
    assert command(facts(path)) == ("ismrmrd", ["--contrast=0"])


def test_radial_ismrmrd(truth, tmp_path):
    path = foreign_raw.write_radial(truth, tmp_path / "raw.h5", foreign_raw.radial())
    rows = facts(path)
    assert rows["encoding 0"].startswith("radial, ")
    assert rows["trajectory"] == f"48 spokes of {2 * X} samples up to {X // 2} / field of view"
    assert rows["peak of k-space"].endswith(f"magnitude {peak_on(path):.4g}")
    assert command(rows) == ("ismrmrd", [])


def peak_on(path):
    with h5py.File(path) as file:
        lines = [np.array(row).view(np.complex64).reshape(COILS, -1) for row in file["dataset/data"]["data"]]
    return max(np.sqrt(np.sum(np.abs(line) ** 2, axis=0)).max() for line in lines)


def test_a_file_that_no_importer_takes_says_why(truth, tmp_path):
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", range(0, Y, 6))
    with h5py.File(path, "r+") as file:
        data = file["dataset/data"][()]
        data["head"]["flags"] = 1 << 18
        file["dataset/data"][...] = data
    rows = facts(path)
    assert rows["import"].startswith("n/a (no image lines in it (lines flagged ACQ_IS_NOISE_MEASUREMENT: 38")
