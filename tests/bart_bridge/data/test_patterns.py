"""Cartesian sampling patterns: how many positions, and which."""

import numpy as np
import pytest

from bart_bridge.data.patterns import sampling_pattern


@pytest.mark.parametrize("acceleration", [1, 2, 3.7, 8])
@pytest.mark.parametrize(("size_x", "size_y"), [(24, 24), (25, 17)])
def test_random_pattern_has_the_exact_acceleration(size_x, size_y, acceleration):
    pattern = sampling_pattern(size_x, size_y, "random", acceleration, 5, np.random.default_rng(0))
    assert pattern.shape == (size_y, size_x)
    assert set(np.unique(pattern)) <= {0, 1}
    assert pattern.sum() == round(size_x * size_y / acceleration)
    assert pattern[size_y // 2 - 2 : size_y // 2 + 3, size_x // 2 - 2 : size_x // 2 + 3].all()


def test_random_pattern_is_denser_in_the_middle():
    pattern = sampling_pattern(64, 64, "random", 4, 0, np.random.default_rng(0))
    assert pattern[16:48, 16:48].sum() > 0.6 * pattern.sum()


@pytest.mark.parametrize(
    ("size", "acceleration", "reference_size", "lines"),
    [
        (16, 4, 0, [0, 4, 8, 12]),
        (16, 4, 4, [0, 4, 6, 7, 8, 9, 12]),
        (15, 4, 3, [3, 6, 7, 8, 11]),
        (16, 3.4, 1, [2, 5, 8, 11, 14]),
        (6, 1, 0, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_regular_pattern_has_these_lines(size, acceleration, reference_size, lines):
    pattern = sampling_pattern(10, size, "regular", acceleration, reference_size, np.random.default_rng(0))
    assert pattern.shape == (size, 10)
    assert list(np.flatnonzero(pattern[:, 0])) == lines
    assert (pattern == pattern[:, :1]).all()
