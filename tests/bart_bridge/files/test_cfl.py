"""Array files: round trips, exchange with BART, damaged files, and writes that are interrupted."""

import contextlib
import os
import threading

import numpy as np
import pytest

from bart_bridge.data.fourier import centred_fft
from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from tests.bart_bridge.files.arrays import Interrupt, numbered, write_header

SIXTEEN = (2, 3, 1, 2, 1, 1, 2, 1, 1, 1, 3, 1, 1, 2, 1, 2)


# Round trips


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("rank", range(1, 17))
def test_round_trip(tmp_path, rank, order):
    array = np.asarray(numbered(*SIXTEEN[-rank:]), order=order)
    cfl.write(tmp_path / "a", array)
    assert cfl.read_dims(tmp_path / "a") == array.shape
    np.testing.assert_array_equal(cfl.read(tmp_path / "a"), array)


def test_file_holds_fortran_order(tmp_path):
    array = numbered(2, 3, 4)
    cfl.write(tmp_path / "a", array)
    assert (tmp_path / "a.cfl").read_bytes() == array.tobytes(order="F")
    assert cfl.read(tmp_path / "a").flags.f_contiguous


@pytest.mark.parametrize(
    "view", [lambda a: a[::-1, ::2], lambda a: a.T, lambda a: a.real, lambda a: a.real.astype(int)]
)
def test_any_numeric_view_is_written(tmp_path, view):
    array = view(numbered(4, 6))
    cfl.write(tmp_path / "a", array)
    np.testing.assert_array_equal(cfl.read(tmp_path / "a"), array)


@pytest.mark.parametrize("name", ["a", "a.cfl", "a.hdr", "a.b", "0.5"])
def test_name_with_or_without_suffix(tmp_path, name):
    cfl.write(tmp_path / name, numbered(2))
    assert cfl.exists(tmp_path / name)
    assert cfl.stem(tmp_path / name).name == name.removesuffix(".cfl").removesuffix(".hdr")
    assert cfl.read(tmp_path / name).shape == (2,)


@pytest.mark.parametrize("path", [".", "/", ".."])
def test_a_folder_without_a_name_is_no_array(path):
    assert not cfl.exists(path)
    with pytest.raises(InputError, match=r"\.hdr: no such file"):
        cfl.read(path)


def test_exists_needs_both_files(tmp_path):
    cfl.write(tmp_path / "a", numbered(2))
    (tmp_path / "a.hdr").unlink()
    assert not cfl.exists(tmp_path / "a")


# Exchange with BART


def test_bart_shows_what_we_wrote(toolbox, tmp_path):
    array = numbered(2, 3)
    cfl.write(tmp_path / "a", array)
    shown = toolbox.run("show", tmp_path / "a").stdout
    rows = [[complex(word.replace("i", "j")) for word in line.split()] for line in shown]
    np.testing.assert_array_equal(np.array(rows), array.T)


def test_bart_transforms_what_we_wrote(toolbox, tmp_path):
    array = numbered(6, 5, 1, 2)
    cfl.write(tmp_path / "in", array)
    toolbox.run("fft", "-u", 3, tmp_path / "in", tmp_path / "out")
    expected = centred_fft(array, axes=(0, 1))
    np.testing.assert_allclose(cfl.read(tmp_path / "out").squeeze(), expected.squeeze(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 7, 16])
def test_bart_reads_every_rank(toolbox, tmp_path, rank):
    array = numbered(*SIXTEEN[:rank])
    cfl.write(tmp_path / "in", array)
    toolbox.run("scale", 2, tmp_path / "in", tmp_path / "out")
    np.testing.assert_array_equal(cfl.read(tmp_path / "out").squeeze(), 2 * array.squeeze())


def test_reads_what_bart_wrote(toolbox, tmp_path):
    toolbox.run("ones", 4, 2, 3, 1, 5, tmp_path / "ones")
    array = cfl.read(tmp_path / "ones")
    assert array.shape[:4] == (2, 3, 1, 5)
    assert np.all(array == 1)


# Memory mapping


def test_reading_maps_the_file(tmp_path):
    cfl.write(tmp_path / "a", numbered(2, 3))
    array = cfl.read(tmp_path / "a")
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_file_larger_than_memory_is_opened(tmp_path):
    shape = (1 << 20, 1 << 16)  # 512 GiB, not one byte of it on the disk
    (tmp_path / "a.hdr").write_text(f"# Dimensions\n{shape[0]} {shape[1]}\n")
    with (tmp_path / "a.cfl").open("wb") as file:
        file.truncate(8 * shape[0] * shape[1])
    array = cfl.read(tmp_path / "a")
    (tmp_path / "a.cfl").unlink()  # so that nobody copies it; the mapping stays
    assert array.shape == shape
    assert array[-1, -1] == 0


# Damaged files


