"""What the tests of importers share: known images and coils, files of each kind, and imports of them."""

import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.importers import open_source
from tests import foreign, foreign_volumes


@pytest.fixture(scope="session")
def truth():
    return foreign.make_truth()


@pytest.fixture
def coils(truth, tmp_path):
    return str(foreign.write_coils(truth, tmp_path / "known_coils"))


@pytest.fixture
def imported(tmp_path, coils):
    """Import an ISMRMRD file with the coils of the truth, or others; return the source and the arrays of `test`."""

    def run(path, maps=coils, toolbox=None, **options):
        source = open_source("ismrmrd", path, **options)
        folder = foreign.import_to(tmp_path / "data", "ismrmrd", path, coils=maps, toolbox=toolbox, **options)
        split = Dataset.open(folder).split("test")
        split.validate()
        return source, split.arrays()

    return run


WRITERS = {
    "varnet-mat": lambda truth, folder: foreign.write_varnet(truth, folder / "knee", subjects=[1]),
    "modl-hdf5": lambda truth, folder: foreign.write_modl(truth, folder / "dataset.hdf5"),
    "fastmri": lambda truth, folder: foreign.write_fastmri(truth, folder / "file.h5"),
    "ismrmrd": lambda truth, folder: foreign.write_ismrmrd(truth, folder / "raw.h5", lines=range(0, foreign.Y, 6)),
    "cfl": lambda truth, folder: foreign.write_bart(truth, folder / "kspace"),
    "calgary-campinas": lambda truth, folder: foreign_volumes.write_calgary(truth, folder / "volume.h5"),
    "cmrxrecon": lambda truth, folder: foreign_volumes.write_cmrxrecon(truth, folder / "cine.mat"),
}


@pytest.fixture
def refused(truth, tmp_path):
    """Import a source of a kind after it was damaged; return the message."""
    (tmp_path / "source").mkdir()
    (tmp_path / "out").mkdir()

    def run(kind, damage):
        path = WRITERS[kind](truth, tmp_path / "source")
        path = damage(path) or path
        coils = "" if kind in {"varnet-mat", "modl-hdf5"} else str(foreign.write_coils(truth, tmp_path / "coils"))
        split = {"test": "tst0-2"} if kind == "modl-hdf5" else None
        slices = "0-2" if kind == "varnet-mat" else None
        with pytest.raises(InputError) as caught:
            foreign.import_to(tmp_path / "out" / "data", kind, path, split, coils=coils, slices=slices)
        assert list((tmp_path / "out").iterdir()) == []
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 600
        return message

    return run
