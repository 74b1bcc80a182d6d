"""Whatever is wrong with a source: one line that names it, and nothing is left behind."""

import os

import h5py
import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.importers import KINDS, open_source
from tests import foreign
from tests.bart_bridge.importers.conftest import WRITERS

# A library's warning beside the one line would be a second one.
pytestmark = pytest.mark.filterwarnings("error")


def main_file(kind, path):
    return {"varnet-mat": path / "1/rawdata2.mat", "cfl": path.with_suffix(".cfl")}.get(kind, path)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("part", [0, 0.01, 0.5, 0.99])
def test_truncated(refused, kind, part):
    def damage(path):
        file = main_file(kind, path)
        os.truncate(file, int(file.stat().st_size * part))

    assert str(refused(kind, damage)).find("/source/") > 0


@pytest.mark.parametrize("kind", WRITERS)
def test_another_format(refused, kind):
    message = refused(
        kind, lambda path: main_file(kind, path).write_bytes(b"P5 2 2 255\n" + bytes(range(256)) * 20) and None
    )
    if kind not in {"cfl", "twix", "varnet-mat"}:
        assert "(it is no HDF5 file, it begins with b'P5 2 2 2')" in message


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_there(refused, kind):
    message = refused(kind, lambda path: path.parent / "missing")
    assert "missing" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["missing.h5", "missing.dat", "missing", "2022061003_T201.h5"])
def test_every_kind_names_a_missing_file(tmp_path, kind, name):
    with pytest.raises(InputError, match=name):
        open_source(kind, tmp_path / name)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_without_data(refused, tmp_path, kind):
    (tmp_path / "empty").mkdir()
    message = refused(kind, lambda _: tmp_path / "empty")
    assert "empty" in message


def test_a_file_in_place_of_the_knee_folder(refused):
    assert "a folder" in refused("varnet-mat", lambda path: path / "1/rawdata1.mat")


# VarNet


def mat(name, **variables):
    from scipy.io import savemat

    return lambda path: savemat(path / name, variables)


def with_nan(shape):
    values = np.ones(shape, complex)
    values[32, 20, 1] = np.nan
    return values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (mat("1/rawdata2.mat", kspace=1), "rawdata2.mat: no variable 'rawdata'"),
        (mat("1/rawdata2.mat", rawdata="text"), "'rawdata' must be a numeric array"),
        (mat("1/rawdata2.mat", rawdata={"a": 1}), "'rawdata' must be a numeric array"),
        (
            mat("1/rawdata2.mat", rawdata=np.ones((64, 36, 4, 2))),
            "must have dimensions readout, phase encoding and coil",
        ),
        (
            mat("1/rawdata2.mat", rawdata=np.ones((64, 36, 3))),
            r"must have its shape \(3, 36, 64\), found \(4, 36, 64\)",
        ),
        (mat("1/rawdata2.mat", rawdata=with_nan((64, 36, 4))), "finite, found NaN or infinity in k-space"),
        (mat("1/rawdata2.mat", rawdata=np.zeros((64, 36, 4))), "k-space must not be zero everywhere"),
        (mat("1/espirit2.mat", sensitivities=with_nan((64, 36, 4))), "'coils' must be finite"),
        (mat("1/espirit2.mat", reference=1), "espirit2.mat: no variable 'sensitivities'"),
        (lambda path: (path / "1/espirit2.mat").unlink(), "espirit2.mat: a MATLAB file is needed, no such file"),
        (mat("masks/COR_PD_FS_iPat4_masks.mat", mask=np.ones((64, 30))), "must have its 36 lines, found 30"),
        (mat("masks/COR_PD_FS_iPat4_masks.mat", mask=np.eye(64, 36)), "must be constant along the readout"),
        (mat("masks/other_iPat4_masks.mat", mask=np.ones((64, 36))), "one 4-fold mask is needed, found 2"),
    ],
)
def test_varnet(refused, damage, message):
    import re

    assert re.search(message, refused("varnet-mat", damage))