@pytest.mark.parametrize("read", [cfl.read, multi_cfl.read])
@pytest.mark.parametrize("suffix", [".hdr", ".cfl"])
def test_missing_file_is_named(tmp_path, read, suffix):
    multi_cfl.write(tmp_path / "a", [numbered(2)])
    (tmp_path / f"a{suffix}").unlink()
    with pytest.raises(InputError, match=rf"a\{suffix}: no such file"):
        read(tmp_path / "a")


@pytest.mark.parametrize("read", [cfl.read, multi_cfl.read])
@pytest.mark.parametrize("size", [0, 47, 49, 8000])
def test_wrong_length_is_refused_with_both_sizes(tmp_path, read, size):
    multi_cfl.write(tmp_path / "a", [numbered(6)])
    os.truncate(tmp_path / "a.cfl", size)
    with pytest.raises(InputError, match=rf"a\.cfl: dimensions 6 need 48 bytes, the file has {size}$"):
        read(tmp_path / "a")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("", "no section 'Dimensions'"),
        ("# Dimensions\n", "no section 'Dimensions'"),
        ("# Dimensions\n\n \n# Creator\nBART\n", "no section 'Dimensions'"),
        ("2 3\n", "no section 'Dimensions'"),
        (bytes(range(256)) * 4, "no section 'Dimensions'"),
        (b"# Dimensions\n\xff\xfe\x00\x01\n", "must hold integers"),
        ("# Dimensions\n2 x\n", "must hold integers, found '2 x'"),
        ("# Dimensions\n1.5 2\n", "must hold integers, found '1.5 2'"),
        ("# Dimensions\n" + "9" * 5000, "must hold integers"),
        ("# Dimensions\n2 0\n", "must hold positive integers, found '2 0'"),
        ("# Dimensions\n-1\n", "must hold positive integers, found '-1'"),
        ("# Dimensions\n" + "1 " * 17, "at most 16 dimensions are allowed, found 17"),
    ],
)
def test_malformed_header(tmp_path, header, message):
    write_header(tmp_path / "a", header)
    with pytest.raises(InputError, match=rf"a\.hdr: .*{message}"):
        cfl.read(tmp_path / "a")


def test_sections_that_bart_adds_are_ignored(tmp_path):
    write_header(
        tmp_path / "a", "# Command\nones 2 2 3 a \n# Dimensions\n2 3 \n# Files\n >a\n# Creator\nBART v0.8.00\n", 6
    )
    assert cfl.read(tmp_path / "a").shape == (2, 3)


def test_path_below_a_file_cannot_be_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"a\.hdr: cannot be read"):
        cfl.read(tmp_path / "file" / "a")


# Writing


@pytest.mark.parametrize("array", [np.float32(1), np.ones((1,) * 17), np.ones((2, 0)), []])
def test_unwritable_shape_is_refused(tmp_path, array):
    with pytest.raises(InputError, match="1 to 16 non-empty dimensions"):
        cfl.write(tmp_path / "a", array)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("last", "error"), [("no number", ValueError), (Interrupt(), KeyboardInterrupt)])
def test_interrupted_write_leaves_nothing(tmp_path, last, error):
    with pytest.raises(error):
        cfl.write(tmp_path / "a", np.array([1, 2, last], dtype=object))
    assert list(tmp_path.iterdir()) == []


def test_interrupted_overwrite_leaves_no_array(tmp_path):
    cfl.write(tmp_path / "a", numbered(3))
    with pytest.raises(KeyboardInterrupt):
        cfl.write(tmp_path / "a", np.array([1, 2, Interrupt()], dtype=object))
    assert not cfl.exists(tmp_path / "a")
    assert [file.name for file in tmp_path.iterdir()] == ["a.cfl"]


def test_reader_never_sees_half_an_array(tmp_path):
    writer = threading.Thread(target=lambda: [cfl.write(tmp_path / "a", np.full((64, 64), n)) for n in range(200)])
    writer.start()
    seen = []
    while writer.is_alive():
        with contextlib.suppress(InputError):
            seen.append(np.unique(cfl.read(tmp_path / "a")).size)
    assert cfl.read(tmp_path / "a")[0, 0] == 199
    assert set(seen) == {1}


def test_array_can_be_overwritten_with_its_own_view(tmp_path):
    cfl.write(tmp_path / "a", numbered(4, 3))
    cfl.write(tmp_path / "a", cfl.read(tmp_path / "a")[::-1, 1:])
    np.testing.assert_array_equal(cfl.read(tmp_path / "a"), numbered(4, 3)[::-1, 1:])


def test_path_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OSError, match="Not a directory"):
        cfl.write(tmp_path / "file" / "a", numbered(2))
    assert (tmp_path / "file").read_text() == "kept"


def test_missing_folder_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError):
        cfl.write(tmp_path / "missing" / "a", numbered(2))
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_permissions_of_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        cfl.write(tmp_path / "a", numbered(2))
    finally:
        os.umask(previous)
    assert {file.stat().st_mode & 0o777 for file in cfl.files(tmp_path / "a")} == {0o640}
