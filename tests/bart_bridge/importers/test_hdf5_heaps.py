"""Heaps of HDF5 are checked against the format before its library reads them; no test gives it a damaged one."""

import io
import struct

import h5py
import numpy as np
import psutil
import pytest

from bart_bridge.errors import InputError
from bart_bridge.importers import hdf5_attributes, hdf5_files, hdf5_heaps, open_source
from bart_bridge.importers.hdf5_files import opened
from bart_bridge.inspection import inspect
from tests import foreign, foreign_fastmri


def heap(*objects, size=None, signature=b"GCOL"):
    """A heap of objects `(number, length, bytes after the head)`."""
    content = b"".join(struct.pack("<HHIQ", index, 1, 0, length) + bytes(after) for index, length, after in objects)
    return io.BytesIO(b"before" + struct.pack("<4sB3xQ", signature, 1, size or 16 + len(content)) + content)


@pytest.mark.parametrize(
    ("stored", "sound"),
    [
        (heap((1, 5, 8), (2, 16, 16)), True),
        (heap((1, 5, 8), (0, 40, 24)), True),
        (heap((1, 0, 0), (2, 8, 8)), True),
        (heap((1, 5, 8), (0, 0, 0)), False),
        (heap((0, 0, 0), (1, 5, 8)), False),
        (heap((1, 2**63, 8)), False),
        (heap((1, 2**64 - 1, 8), (2, 8, 8)), False),
        (heap((1, 17, 16)), False),
        (heap((1, 5, 8), size=2**40), True),
        (heap((0, 0, 0), signature=b"TREE"), True),
        (io.BytesIO(b"before"), True),
        (io.BytesIO(b"beforeGCOL"), True),
    ],
)
def test_a_heap_is_sound_if_each_object_has_a_length(stored, sound):
    assert (hdf5_heaps.object_lengths(stored, 6) is not None) is sound


@pytest.mark.parametrize("name", ["dataset/data", "dataset/xml"])
def test_every_heap_of_a_file_is_checked(truth, tmp_path, monkeypatch, name):
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", lines=range(0, foreign.Y, 6))
    seen = []
    lengths = hdf5_heaps.object_lengths

    def watched(file, position):
        seen.append(position)
        return lengths(file, position)

    monkeypatch.setattr(hdf5_heaps, "object_lengths", watched)
    with h5py.File(path) as file:
        hdf5_heaps.check_heaps(file[name], path)
        count = file[name].size
    content = path.read_bytes()
    assert all(content[position : position + 4] == b"GCOL" for position in seen)
    # A line of 4 coils and 64 samples fills a heap of its own.
    assert len(seen) == (count if name == "dataset/data" else 1)


def test_a_damaged_heap_is_refused_before_hdf5_reads_it(truth, tmp_path, monkeypatch):
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", lines=range(0, foreign.Y, 6))
    monkeypatch.setattr(hdf5_heaps, "object_lengths", lambda file, position: None)
    with pytest.raises(
        InputError, match=r"raw.h5: '/dataset/\w+' is damaged, heap \d+ has an object of impossible length"
    ):
        open_source("ismrmrd", path)


@pytest.mark.parametrize("write", [foreign.write_fastmri, foreign_fastmri.write_prostate])
def test_files_of_other_formats_are_checked_too(truth, tmp_path, monkeypatch, write):
    path = write(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        file.attrs.clear()
    monkeypatch.setattr(hdf5_heaps, "object_lengths", lambda file, position: None)
    with pytest.raises(InputError, match=r"'/ismrmrd_header' is damaged, heap \d+ has an object of impossible length"):
        open_source("fastmri", path)
    with pytest.raises(InputError, match=r"'/ismrmrd_header' is damaged, heap \d+ has an object of impossible length"):
        inspect(path)


def variable(file, name, number=0, **storage):
    """Texts, or records with lists, of 1, 2, ... elements."""
    kind = [h5py.string_dtype(), np.dtype([("head", "i4"), ("data", h5py.vlen_dtype("f4"))])][number]
    values = file.create_dataset(name, (7,), kind, **storage)
    for place in range(7):
        values[place] = "x" * (place + 1) if number == 0 else (place, np.ones(place + 1, np.float32))


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "storage",
    [{}, {"chunks": (3,)}, {"chunks": (3,), "compression": 4}, {"chunks": (3,), "compression": 9, "shuffle": True}],
    ids=str,
)
def test_heaps_of_compressed_arrays_are_checked_too(tmp_path, monkeypatch, storage, number, userblock):
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        variable(file, "values", number, **storage)
    with h5py.File(path) as file:
        hdf5_heaps.check_heaps(file["values"], path)
        found = []
        monkeypatch.setattr(hdf5_heaps, "check_references", lambda references, *_: found.extend(references))
        hdf5_heaps.check_heaps(file["values"], path)
    lengths = np.concatenate(found)["length"]
    assert sorted(lengths.tolist()) == [(4 if number else 1) * size for size in range(1, 8)]
    monkeypatch.undo()
    monkeypatch.setattr(hdf5_heaps, "object_lengths", lambda file, position: None)
    with pytest.raises(InputError, match="'/values' is damaged, heap"), opened(path, "HDF5"):
        pass


