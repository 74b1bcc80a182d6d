"""Files of several arrays: round trips, exchange with BART, headers that contradict themselves."""

import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from tests.bart_bridge.files.arrays import Interrupt, numbered, write_header

ARRAYS = [numbered(3), numbered(2, 1, 3, 2), numbered(1, 1), numbered(2, 3, 2)]


def test_multi_round_trip(tmp_path):
    multi_cfl.write(tmp_path / "a", ARRAYS)
    read = multi_cfl.read(tmp_path / "a")
    assert len(read) == len(ARRAYS)
    for found, expected in zip(read, ARRAYS, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.flags.writeable
        assert found.flags.f_contiguous


def test_bart_splits_what_we_wrote(toolbox, tmp_path):
    multi_cfl.write(tmp_path / "multi", ARRAYS)
    names = [tmp_path / f"part{number}" for number in range(len(ARRAYS))]
    toolbox.run("multicfl", "-s", tmp_path / "multi", *names)
    for name, expected in zip(names, ARRAYS, strict=True):
        np.testing.assert_array_equal(cfl.read(name), expected)


def test_reads_what_bart_combined(toolbox, tmp_path):
    for number, array in enumerate(ARRAYS):
        cfl.write(tmp_path / f"part{number}", array)
    toolbox.run("multicfl", *(tmp_path / f"part{number}" for number in range(len(ARRAYS))), tmp_path / "multi")
    for found, expected in zip(multi_cfl.read(tmp_path / "multi"), ARRAYS, strict=True):
        np.testing.assert_array_equal(found.reshape(expected.shape), expected)


def test_weights_that_reconet_wrote_survive_unchanged(toolbox, dataset_folder, tmp_path):
    train = dataset_folder / "train"
    options = ["--network=varnet", "--iterations=2", "--varnet-block=F=2,X=3,Y=5,W=4", "-Tepochs=1"]
    files = [train / "kspace", train / "coils", tmp_path / "trained", train / "reference"]
    toolbox.run("reconet", "--train", *options, *files)
    arrays = multi_cfl.read(tmp_path / "trained")
    assert [array.shape for array in arrays] == [(2,), (2, 1, 3, 5, 1, 2), (2, 4, 2)]
    multi_cfl.write(tmp_path / "copy", arrays)
    assert (tmp_path / "copy.cfl").read_bytes() == (tmp_path / "trained.cfl").read_bytes()
    sections = (tmp_path / "copy.hdr").read_text()
    assert (tmp_path / "trained.hdr").read_text().startswith(sections)


def multi_header(total, ranks, *dims):
    lines = "".join(f"{line} \n" for line in dims)
    return f"# Dimensions\n{total} \n# SizesDimensions\n{ranks} \n# MultiDimensions\n{lines}"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (multi_header(6, "1 2", "2", "2 2").replace("SizesDimensions", "Sizes"), "not a file of several arrays"),
        (multi_header(6, "1 2", "2", "2 2").replace("MultiDimensions", "Multi"), "no section 'MultiDimensions'"),
        (multi_header(6, "1 2", "2"), r"ranks \(1, 2\) do not match the 1 lines"),
        (multi_header(6, "1", "2", "2 2"), r"ranks \(1,\) do not match the 2 lines"),
        (multi_header(6, "2 1", "2", "2 2"), r"ranks \(2, 1\) do not match"),
        (multi_header(7, "1 2", "2", "2 2"), "the arrays hold 6 values, 'Dimensions' says 7"),
        (multi_header(6, "1 2", "2", "2 x"), "'MultiDimensions' must hold integers"),
        (multi_header(6, "1 2", "6", "2 0"), "'MultiDimensions' must hold positive integers"),
        (multi_header(-6, "1 2", "2", "2 2"), "'Dimensions' must hold positive integers"),
    ],
)
def test_multi_header_that_contradicts_itself(tmp_path, header, message):
    write_header(tmp_path / "a", header, 6)
    with pytest.raises(InputError, match=rf"a\.hdr: .*{message}"):
        multi_cfl.read(tmp_path / "a")


@pytest.mark.parametrize("arrays", [[], [np.ones(2), np.ones((0, 2))], [np.float32(1)]])
def test_unwritable_arrays_are_refused(tmp_path, arrays):
    with pytest.raises(InputError, match="non-empty dimensions are needed"):
        multi_cfl.write(tmp_path / "a", arrays)
    assert list(tmp_path.iterdir()) == []


def test_interrupted_multi_write_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        multi_cfl.write(tmp_path / "a", [numbered(2), np.array([1, Interrupt()], dtype=object)])
    assert list(tmp_path.iterdir()) == []


def test_the_rank_of_arrays_in_a_multi_cfl_is_limited(tmp_path):
    with pytest.raises(InputError, match="1 to 16"):
        multi_cfl.write(tmp_path / "a", [np.ones((1,) * 17)])
    (tmp_path / "a.hdr").write_text("# Dimensions\n1\n# SizesDimensions\n70\n# MultiDimensions\n" + "1 " * 70)
    (tmp_path / "a.cfl").write_bytes(bytes(8))
    with pytest.raises(InputError, match="found 70"):
        multi_cfl.read(tmp_path / "a")
