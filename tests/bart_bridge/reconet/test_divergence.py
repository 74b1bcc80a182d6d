"""Detecting a diverged training in its output; `test_commands` does it with a real one."""

import pytest

from bart_bridge.errors import DivergedError
from bart_bridge.reconet.divergence import DivergenceWatch


def test_updates_are_counted_over_all_stages():
    watch = DivergenceWatch(lambda progress: None, 4, earlier_updates=10)
    assert not watch("#1->2/2; [=]; loss: 1.0e-03;")
    assert watch("#2->1/2; [=]; loss: inf;")
    watch("#2->2/2; [=]; loss: nan;")
    with pytest.raises(DivergedError, match="diverged at update 13: the loss is inf"):
        watch.check()


@pytest.mark.parametrize(
    "line", ["#1->1/2; [=]; loss: 1e-3; l0: 1e+17;\x1b[31mWARN: Warning: data corrupted", "data empty"]
)
def test_a_warning_in_a_line_of_progress(line):
    """BART 1.0.00 writes both to the same stream."""
    watch = DivergenceWatch(lambda progress: None, 2)
    assert watch(line) == ("corrupted" in line)
    if "corrupted" in line:
        with pytest.raises(DivergedError, match="diverged at update 2: BART warned"):
            watch.check()