def test_slices_of_several_sizes(refused):
    def damage(path):
        mat("1/rawdata2.mat", rawdata=np.ones((60, 36, 4)))(path)
        mat("1/espirit2.mat", sensitivities=np.ones((60, 36, 4)))(path)

    assert "slices must be alike, 'kspace' of 1/rawdata2.mat" in refused("varnet-mat", damage)


# HDF5


def h5(**changes):
    """Replace datasets: None deletes one, a function changes its values."""

    def damage(path):
        with h5py.File(path, "r+") as file:
            for name, change in changes.items():
                values = change(file[name][()]) if callable(change) else change
                if name in file:
                    del file[name]
                if isinstance(values, dict):
                    file.create_group(name)
                elif values is not None:
                    file[name] = values

    return damage


def nan_at_the_end(values):
    values = np.array(values)
    values.flat[-1] = np.nan
    return values


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (h5(tstCsm=None), "no array 'tstCsm' beside 'tstOrg'"),
        (h5(tstCsm={}), "no array 'tstCsm' beside 'tstOrg'"),
        (h5(**dict.fromkeys(["trnOrg", "trnCsm", "trnMask", "tstOrg", "tstCsm", "tstMask"])), "found: nothing"),
        (
            h5(tstMask=lambda v: v[..., 1:]),
            "(slices, rows, columns), found (3, 32, 36), (3, 4, 32, 36) and (3, 32, 35)",
        ),
        (h5(tstOrg=nan_at_the_end), "found NaN or infinity in tst2"),
        (h5(tstOrg=np.zeros((3, 32, 36), "S3")), "'tstOrg' must hold numbers"),
        (h5(tstMask=lambda v: 2 * v), "a mask must hold 0 and 1, found 2+0j in tst0"),
        (h5(tstMask=lambda v: 0 * v), "'kspace' must not be zero everywhere"),
    ],
)
def test_modl(refused, damage, message):
    assert message in refused("modl-hdf5", damage)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (h5(kspace=None), "no 'kspace' in it"),
        (h5(kspace={}), "'kspace' must be an array, found a group"),
        (h5(mask={}), "'mask' must be an array, found a group"),
        (h5(kspace=lambda v: v[:, 0]), "must have dimensions slice, coil, readout and phase, found (3, 64, 36)"),
        (h5(kspace=nan_at_the_end), "found NaN or infinity in slice 2"),
        (h5(kspace=lambda v: v[:, :, :60]), "its header has a readout of 64, its data one of 60"),
        (h5(mask=np.ones(30)), "'mask' must have 36 values, found (30,)"),
        (h5(mask=np.zeros(36)), "must not be zero everywhere"),
        (h5(mask=np.full(36, np.nan)), "found NaN or infinity in 'mask'"),
        (h5(ismrmrd_header=None), "no 'ismrmrd_header' in it"),
        (h5(ismrmrd_header="no XML"), "cannot be read as ISMRMRD (its XML header)"),
        (h5(ismrmrd_header="<a/>"), "cannot be read as ISMRMRD (its XML header)"),
        (h5(ismrmrd_header=5), "'ismrmrd_header', the header, must be one text, found an array () of type int64"),
        (h5(ismrmrd_header=lambda _: foreign.header(trajectory="RADIAL")), "only Cartesian encodings are supported"),
        (h5(ismrmrd_header=lambda _: foreign.header(partitions=8)), "its header has 8 partitions"),
        (h5(ismrmrd_header=lambda _: foreign.header(view=0.5)), "200 mm of 100 mm"),
    ],
)
def test_fastmri(refused, damage, message):
    assert message in refused("fastmri", damage)


