"""Partial Fourier is told apart from undersampling, padded edges and rounded centres."""

import numpy as np
import pytest

from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers import open_source
from bart_bridge.importers.convert import ImportPlan, convert
from bart_bridge.importers.partial_fourier import along_axis
from tests import foreign

LINE = np.arange(64)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (LINE >= 16, "the first 16 of 64"),
        (LINE < 56, "the last 8 of 64"),
        ((LINE >= 16) & (LINE % 3 == 0), "the first 18 of 64"),
        (LINE >= 0, ""),
        ((LINE >= 6) & (LINE < 58), ""),
        (LINE % 8 == 0, ""),
        (LINE % 8 == 7, ""),
        (LINE >= 4, ""),
        (np.zeros(64, bool), ""),
        (LINE == 0, "the last 63 of 64"),
    ],
)
def test_one_side_is_missing(measured, expected):
    line = along_axis(measured, "phase encoding")
    assert line == (f"partial Fourier along the phase encoding: {expected} were not measured" if expected else "")


def test_an_import_tells_partial_fourier_and_an_asymmetric_echo(truth, coils, tmp_path):
    measured = (np.arange(foreign.Y) < 28)[:, None] & (np.arange(foreign.X) >= 8)
    cfl.write(tmp_path / "kspace", from_batch_coil_yx(truth.kspace * measured))
    source = open_source("cfl", tmp_path / "kspace")
    imported = convert(source, tmp_path / "data", ImportPlan(source.split({}, None), coils=coils), lambda: None)
    assert imported.notes == {
        "partial Fourier along the phase encoding: the last 8 of 36 were not measured": foreign.SLICES,
        "asymmetric echo: the first 8 of 32 were not measured": foreign.SLICES,
    }
