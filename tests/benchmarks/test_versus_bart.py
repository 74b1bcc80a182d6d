"""What must hold against the installed BART, as ratios of medians in one session; networks of default size."""

import pytest

from tests.benchmarks.barts import fastest, measure, table
from tests.benchmarks.growth import exponent
from tests.benchmarks.measure import Case, ratio
from tests.benchmarks.versus_bart import compare

TRAINING = {"varnet": {"plain": 14, "lean": 10}, "modl": {"plain": 5, "lean": 5}}
INFERENCE = {"varnet": 15, "modl": 8}
MEMORY_OF_BART = {"varnet": 1, "modl": 1 / 3}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["varnet", "modl"])
def test_speed_and_memory(kind, toolbox):
    found = compare(Case(kind), toolbox)
    training = {plan: found["training"][plan]["times_as_fast_as_bart"]["median"] for plan in ("plain", "lean")}
    assert all(training[plan] >= wanted for plan, wanted in TRAINING[kind].items()), training
    inference = found["inference"]["plain"]["times_as_fast_as_bart"]
    assert inference["median"] >= INFERENCE[kind], inference
    assert found["training"]["lean"]["memory_of_bart"] <= MEMORY_OF_BART[kind]


def test_a_ratio_is_that_of_medians_with_its_range():
    assert ratio([10, 12, 20], [1, 2, 4]) == {"median": 6, "lowest": 2.5, "highest": 20}


def test_the_exponent_is_that_of_the_power_law():
    assert exponent([1, 2, 4, 8], [3, 3 * 2**1.5, 3 * 4**1.5, 3 * 8**1.5]) == pytest.approx(1.5)


@pytest.mark.slow
def test_every_bart_stands_beside_keras(toolbox):
    """A network of one iteration on two small slices."""
    found = measure(Case("varnet", size=16, coils=2, batch=2, iterations=1), {"BART a": toolbox, "BART b": toolbox}, 1)
    for phase in ("training", "inference"):
        assert list(found[phase]) == ["BART a", "BART b", "Keras, plain", "Keras, lean"]
        assert found["ratios"][phase]["Keras, lean"].keys() == {"BART a", "BART b"}
    found["training"]["BART a"]["steps_s"], found["training"]["BART b"]["steps_s"] = [3, 4, 50], [2, 5, 9]
    assert fastest(found) == "BART a"
    assert table("varnet", found).endswith("fastest: BART a")
