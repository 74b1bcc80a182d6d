"""What the tests of inspection share: known images, and the rows of a description."""

import shlex

import numpy as np
import pytest

from bart_bridge.inspection import inspect
from tests import foreign
from tests.foreign import COILS, SLICES, X, Y


@pytest.fixture(scope="module")
def truth():
    return foreign.make_truth()


def facts(path):
    """The table as a dictionary, with all rows of one name joined."""
    rows = {}
    for name, text in inspect(path).table():
        rows[name] = f"{rows[name]}; {text}" if name in rows else text
    return rows


def measured(path, truth, what, peak_of=1, slices=SLICES):
    """Check what every importer shows of one slice."""
    rows = facts(path)
    assert rows["format"] == what
    assert rows["slices"] == str(slices)
    assert rows["coils"] == str(COILS)
    assert rows["pixels"].startswith(f"{X} x {Y} ")
    magnitude = np.sqrt(np.sum(np.abs(truth.kspace[peak_of]) ** 2, axis=0))
    y, x = np.unravel_index(np.argmax(magnitude), magnitude.shape) - np.array([Y // 2, X // 2])
    where = "at the centre" if x == y == 0 else f"at x {x:+d}, y {y:+d} from the centre"
    assert rows["peak of k-space"] == f"{where}, magnitude {magnitude.max():.4g}"
    return rows


def command(rows):
    program, what, kind, _, folder, *options = shlex.split(rows["import"])
    assert (program, what, folder) == ("bart-tf", "import", "FOLDER")
    return kind, options
