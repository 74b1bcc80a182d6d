"""Which repetitions, averages, contrasts and sets an import takes."""

from pathlib import Path

import pytest

from bart_bridge.errors import InputError
from bart_bridge.importers.counters import choose

RAW = Path("raw.h5")


@pytest.mark.parametrize(
    ("counter", "choice", "numbers", "expected"),
    [
        ("repetition", None, [3, 3], [3]),
        ("repetition", "2", [0, 1, 2], [2]),
        ("repetition", "average", [2, 0, 2], [0, 2]),
        ("average", None, [0, 1], [0, 1]),
        ("average", "1", [0, 1], [1]),
        ("contrast", "0", [0, 1], [0]),
        ("set", None, [0], [0]),
    ],
)
def test_choices(counter, choice, numbers, expected):
    assert choose(counter, choice, numbers, RAW) == expected


@pytest.mark.parametrize(
    ("counter", "choice", "message"),
    [
        (
            "repetition",
            None,
            r"raw.h5: it has 2 repetitions \(0, 4\); choose one, such as --repetition 0, or .* average",
        ),
        ("contrast", None, r"it has 2 contrasts \(0, 4\); choose one, such as --contrast 0$"),
        ("repetition", "1", r"raw.h5: there is no repetition 1 \(found: 0, 4\)"),
        ("repetition", "mean", "--repetition must be a number or 'average', received 'mean'"),
        ("set", "average", "--set must be a number, received 'average'"),
        ("average", "-1", "--average must be a number or 'average', received '-1'"),
        ("average", "²", "received '²'"),
    ],
)
def test_refusals(counter, choice, message):
    with pytest.raises(InputError, match=message):
        choose(counter, choice, [0, 4], RAW)
