"""Imports that end early, or must not begin, leave nothing behind and touch nothing."""

import pytest

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers import open_source
from tests import foreign


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError])
def test_an_interrupted_import_leaves_nothing(truth, tmp_path, error):
    from bart_bridge.importers.convert import ImportPlan, convert

    path = foreign.write_bart(truth, tmp_path / "kspace")
    coils = foreign.write_coils(truth, tmp_path / "coils")
    source = open_source("cfl", path)
    seen = []

    def stop(done, total):
        seen.append(((done, total), sorted(file.name for file in (tmp_path / "out").iterdir())))
        if done == 2:
            raise error

    with pytest.raises(error):
        convert(source, tmp_path / "out/data", ImportPlan(source.split({}, None), coils=str(coils)), lambda: None, stop)
    assert [progress for progress, _ in seen] == [(1, 3), (2, 3)]
    assert all("data" not in names for _, names in seen)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_not_touched(truth, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine").write_text("kept")
    with pytest.raises(InputError, match="already exists"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=str(foreign.write_coils(truth, tmp_path / "coils")))
    assert [file.name for file in (tmp_path / "data").iterdir()] == ["mine"]


def test_coils_that_are_zero_everywhere(truth, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    cfl.write(tmp_path / "coils", from_batch_coil_yx(0 * truth.coils[None]))
    with pytest.raises(InputError, match="kspace/0: 'coils' must not be zero everywhere"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=str(tmp_path / "coils"))
