"""Folders with something that is no data: it is left out and counted, and the rest is taken."""

import os
import shutil

import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.importers.folder_files import files_below, files_in
from bart_bridge.inspection import inspect
from tests import foreign, foreign_volumes


@pytest.fixture
def deep(tmp_path):
    """A folder so deep that its path is longer than the system takes: it cannot be read, also by root."""
    folder = tmp_path / "data" / "deep"
    folder.mkdir(parents=True)
    descriptor = os.open(folder, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("x" * 250, dir_fd=descriptor)
        inner = os.open("x" * 250, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)
    yield folder.parent
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_read_is_left_out(deep, truth):
    foreign_volumes.write_cmrxrecon(truth, deep / "cine.mat")
    files, left_out = files_in(deep, ".mat", below=True)
    assert files == [deep / "cine.mat"]
    assert {name: count for name, count in left_out.items() if count} == {"folders that cannot be read": 1}
    rows = inspect(deep).table()
    assert dict(rows)["import"].startswith("bart-tf import cmrxrecon ")
    assert ("left out", "folders that cannot be read: 1") in rows


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_left_out(tmp_path):
    (tmp_path / "a.mat").write_text("x")
    (tmp_path / "locked").mkdir(mode=0)
    assert list(files_below(tmp_path)) == [tmp_path / "a.mat"]
    assert files_in(tmp_path, ".mat", below=True)[1]["folders that cannot be read"] == 1


def test_an_empty_file_is_left_out_by_inspect_and_by_the_import(truth, coils, tmp_path):
    folder = tmp_path / "volumes"
    folder.mkdir()
    (folder / "a.h5").touch()
    path = foreign.write_fastmri(truth, folder / "b.h5")
    assert path == folder / "b.h5"
    rows = dict(inspect(folder).table())
    assert rows["format"] == "fastMRI"
    assert rows["import"].startswith("bart-tf import fastmri ")
    assert rows["left out"] == "empty .h5 files: 1"
    imported, arrays = foreign.import_all(tmp_path / "data", "fastmri", folder, coils)
    assert imported.left_out == {"empty .h5 files": 1}
    np.testing.assert_allclose(arrays["kspace"], truth.kspace, atol=1e-5)


def test_only_empty_files_are_no_data(tmp_path):
    for name in ("a.h5", "b.h5"):
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"a folder with \.h5 files is needed, found only 2 empty files$"):
        files_in(tmp_path, ".h5")
