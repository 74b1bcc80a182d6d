import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from compare.measuring.timing import training_seconds
from compare.report.tables.published import Spread, verdict
from compare.results import statistics
from tests.compare.conftest import result_rows


def test_paired_differences_against_textbook_formulas():
    generator = np.random.default_rng(3)
    second = generator.normal(30, 3, 40)
    first = second + generator.normal(0.2, 0.5, 40)
    found = statistics.paired(first, second)
    difference = first - second
    assert found.mean == pytest.approx(difference.mean())
    assert found.p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    # For 40 nearly normal differences the bootstrap is close to Student's interval.
    low, high = stats.t.interval(0.95, 39, difference.mean(), stats.sem(difference))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert statistics.paired(first, second) == found


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(4)
    covered = 0
    for _ in range(40):
        found = statistics.paired(generator.normal(1, 1, 30), np.zeros(30))
        covered += found.low <= 1 <= found.high
    assert covered >= 34


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([], [], "no values"),
        ([1.0], [2.0], "two slices or more"),
        ([1.0, 2.0], [1.0, 2.0], "no slice differs"),
        ([np.inf, 2.0], [1.0, 2.0], "not all are finite"),
        ([np.inf, 2.0], [np.inf, 2.0], "not all are finite"),
    ],
)
def test_what_cannot_be_said_is_not_said(first, second, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = statistics.paired(np.array(first), np.array(second))
    assert np.isnan(found.p)
    assert reason in found.reason


def test_a_ratio_is_of_one_turn():
    """A machine that becomes slower during the experiment changes the seconds and not the ratio."""
    table = pd.concat(
        [
            result_rows("modl", "bart", "train", "epoch", [1.0, 2.0, 4.0]),
            result_rows("modl", "keras-tensorflow", "train", "epoch", [3.0, 6.0, 12.0]),
        ]
    )
    found = statistics.ratio(table, "modl", "train", "epoch", "keras-tensorflow", "bart")
    assert (found.mean, found.low, found.high, found.repeats) == pytest.approx((3, 3, 3, 3))


def test_a_time_below_the_noise_gives_no_ratio():
    table = pd.concat(
        [
            result_rows("modl", "bart", "infer", "inference", [-0.01, 1.0]),
            result_rows("modl", "keras-tensorflow", "infer", "inference", [1.0, 2.0]),
        ]
    )
    found = statistics.ratio(table, "modl", "infer", "inference", "keras-tensorflow", "bart")
    assert (found.mean, found.repeats) == (2, 1)
    assert statistics.ratio(table, "varnet", "infer", "inference", "keras-tensorflow", "bart") is None


@pytest.mark.parametrize(
    ("own", "theirs", "neutral", "expected"),
    [
        ((2, 1.5, 2.5), (3, 2.4, 4), 1, "agrees"),
        ((2, 1.5, 2.3), (3, 2.4, 4), 1, "same direction"),
        ((0.5, 0.4, 0.6), (3, 2.4, 4), 1, "differs"),
        ((-1e-6, -2e-6, -5e-7), (-0.05, -0.08, -0.03), 0, "differs"),
        ((-0.02, -0.03, -0.01), (-0.05, -0.08, -0.04), 0, "same direction"),
    ],
)
def test_agreement_follows_from_the_numbers(own, theirs, neutral, expected):
    assert verdict(Spread(*own), Spread(*theirs), neutral) == expected


def test_the_parts_of_a_training_time():
    """Two stages of two epochs of three batches; the first batch of each takes 5 s longer than the others' 1 s."""
    seconds = np.array([[6.0, 7.0, 8.0], [1.0, 2.0, 3.0]])
    parts = training_seconds([{"seconds": seconds}, {"seconds": seconds + 1.0}], elapsed_s=30.0)
    assert parts["compilation"] == pytest.approx(5 + 6)
    assert parts["training"] == pytest.approx(11 + 13 - 11)
    assert parts["setup"] == pytest.approx(30 - 24)
    assert parts["epoch"] == pytest.approx(np.median([9 - 6, 4]))
    one = training_seconds([{"seconds": np.array([[2.0]])}], elapsed_s=3.0)
    assert (one["setup"], one["compilation"], one["epoch"]) == (1, None, None)
