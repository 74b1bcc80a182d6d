"""What changed between two experiments, versions or machines, and what of it is more than noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from compare import comparisons
from compare.tables import NOT_AVAILABLE, Table
from compare.tables_compared import p_value

if TYPE_CHECKING:
    import pandas

# Not news, however small its p: differences below a thousandth of the value.
LEAST = 1e-3
SIGNIFICANT = 0.05
_SETTINGS = ("experiment", "dataset", "engine_version", "memory_plan", "device", "optimizer", "seed", "machine")
_QUALITY = ("psnr", "ssim", "nmse")
_COSTS = {
    "train": ("epoch", "setup", "compilation", "peak_rss", "rss_above_baseline", "gpu_peak", "allocator_peak"),
    "infer": ("inference", "inference_first", "peak_rss", "rss_above_baseline", "gpu_peak", "allocator_peak"),
}


def settings(first: pandas.DataFrame, second: pandas.DataFrame) -> Table:
    """Name the settings, versions and machines that differ, engine by engine where they have one."""
    import pandas as pd

    rows = []
    for column in _SETTINGS:
        of = "engine" if column in {"engine_version", "memory_plan"} else None
        groups = sorted({*first.engine, *second.engine}) if of else [""]
        for engine in groups:
            values = []
            for table in (first, second):
                chosen = table[table.engine == engine] if of else table
                values.append(", ".join(sorted({str(value) for value in chosen[column]} - {""})))
            if values[0] != values[1]:
                name = f"{column.replace('_', ' ')}{f' of {engine}' if engine else ''}"
                rows.append([name, *(value or "none" for value in values)])
    frame = pd.DataFrame(rows, columns=["setting", "A", "B"])
    return Table(
        "diff-settings", "Settings that differ", "All others are the same in both." if rows else "None.", frame
    )


def changes(first: pandas.DataFrame, second: pandas.DataFrame) -> Table:
    """Compare quality slice by slice and costs repeat by repeat, with a verdict on each.

    Verdicts are `within noise`, `changed`, `changed?` where the noise is unknown, and `n/a` where one has no value.
    """
    import pandas as pd

    columns = ["network", "engine", "phase", "metric / unit", "A", "B", "B / A", "p / 1", "verdict"]
    rows = [*_quality_rows(first, second), *_cost_rows(first, second)]
    caption = [
        "A, B: mean over test slices (quality), or the median over the repeats or calls (costs), in the unit named.",
        "p / 1: quality: Wilcoxon signed-rank test of the slices, which must be the same; costs: Welch's t-test of the "
        "repeats, of the logarithms where all values are above 0; of calls, the median of a repeat counts.",
        f"changed: p < {SIGNIFICANT:g} and more than {LEAST:g} of the value. within noise: not so. changed?: by more "
        f"than {LEAST:g} of the value, but with one repeat or one slice its noise is unknown.",
        "p is not corrected for the number of comparisons. n/a: one of the two has no value. Definitions: results.csv.",
    ]
    return Table("diff", "What changed from A to B", "\n".join(caption), pd.DataFrame(rows, columns=columns))


def _quality_rows(first: pandas.DataFrame, second: pandas.DataFrame) -> Iterator[list[str]]:
    for network, engine in _keys(first, second, "apply", _QUALITY):
        for metric in _QUALITY:
            one, two = (comparisons.slices_of(table, network, engine, metric) for table in (first, second))
            if one.empty and two.empty:
                continue
            common = one.index.intersection(two.index)
            same_data = len(common) == len(one) == len(two) and set(first.dataset) == set(second.dataset)
            a, b = one.to_numpy(), two.to_numpy()
            p = float("nan")
            if same_data and len(common) > 1 and np.any(a != two[common].to_numpy()):
                b = two[common].to_numpy()
                p = comparisons.paired(b, a).p
            unit = _unit(first, second, metric)
            yield _row([network, engine, "apply", f"{metric} / {unit}"], a, b, p, known=same_data and len(common) > 1)


def _cost_rows(first: pandas.DataFrame, second: pandas.DataFrame) -> Iterator[list[str]]:
    for phase, metrics in _COSTS.items():
        for network, engine in _keys(first, second, phase, metrics):
            for metric in metrics:
                a, b = (_repeats(table, network, engine, phase, metric) for table in (first, second))
                if not len(a) and not len(b):
                    continue
                known = len(a) > 1 and len(b) > 1
                unit = _unit(first, second, metric)
                p = _welch(a, b) if known else np.nan
                yield _row([network, engine, phase, f"{metric} / {unit}"], a, b, p, known)


def _row(start: list[str], a: np.ndarray, b: np.ndarray, p: float, known: bool) -> list[str]:
    if not len(a) or not len(b):
        shown = [f"{_middle(start, values):.5g}" if len(values) else NOT_AVAILABLE for values in (a, b)]
        return [*start, *shown, NOT_AVAILABLE, NOT_AVAILABLE, NOT_AVAILABLE]
    one, two = _middle(start, a), _middle(start, b)
    ratio = f"{two / one:.4g}" if one > 0 and two > 0 else NOT_AVAILABLE
    return [*start, f"{one:.5g}", f"{two:.5g}", ratio, p_value(p), verdict(one, two, p, known)]


def verdict(one: float, two: float, p: float, known: bool) -> str:
    """Judge a change by its size, its p (NaN where there is nothing to test), and whether its noise is known."""
    if abs(two - one) <= LEAST * max(abs(one), abs(two)):
        return "within noise"
    if not known:
        return "changed?"
    return "changed" if p < SIGNIFICANT else "within noise"


def _welch(a: np.ndarray, b: np.ndarray) -> float:
    from scipy import stats

    if np.ptp(a) == 0 and np.ptp(b) == 0:
        # Nothing varies: any difference is one.
        return 0.0 if a[0] != b[0] else 1.0
    if min(a.min(), b.min()) > 0:
        a, b = np.log(a), np.log(b)
    return float(stats.ttest_ind(a, b, equal_var=False).pvalue)


def _middle(start: list[str], values: np.ndarray) -> float:
    return float(np.mean(values) if start[2] == "apply" else np.median(values))


def _repeats(table: pandas.DataFrame, network: str, engine: str, phase: str, metric: str) -> np.ndarray:
    chosen = table[
        (table.network == network) & (table.engine == engine) & (table.phase == phase) & (table.metric == metric)
    ]
    return np.asarray(chosen.dropna(subset="value").groupby("repeat").value.median(), np.float64)


def _keys(
    first: pandas.DataFrame, second: pandas.DataFrame, phase: str, metrics: tuple[str, ...]
) -> list[tuple[str, str]]:
    """List network and engine of everything that either has, in its order."""
    found: dict[tuple[str, str], None] = {}
    for table in (first, second):
        chosen = table[(table.phase == phase) & table.metric.isin(metrics)]
        found |= dict.fromkeys(zip(chosen.network.astype(str), chosen.engine.astype(str), strict=True))
    return list(found)


def _unit(first: pandas.DataFrame, second: pandas.DataFrame, metric: str) -> str:
    units = [*first[first.metric == metric].unit, *second[second.metric == metric].unit]
    return str(units[0])
