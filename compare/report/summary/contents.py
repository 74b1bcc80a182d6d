"""Everything on the first screen of an experiment's report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compare.report import intervals
from compare.report.summary import charts
from compare.report.summary.claims import Claim, claims
from compare.report.summary.comparison import compare
from compare.report.summary.strip import Strip, strip
from compare.results import gaps, run_states
from compare.results.images import Images
from compare.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Summary:
    """The first screen.

    Attributes:
        claims: What came out.
        states: Names of the runs that diverged, failed or are missing, by the word for it.
        strip: The row of images; None for none.
        chart: Quality, time and memory; None for none.
        differences: What differs between the runs of the engines, by engine.
    """

    claims: list[Claim] = field(default_factory=list)
    states: dict[str, list[str]] = field(default_factory=dict)
    strip: Strip | None = None
    chart: intervals.Chart | None = None
    differences: dict[str, str] = field(default_factory=dict)


def summary_of_experiment(
    experiment: Experiment, results: pandas.DataFrame, history: pandas.DataFrame, images: Images
) -> Summary:
    """Make the first screen; what cannot be said of an experiment is left out.

    Args:
        experiment: The experiment.
        results: Its results table.
        history: Its losses, empty where they are missing.
        images: Its images, empty where they are missing.
    """
    states = run_states.run_states(experiment, results, history)
    comparison = compare(experiment, results, states)
    by_kind: dict[str, list[str]] = {}
    for kind in (run_states.DIVERGED, run_states.FAILED, run_states.MISSING):
        names = [gaps.run_name(*key) for key, state in states.items() if state.kind == kind]
        by_kind |= {kind: names} if names else {}
    return Summary(
        claims(comparison), by_kind, strip(comparison, images), charts.chart(comparison), comparison.differences
    )
