"""What the text of an optimizer study's page says: which optimizer is the fastest, the best and the cheapest.

Every sentence is made from the curves and results, and names a winner only if all seeds agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bart_bridge.wording import counted
from compare.results.table import select
from compare.results.table_files import NOT_AVAILABLE
from compare.settings.engine_names import EngineName
from compare.study.figures import AXES

if TYPE_CHECKING:
    import pandas


def findings(network: str, table: pandas.DataFrame, curves: pandas.DataFrame, engine: EngineName) -> list[str]:
    """Write which optimizer was fastest, best and cheapest on an engine, if all seeds agree."""
    part, results = (select(rows, network=network, engine=engine) for rows in (curves, table))
    sentences = []
    last = part[part.epoch == part.epoch.max()]
    for name, ends in last.groupby("optimizer", sort=False).error:
        lost = len(ends) - int(np.isfinite(ends).sum())
        if lost:
            sentences.append(
                f"{lost} of {counted(len(ends), 'run')} of {name} ended without a finite error: it is not compared."
            )
            part, results, last = (rows[rows.optimizer != name] for rows in (part, results, last))
    if last.empty:
        return sentences
    # The worst end of all runs: the error that every one of them reaches.
    target = float(last.error.max())
    sentences.append(f"The error that every run reached on the validation slices is {target:.5f}.")
    for axis, label in AXES.items():
        reached = {name: _first(rows, axis, target) for name, rows in part.groupby("optimizer", sort=False)}
        sentences.append(_verdict(f"In {label}, the fastest to reach it", reached, "{:.3g}"))
    for axis, label in AXES.items():
        end = common_end(part, axis)
        errors = {name: list(errors_at(rows, axis, end)) for name, rows in part.groupby("optimizer", sort=False)}
        spent = f"{end:.3g}" if np.isfinite(end) else "n/a"
        sentences.append(_verdict(f"After equal {label} ({spent}), the least error", errors, "{:.5f}"))
    psnr = {name: list(-rows.psnr) for name, rows in results.groupby("optimizer", sort=False)}
    sentences.append(
        _verdict("After the last epoch, the best mean PSNR of the test slices", psnr, "{:.2f} dB", sign=-1)
    )
    for each, rows in select(table, network=network).groupby("engine", sort=False):
        steps = {name: list(1000 * runs.step_s) for name, runs in rows.groupby("optimizer", sort=False)}
        sentences.append(_verdict(f"The least time of a step by {each}", steps, "{:.1f} ms"))
    return sentences + [f"{line}." for line in continued(select(table, network=network))]


def continued(table: pandas.DataFrame) -> list[str]:
    """Name the trainings that have no times, with the reason; results of earlier versions do not say it."""
    if "times" not in table:
        return []
    return [
        f"{row.network}, {row.optimizer} on {row.engine}, seed {row.seed}, times: {row.times!s}"
        for row in table[table.times.astype(str).str.startswith(NOT_AVAILABLE)].itertuples()
    ]


def common_end(part: pandas.DataFrame, axis: str) -> float:
    """Return the cost at which the run that ends first ends."""
    return float(part.groupby(["optimizer", "seed"])[axis].max().min())


def errors_at(part: pandas.DataFrame, axis: str, end: float) -> pandas.Series[float]:
    """Return the last error of each seed at which the cost is not above a limit; NaN for a seed without any."""
    return part[part[axis] <= end].groupby("seed").error.last().reindex(part.seed.unique())


def _first(part: pandas.DataFrame, axis: str, target: float) -> list[float]:
    """Return for each seed the cost at which the error is first at most the target."""
    return list(part[part.error <= target].groupby("seed")[axis].first())


def _verdict(what: str, costs: dict[Any, list[float]], form: str, sign: int = 1) -> str:
    """Name the least if its range over the seeds lies below all others', and say so if it does not.

    Args:
        what: Begins the sentence.
        costs: Values of all seeds by optimizer; less is better.
        form: Of a value.
        sign: -1 where the values are shown with the opposite sign.
    """
    finite = {name: values for name, values in costs.items() if values and all(value == value for value in values)}
    if not finite:
        return f"{what}: n/a."
    means = {name: sum(values) / len(values) for name, values in finite.items()}
    best, *others = sorted(means, key=lambda name: means[name])
    ranges = ", ".join(f"{name} {_range(finite[name], form, sign)}" for name in (best, *others))
    if min(map(len, finite.values())) == 1:
        return f"{what}: one seed does not tell ({ranges})."
    rivals = [name for name in others if min(finite[name]) <= max(finite[best])]
    if rivals:
        return f"{what}: the seeds do not tell {best} from {' and '.join(rivals)} ({ranges})."
    return f"{what}: {best} ({ranges})."


def _range(values: Sequence[float], form: str, sign: int) -> str:
    low, high = sorted((sign * min(values), sign * max(values)))
    number, _, unit = form.partition(" ")
    return f"{number.format(low)} to {number.format(high)} {unit}".strip()
