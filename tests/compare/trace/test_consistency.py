"""The published tables: every fault that is known is found, and every further one is explained."""

import pytest

from compare.trace.consistency import Row
from compare.trace.published_checks import check_published, figure_of_text

KNOWN = [
    # Shares of memory operations that were read as shares of training.
    ("share of training", "text under 5", "memset", "6.6 %"),
    ("share of training", "text under 5", "HtoD", "4.6 %"),
    # 775,983 MB in one table, 0.78 GB in the next; KB called MB.
    ("same figure in two places", "7", "HtoD", "1000"),
    ("count x mean = total", "6", "memset", "1000"),
    # Shares recomputed are 58.8, 41.0, 0.16 and 0.01 %.
    ("share = total / sum of totals", "5", "memset", "58.81 %"),
    ("share = total / sum of totals", "5", "DtoH", "0.16 %"),
    ("same figure in two places", "8", "HtoD", "108754 ns"),
    ("claim", "text under 10", "cudaMemsetAsync", "99123"),
    ("name", "text", "", "SDG"),
    ("parameters", "text", "", "62800"),
    ("same figure in two places", "text", "", "filters is 24"),
]


@pytest.fixture(scope="module")
def findings():
    return check_published()


@pytest.mark.parametrize(("check", "table", "item", "message"), KNOWN)
def test_a_known_fault_is_found(findings, check, table, item, message):
    found = [one for one in findings if (one.check, one.row[0], one.row[3]) == (check, table, item)]
    assert any(message in one.message for one in found), findings


def test_the_peaks_of_tensorflow_are_below_the_level(findings):
    found = [one.row for one in findings if one.check == "peak >= level"]
    assert len(found) == 16
    assert {item for *_, item in found} == {"TensorFlow training", "TensorFlow inference"}


def test_what_adds_up_is_not_reported(findings):
    places = {(one.check, one.row[0], one.row[3]) for one in findings}
    # Count times mean holds in table 5, sizes of memset and DtoH agree in tables 6 and 7, HtoD's share is right.
    assert not any(check == "count x mean = total" and table == "5" for check, table, _ in places)
    assert ("same figure in two places", "7", "memset") not in places
    assert ("same figure in two places", "7", "DtoH") not in places
    assert ("share = total / sum of totals", "5", "HtoD") not in places


def test_every_finding_is_explained(findings):
    assert [str(one) for one in findings if not one.explanation] == []


@pytest.mark.parametrize(
    ("text", "unit", "low", "high"),
    [("58.0", "%", 0.5795, 0.5805), ("<0.1", "%", 0, 0.001), ("24256", "ns", 24255.5e-9, 24256.5e-9), ("7", "1", 7, 7)],
)
def test_a_figure_is_known_to_half_of_its_last_digit(text, unit, low, high):
    one = figure_of_text(Row("t", "n", "r", "i"), "mean_time", text, unit)
    assert (one.low, one.high) == (pytest.approx(low), pytest.approx(high))