def test_volumes_of_several_sizes(refused, truth):
    def damage(path):
        h5(kspace=lambda v: v[:, :3])(foreign.write_fastmri(truth, path.with_name("file2.h5")))
        return path.parent

    message = refused("fastmri", damage)
    assert "found size=64x36,coils=4 (1 file); size=64x36,coils=3 (1 file); choose with --match" in message


# BART


def bart(change):
    def damage(path):
        cfl.write(path, change(np.array(cfl.read(path))))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.with_suffix(".hdr").unlink(), "kspace.hdr: no such file"),
        (lambda path: path.with_suffix(".hdr").write_text("# Dimensions\nx\n") and None, "must hold integers"),
        (bart(lambda v: v.reshape((32, 36, 1, 2, 1, 2, *v.shape[6:]))), "dimensions other than x, y, coil"),
        (bart(lambda v: v.reshape((32, 36, 2, 1, 1, 2, *v.shape[6:]))), "dimensions other than x, y, z, coil"),
        (bart(nan_at_the_end), "kspace/2: k-space must be finite"),
        (bart(lambda v: v / np.abs(v).max() * 3.4e38), "must be finite"),
        (bart(lambda v: 0 * v), "kspace/0: k-space must not be zero everywhere"),
    ],
)
def test_bart(refused, damage, message):
    assert message in refused("cfl", damage)


# Volumes and time series


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (h5(kspace=None), "no array 'kspace' in it (found: nothing)"),
        (h5(kspace={}), "no array 'kspace' in it"),
        (h5(kspace=lambda v: v[..., 1:]), "encoding and 2 x coils, found (8, 36, 32, 7) of type float32"),
        (h5(kspace=lambda v: v[0]), "must hold real numbers with dimensions readout position"),
        (h5(kspace=lambda v: v.astype(complex)), "of type complex128"),
        (h5(kspace=lambda v: v[:0]), "must not be empty, found 0 slices of 36 x 32 x 4"),
        (h5(kspace=lambda v: v.transpose(0, 3, 1, 2)), "there are more coils than pixels along an axis"),
        (h5(kspace=nan_at_the_end), "found NaN or infinity in slice 7 of 'kspace'"),
        (h5(kspace=lambda v: 0 * v), "k-space must not be zero everywhere; --slices or --split"),
    ],
)
def test_calgary_campinas(refused, damage, message):
    assert message in refused("calgary-campinas", damage)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (h5(kspace_full=None), "kspace or kus is needed, found nothing"),
        (h5(kus=np.ones(3)), "kspace or kus is needed, found kspace_full, kus"),
        (h5(kspace_full={}), "'kspace_full' must hold 'real' and 'imag'"),
        (h5(kspace_full=lambda v: v["real"]), "must be complex (fields 'real' and 'imag'), found type float64"),
        (h5(kspace_full=lambda v: v[0, 0, 0]), "slice and time frame, found (32, 36)"),
        (h5(kspace_full=lambda v: v[:, :0]), "must not be empty, found 0 slices of 32 x 36 x 4"),
        (
            h5(kspace_full=lambda v: v.transpose()),
            "phase encoding and readout in HDF5, found (32, 36, 4, 3, 3); its axes would fit in reverse order",
        ),
        (h5(kspace_full=lambda v: v.transpose(0, 1, 3, 2, 4)), "there are more coils than pixels along an axis"),
    ],
)
def test_cmrxrecon(refused, damage, message):
    assert message in refused("cmrxrecon", damage)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2**20, 36, 32, 4), "'kspace' can have 131072 slices at most, found 1048576"),
        ((8, 2**20, 2**20, 8), "can need 512 MiB for a slice at most"),
    ],
)
def test_declared_sizes_that_no_memory_holds(refused, sizes, message):
    def damage(path):
        with h5py.File(path, "r+") as file:
            del file["kspace"]
            shape = sizes[0], sizes[1], sizes[2], 2 * sizes[3]
            file.create_dataset("kspace", shape, np.float32, chunks=(1, 4, 4, 2))

    assert message in refused("calgary-campinas", damage)
