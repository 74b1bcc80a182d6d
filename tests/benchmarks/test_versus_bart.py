"""What must hold against the installed BART, as ratios of medians in one session; networks of default size."""

import pytest

from tests.benchmarks.measure import Case
from tests.benchmarks.versus_bart import compare

TRAINING = {"varnet": {"plain": 14, "lean": 10}, "modl": {"plain": 5, "lean": 5}}
INFERENCE = {"varnet": 15, "modl": 8}
MEMORY_OF_BART = {"varnet": 1, "modl": 1 / 3}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["varnet", "modl"])
def test_speed_and_memory(kind, toolbox):
    found = compare(Case(kind), toolbox)
    training = {plan: found["training"][plan]["times_as_fast_as_bart"]["median"] for plan in ("plain", "lean")}
    inference = found["inference"]["plain"]["times_as_fast_as_bart"]["median"]
    assert all(training[plan] >= wanted for plan, wanted in TRAINING[kind].items()), training
    assert inference >= INFERENCE[kind]
    assert found["training"]["lean"]["memory_of_bart"] <= MEMORY_OF_BART[kind]
