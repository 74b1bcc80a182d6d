"""Sampling patterns of imported data: those of the source, drawn ones, and those of files."""

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers.pattern_choice import PatternChoice
from bart_bridge.importers.source import fully_sampled
from tests import foreign


def arrays_of(folder, split="test"):
    opened = Dataset.open(folder).split(split)
    opened.validate()
    return opened.arrays()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (np.ones(12), True),
        ([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0], True),
        ([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], True),
        ([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], False),
        ([1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], False),
        (np.zeros(12), False),
    ],
)
def test_fully_sampled_but_for_edges_of_equal_width(lines, expected):
    measured = np.repeat(np.asarray(lines, bool)[:, None], 4, axis=1)
    assert fully_sampled(measured) is expected
    assert fully_sampled(measured.T) is expected


def test_random_patterns_differ_between_slices_and_follow_the_seed(truth, coils, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    found = []
    for number, seed in enumerate((1, 1, 2)):
        choice = PatternChoice("random", 4, 6, seed)
        folder = foreign.import_to(tmp_path / f"data{number}", "cfl", path, coils=coils, pattern=choice)
        arrays = arrays_of(folder)
        np.testing.assert_array_equal(arrays["kspace"], truth.kspace * arrays["pattern"])
        found.append(arrays["pattern"][:, 0].real)
    first, again, other = found
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert np.any(first[0] != first[1])
    assert [pattern.sum() for pattern in first] == [round(foreign.X * foreign.Y / 4)] * foreign.SLICES


@pytest.mark.parametrize("count", [1, foreign.SLICES])
def test_pattern_from_a_bart_file(truth, coils, tmp_path, count):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    patterns = np.random.default_rng(0).integers(0, 2, size=(count, 1, foreign.Y, foreign.X)).astype(np.complex64)
    cfl.write(tmp_path / "pattern", from_batch_coil_yx(patterns))
    choice = PatternChoice(str(tmp_path / "pattern"))
    arrays = arrays_of(foreign.import_to(tmp_path / "data", "cfl", path, coils=coils, pattern=choice))
    expected = np.broadcast_to(patterns, arrays["pattern"].shape)
    np.testing.assert_array_equal(arrays["pattern"], expected)
    np.testing.assert_array_equal(arrays["kspace"], truth.kspace * expected)


def test_pattern_from_a_matlab_file(truth, coils, tmp_path):
    """A mask of the oversampled readout fits if it is constant along it."""
    from scipy.io import savemat

    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    lines = np.arange(foreign.Y) % 3 != 1
    savemat(tmp_path / "mask.mat", {"mask": np.broadcast_to(lines, (2 * foreign.X, foreign.Y)).astype(float)})
    choice = PatternChoice(str(tmp_path / "mask.mat"))
    arrays = arrays_of(foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils, pattern=choice))
    np.testing.assert_array_equal(arrays["pattern"][0, 0], np.repeat(lines[:, None], foreign.X, axis=1))


def test_a_pattern_cannot_sample_what_was_not_measured(truth, coils, tmp_path):
    path = tmp_path / "kspace"
    cfl.write(path, from_batch_coil_yx(truth.kspace * foreign.regular_lines()[:, None]))
    cfl.write(tmp_path / "pattern", np.ones((foreign.X, foreign.Y)))
    choice = PatternChoice(str(tmp_path / "pattern"))
    with pytest.raises(InputError, match=r"samples \d+ positions not measured"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=coils, pattern=choice)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        (np.ones((foreign.X, foreign.Y + 1)), "must be 32 x 36, found 32 x 37"),
        (np.zeros((foreign.X, foreign.Y)), "sample something"),
        (np.full((foreign.X, foreign.Y), np.nan), "must be finite"),
        (np.ones((foreign.X, foreign.Y, 1, 2)), "must have one coil, found 2"),
        (np.ones((foreign.X, foreign.Y, *(1,) * 13, 2)), "1 pattern or one for each of 3 slices is needed, found 2"),
    ],
)
def test_a_pattern_that_does_not_fit(truth, coils, tmp_path, pattern, message):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    cfl.write(tmp_path / "pattern", pattern)
    choice = PatternChoice(str(tmp_path / "pattern"))
    with pytest.raises(InputError, match=message):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=coils, pattern=choice)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("values", [{"acceleration": 0.5}, {"reference_size": -1}, {"seed": -1}])
def test_pattern_options_out_of_range(values):
    with pytest.raises(InputError, match=f"--{next(iter(values)).replace('_', '-')} must"):
        PatternChoice(**values)
