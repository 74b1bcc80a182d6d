"""What the tests of importers share: known images and coils."""

import pytest

from tests import foreign


@pytest.fixture(scope="session")
def truth():
    return foreign.make_truth()


@pytest.fixture
def coils(truth, tmp_path):
    return str(foreign.write_coils(truth, tmp_path / "known_coils"))
