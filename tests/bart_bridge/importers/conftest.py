"""What the tests of importers share: known images and coils."""

import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.importers import open_source
from tests import foreign


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
