"""Each row of the table of versions, shown on each version of BART that is found."""

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import multi_cfl
from bart_bridge.tools import process, versions

SMALL = ("--network=varnet", "--test", "--batch-size=2")


@pytest.fixture(scope="module")
def slices(dataset_folder):
    return Dataset.open(dataset_folder).split("train")


def train(toolbox, slices, folder, *options):
    """Train a small VarNet for one epoch; return its weights, and how BART ended."""
    arrays = (slices.kspace, slices.coils, folder / "weights", slices.reference)
    argv = toolbox.argv("reconet", "--train", *SMALL, f"--pattern={slices.pattern}", *options, *arrays)
    finished = process.run(argv, folder=folder)
    return multi_cfl.read(folder / "weights"), finished


def test_every_row_has_a_test():
    rows = {name.lower() for name, value in vars(versions).items() if isinstance(value, versions.Change)}
    assert {f"test_{row}" for row in rows} <= set(globals())


def test_named_ipalm(each_toolbox, slices, tmp_path):
    default, _ = train(each_toolbox, slices, tmp_path, "-Te=1,r=1")
    named, _ = train(each_toolbox, slices, tmp_path, "-Te=1,r=1,ipalm")
    adam, _ = train(each_toolbox, slices, tmp_path, "-Te=1,r=1,adam")

    def are_equal(first, second):
        return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))

    assert are_equal(named, default) == each_toolbox.has(versions.NAMED_IPALM)
    assert are_equal(named, adam) != each_toolbox.has(versions.NAMED_IPALM)


def test_pics_of_all_sizes(each_toolbox):
    kspace = np.zeros((30, 32, 1), np.complex64)
    kspace[15, 16] = 1
    coils = np.ones_like(kspace)
    expected = each_toolbox.compute("fft", "-iu", 3, kspace)
    image = each_toolbox.compute("pics", "-S", "-i", 5, kspace, coils).reshape(expected.shape)
    sign = 1 if each_toolbox.has(versions.PICS_OF_ALL_SIZES) else -1
    np.testing.assert_allclose(image, sign * expected, rtol=1e-3)