def test_compression_that_cannot_be_checked_is_refused(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        variable(file, "values", compression="lzf")
    with pytest.raises(InputError, match="'/values' has a variable length and is compressed by 'lzf'; only gzip is"):
        inspect(tmp_path / "file.h5")


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize(("version", "count"), [("earliest", 1), ("earliest", 20), ("latest", 2), ("latest", 20)])
@pytest.mark.parametrize("place", ["/", "values"])
def test_heaps_of_attributes_are_checked(tmp_path, monkeypatch, place, version, count, userblock):
    """Headers of old and new versions, with one block and several; beyond eight attributes, those elsewhere."""
    path = tmp_path / "file.h5"
    with h5py.File(path, "w", userblock_size=userblock, libver=version) as file:
        file["values"] = np.ones(3)
        for number in range(count):
            file[place].attrs[f"text {number}"] = "x" * (number + 1)
            file[place].attrs[f"number {number}"] = number
            file.require_group(f"group {number}/below")
    with opened(path, "HDF5") as file:
        assert file[place].attrs["text 0"] == "x"
    found = []
    hdf5_files._check.cache_clear()
    monkeypatch.setattr(hdf5_attributes, "check_references", lambda references, *_: found.extend(references))
    with opened(path, "HDF5"):
        pass
    elsewhere = version == "latest" and count > 8
    assert [int(part["length"][0]) for part in found] == ([] if elsewhere else sorted_lengths(count))
    monkeypatch.undo()
    hdf5_files._check.cache_clear()
    monkeypatch.setattr(hdf5_heaps, "object_lengths", lambda file, position: None)
    message = "it is damaged, the heap at" if elsewhere else "the attribute 'text 0' is damaged, heap"
    with pytest.raises(InputError, match=message), opened(path, "HDF5"):
        pass


def sorted_lengths(count):
    """The lengths of the texts in the order of their names."""
    return [int(name) + 1 for name in sorted(map(str, range(count)))]


def test_a_file_is_checked_again_when_it_has_changed(tmp_path):
    for name in ("first", "second and longer"):
        with h5py.File(tmp_path / "file.h5", "w") as file:
            file["text"] = name
        with opened(tmp_path / "file.h5", "HDF5") as file:
            assert file["text"][()].decode() == name
    assert hdf5_files._check.cache_info().misses >= 2


def test_lists_of_an_unknown_sort_are_noticed():
    """HDF5 reads such a type, and crashes on its values."""
    message = bytearray(h5py.h5t.vlen_create(h5py.h5t.NATIVE_FLOAT).encode())
    assert hdf5_heaps.is_sound(h5py.h5t.decode(bytes(message)))
    message[3] |= 2
    unknown = h5py.h5t.decode(bytes(message))
    record = h5py.h5t.create(h5py.h5t.COMPOUND, 32)
    record.insert(b"data", 8, unknown)
    assert not hdf5_heaps.is_sound(unknown)
    assert not hdf5_heaps.is_sound(record)
    assert not hdf5_heaps.is_sound(h5py.h5t.array_create(unknown, (2,)))


def test_an_object_of_another_length_is_refused_before_hdf5_reads_it(truth, tmp_path, monkeypatch):
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", lines=range(0, foreign.Y, 6))
    lengths = hdf5_heaps.object_lengths
    monkeypatch.setattr(hdf5_heaps, "object_lengths", lambda file, position: {**lengths(file, position), 1: 2047})
    with pytest.raises(InputError, match=r"object 1 of the heap at \d+ has 2047 bytes instead of \d+"):
        open_source("ismrmrd", path)


@pytest.mark.parametrize(("missing", "number"), [({1}, "1"), (set(range(100)), r"\d")])
def test_an_object_that_is_not_there_is_refused_before_hdf5_reads_it(truth, tmp_path, monkeypatch, missing, number):
    path = foreign.write_ismrmrd(truth, tmp_path / "raw.h5", lines=range(0, foreign.Y, 6))
    lengths = hdf5_heaps.object_lengths

    def without(file, position):
        return {other: size for other, size in lengths(file, position).items() if other not in missing}

    monkeypatch.setattr(hdf5_heaps, "object_lengths", without)
    with pytest.raises(InputError, match=rf"'/dataset/\w+' is damaged, the heap at \d+ has no object {number}$"):
        open_source("ismrmrd", path)


def test_reading_heads_keeps_no_samples_in_memory(tmp_path):
    """1 MB of samples for each of 200 heads."""
    import ismrmrd

    kind = ismrmrd.hdf5.acquisition_dtype
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        lines = np.zeros(1, kind)
        lines[0]["data"], lines[0]["traj"] = np.zeros(2**18, np.float32), np.zeros(0, np.float32)
        data = file.create_dataset("data", (200,), kind)
        for number in range(200):
            lines["head"]["scan_counter"] = number
            data[number : number + 1] = lines
        del lines
    with h5py.File(tmp_path / "raw.h5") as file:
        hdf5_heaps.read_fixed(file["data"], "head")
        before_bytes = psutil.Process().memory_info().rss
        heads = hdf5_heaps.read_fixed(file["data"], "head")
        assert psutil.Process().memory_info().rss - before_bytes < 64 * 2**20
    assert heads["scan_counter"].tolist() == list(range(200))


def test_members_that_overlap_are_noticed():
    overlapping = np.dtype({"names": ["a", "b"], "formats": ["<f8", "<f8"], "offsets": [0, 4], "itemsize": 12})
    assert hdf5_heaps._fits(np.dtype([("head", [("a", "<f4"), ("b", "<f4", (3,))]), ("data", "<f4")]))
    assert not hdf5_heaps._fits(np.dtype([("head", overlapping), ("data", "<f4")]))
