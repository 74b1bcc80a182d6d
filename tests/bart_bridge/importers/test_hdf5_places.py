"""What is imported comes from the file that was named: nothing beside it is read."""

import zlib

import h5py
import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.importers import hdf5_places, open_source
from bart_bridge.inspection import inspect
from tests import foreign, foreign_fastmri, foreign_volumes

FORMATS = {
    "fastmri": (foreign.write_fastmri, "file.h5", "kspace", {}),
    "fastmri-breast": (foreign_fastmri.write_breast, "file.h5", "kspace", {}),
    "skm-tea": (foreign_fastmri.write_skm_tea, "file.h5", "maps", {"contrast": "0"}),
    "calgary-campinas": (foreign_volumes.write_calgary, "file.h5", "kspace", {}),
    "ismrmrd": (lambda truth, path: foreign.write_ismrmrd(truth, path, range(0, 36, 6)), "file.h5", "dataset/data", {}),
    "modl-hdf5": (foreign.write_modl, "file.h5", "tstOrg", {}),
    "cmrxrecon": (foreign_volumes.write_cmrxrecon, "file.mat", "kspace_full", {}),
}


def link(file, name, other):
    file[name] = h5py.ExternalLink(other.name, f"/{name}")


def missing_link(file, name, other):
    file[name] = h5py.ExternalLink("not\nthere.h5", "/")


def link_elsewhere(file, name, other):
    """A link that the importer has no use for."""
    other_name = name
    with h5py.File(other) as source:
        source.copy(name, file, name=other_name)
    file["more/notes"] = h5py.ExternalLink(other.name, "/")


def virtual(file, name, other):
    with h5py.File(other) as source:
        shape, dtype = source[name].shape, source[name].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(other.name, name, shape)
    file.create_virtual_dataset(name, layout)


def external(file, name, other):
    """Values in a raw file, which HDF5 has for arrays of fixed size."""
    with h5py.File(other) as source:
        shape, dtype = source[name].shape, source[name].dtype
    if dtype.hasobject:
        shape, dtype = (4,), np.dtype("f4")
    place = [("raw.bin", 0, int(np.prod(shape)) * dtype.itemsize)]
    file.create_dataset(name, shape, dtype, external=place)


WAYS = {
    link: r"'.*' is a link to another file, 'other\.\w+'",
    missing_link: r"'.*' is a link to another file, 'not\?there.h5'",
    link_elsewhere: r"'more/notes' is a link to another file, 'other\.\w+'",
    virtual: r"'/.*' is a virtual array of another file, 'other\.\w+'",
    external: r"'/.*' lies in another file, 'raw.bin'",
}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", FORMATS)
def test_values_beside_the_file_are_refused(truth, tmp_path, kind, way):
    write, file_name, name, options = FORMATS[kind]
    path, other = write(truth, tmp_path / file_name), tmp_path / f"other{(tmp_path / file_name).suffix}"
    other.write_bytes(path.read_bytes())
    (tmp_path / "raw.bin").write_bytes(bytes(2**20))
    with h5py.File(path, "r+") as file:
        if way is virtual and file[name].dtype.hasobject:
            pytest.skip("HDF5 has no virtual arrays of variable length")
        del file[name]
        way(file, name, other)
    rule = "; bart-tf reads only the file that it is given; copy the array into it"
    for read in (lambda: open_source(kind, path, **options), lambda: inspect(path)):
        with pytest.raises(InputError, match=WAYS[way] + rule) as caught:
            read()
        assert str(caught.value).isprintable()


def test_links_and_virtual_arrays_within_a_file_are_read(truth, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        shape, dtype = file["kspace"].shape, file["kspace"].dtype
        file.move("kspace", "stored")
        layout = h5py.VirtualLayout(shape, dtype)
        layout[...] = h5py.VirtualSource(".", "stored", shape)
        file.create_virtual_dataset("virtual", layout)
        file["kspace"] = h5py.SoftLink("/virtual")
        file["nowhere"] = h5py.SoftLink("/nothing")
        expected = file["stored"][0]
    found = open_source("fastmri", path).units["0"][0].load().kspace
    whole = foreign.write_fastmri(truth, tmp_path / "whole.h5")
    np.testing.assert_array_equal(found, open_source("fastmri", whole).units["0"][0].load().kspace)
    assert expected.any()
    assert dict(inspect(path).table())["format"] == "fastMRI, multi-coil"


def test_chunks_larger_than_memory_are_refused_before_they_are_read(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.create_dataset("kspace", (2**14, 2**14, 4, 8), "f4", chunks=(2**13, 2**13, 1, 5), compression="gzip")
    for read in (lambda: open_source("calgary-campinas", tmp_path / "file.h5"), lambda: inspect(tmp_path / "file.h5")):
        with pytest.raises(InputError, match=r"'/kspace' has chunks of 1.25 GiB, which need as much memory; 1 GiB is"):
            read()


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"fletcher32": True}], ids=str)
def test_a_chunk_that_inflates_beyond_its_size_is_refused(tmp_path, monkeypatch, options):
    """16 MiB from 16 KiB; with the real limit it would be GiB."""
    monkeypatch.setattr(hdf5_places, "MAX_CHUNK_BYTES", 2**20)
    for name, size in (("sound", 2**16), ("bomb", 2**24)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            array = file.create_dataset("kspace", (2**16,), "u1", chunks=(2**16,), compression="gzip", **options)
            content = zlib.compress(bytes(size)) if size > 2**16 else zlib.compress(bytes(range(256)) * 2**8, 0)
            array.id.write_direct_chunk((0,), content + bytes(4 if "fletcher32" in options else 0))
    with pytest.raises(InputError, match="'/kspace' is damaged, a chunk inflates to more than its 65536 bytes"):
        inspect(tmp_path / "bomb.h5")
    assert dict(inspect(tmp_path / "sound.h5").table())["format"] == "HDF5 with k-space"
