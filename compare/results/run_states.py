"""Which runs of an experiment diverged, failed or are missing, run by run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compare.results import divergences, gaps
from compare.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas

DIVERGED, FAILED, MISSING = "diverged", "failed", "missing"
Key = tuple[str, str]
"""Network and engine; the network of a baseline is empty."""


@dataclass(frozen=True)
class State:
    """What is wrong with a run.

    Attributes:
        kind: `DIVERGED`, `FAILED` or `MISSING`.
        reason: Why, or where.
    """

    kind: str
    reason: str


def run_states(experiment: Experiment, results: pandas.DataFrame, history: pandas.DataFrame) -> dict[Key, State]:
    """Say of each run that did not go well what happened to it. A run of which only a repeat failed is among them.

    Args:
        experiment: The experiment, which says which runs there should be.
        results: Its results table.
        history: Its losses, which may be empty.
    """
    expected = gaps.expected(experiment)
    states: dict[Key, State] = {}
    failed = gaps.failed_rows(results)
    for network, engine, reason in failed[["network", "engine", "definition"]].to_numpy():
        states.setdefault((network, engine), State(FAILED, str(reason).removeprefix("n/a: ")))
    for run, reason in divergences.find(results, history).items():
        for key in expected:
            # A repeat has its number behind the name of the run.
            if run.split(", repeat ")[0] == gaps.run_name(*key):
                states[key] = State(DIVERGED, reason)
    for key in gaps.missing_runs(experiment, results):
        states.setdefault(key, State(MISSING, "no result yet"))
    return states
