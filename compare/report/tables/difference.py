"""What changed between two experiments, versions or machines, and which changes exceed the noise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.files import yaml_files
from compare.report.tables.relative import p_value
from compare.report.tables.table import Cell, Format, Table, table_of_rows
from compare.results import gaps, statistics
from compare.results.table import select
from compare.results.table_files import NOT_AVAILABLE
from compare.running.steps import ZERO_FILLED

if TYPE_CHECKING:
    import pandas

# Not news, however small its p: differences below a thousandth of the value.
LEAST = 1e-3
SIGNIFICANT = 0.05
# Quality of the zero-filled images that differs by more, relative to the value, is that of other data.
_SAME_DATA = 1e-4
# What has no influence on a result.
_WITHOUT_INFLUENCE = ("description", "slurm")
# Version 0.2.0 wrote `adam_beta_1` where this one writes `adam.beta_1`.
_FORMER_KEY = re.compile(r"^(networks\.[^.]+\.training\.(?:adam|admm))_")
_QUALITY = ("psnr", "ssim", "nmse")
_COSTS = {
    "train": ("epoch", "setup", "compilation", "peak_rss", "rss_above_baseline", "gpu_peak", "allocator_peak"),
    "infer": ("inference", "inference_first", "peak_rss", "rss_above_baseline", "gpu_peak", "allocator_peak"),
}


def read_settings(folder: Path) -> dict[str, str]:
    """Read the settings of an experiment, by dotted keys such as `networks.modl.training.algorithm`.

    The file is taken as it is, because one of another version may have other keys.

    Raises:
        InputError: `experiment.yaml` is missing or cannot be read.
    """
    path = folder / "experiment.yaml"
    content = yaml_files.read(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must have the settings of an experiment")
    settings = _flat({key: value for key, value in content.items() if key not in _WITHOUT_INFLUENCE})
    by_key = {_FORMER_KEY.sub(r"\1.", key): value for key, value in settings}
    by_key.setdefault("exchange_weights", "False")  # later than version 0.2.0, as are other phantoms
    if "dataset.simulate.size" in by_key:
        by_key.setdefault("dataset.simulate.phantom", "shapes")
    return by_key


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        yield key, ", ".join(str(item) for item in value)
    elif value is not None:
        yield key, str(value)


def settings(
    first: pandas.DataFrame, second: pandas.DataFrame, configured: tuple[dict[str, str], dict[str, str]]
) -> Table:
    """List the differences of the settings, the versions of the engines, and the machines.

    Args:
        first: `results.csv` of one experiment.
        second: That of the other.
        configured: Their settings, see `read_settings`.
    """
    pairs = {
        key: (configured[0].get(key, ""), configured[1].get(key, "")) for key in {**configured[0], **configured[1]}
    }
    for engine in sorted({*first.engine, *second.engine}):
        for fact in ("version", "build", "blas"):
            values = [_values(select(table, engine=engine)[f"engine_{fact}"]) for table in (first, second)]
            # What results of version 0.2.0 do not say is no difference.
            if all(values) or fact == "version":
                pairs[f"{fact.replace('blas', 'BLAS')} of {engine}"] = (values[0], values[1])
    pairs["machine"] = (_values(first.machine), _values(second.machine))
    rows: list[list[Cell]] = [
        [key, *(value or "none" for value in pair)] for key, pair in pairs.items() if pair[0] != pair[1]
    ]
    note = (
        f"{len(rows)} of {len(pairs)}: every setting of the two `experiment.yaml` but "
        f"{' and '.join(_WITHOUT_INFLUENCE)}, version, build and BLAS of each engine, and the machine. Those not "
        "listed are the same in both."
    )
    return table_of_rows("Settings that differ", {"setting": "", "A": "", "B": ""}, rows, [note], "diff-settings")


def _values(column: pandas.Series) -> str:
    return ", ".join(sorted({str(value) for value in column} - {""}))


def changes(first: pandas.DataFrame, second: pandas.DataFrame) -> Table:
    """Compare quality slice by slice and costs repeat by repeat, with a verdict on each.

    Verdicts are `within noise`, `changed`, `changed?` where the noise is unknown, and `n/a` where one has no value.
    """
    columns: dict[str, Format] = dict.fromkeys(["network", "engine", "phase", "metric / unit"], "")
    columns |= {"A": ".5g", "B": ".5g", "B / A": ".4g", "p / 1": p_value, "verdict": ""}
    same = same_data(first, second)
    rows = [*_quality_rows(first, second, same), *_cost_rows(first, second)]
    if same:
        data = f"the data are the same, the zero-filled images of both agree within {_SAME_DATA:g}"
    else:
        data = "n/a, because the data are not the same: the zero-filled images of the two differ"
    notes = [
        "A, B: mean over test slices (quality), or the median over the repeats or calls (costs), in the unit named.",
        f"p / 1: quality: Wilcoxon signed-rank test of the slices; {data}.",
        "p / 1: costs: Welch's t-test of the repeats, of the logarithms where all values are above 0; of calls, the "
        "median of a repeat counts.",
        f"changed: p < {SIGNIFICANT:g} and more than {LEAST:g} of the value. within noise: not so. changed?: by more "
        f"than {LEAST:g} of the value, but with one repeat, one slice or other data its noise is unknown.",
        "p is not corrected for the number of comparisons. n/a: one of the two has no value, or both are not finite.",
        "Definitions: results.csv.",
        *(f"{name}: {line}" for name, table in (("A", first), ("B", second)) for line in gaps.continued(table)),
    ]
    return table_of_rows("What changed from A to B", columns, rows, notes, "diff")


def same_data(first: pandas.DataFrame, second: pandas.DataFrame) -> bool:
    """Tell whether both have the same test slices, from the zero-filled images, which no engine changes."""
    for metric in _QUALITY:
        one, two = (statistics.slices_of(table, "", ZERO_FILLED, metric) for table in (first, second))
        if one.empty or not one.index.equals(two.index) or not np.allclose(one, two, rtol=_SAME_DATA, atol=0):
            return False
    return True


def _quality_rows(first: pandas.DataFrame, second: pandas.DataFrame, same: bool) -> Iterator[list[Cell]]:
    for network, engine in _keys(first, second, "apply", _QUALITY):
        for metric in _QUALITY:
            one, two = (statistics.slices_of(table, network, engine, metric) for table in (first, second))
            if one.empty and two.empty:
                continue
            common = one.index.intersection(two.index)
            paired = same and len(common) == len(one) == len(two) > 1
            a, b = one.to_numpy(), two.to_numpy()
            p = float("nan")
            if paired and np.any(a != two[common].to_numpy()):
                b = two[common].to_numpy()
                p = statistics.paired(b, a).p
            unit = _unit(first, second, metric)
            yield _row([network, engine, "apply", f"{metric} / {unit}"], a, b, p, known=paired)


def _cost_rows(first: pandas.DataFrame, second: pandas.DataFrame) -> Iterator[list[Cell]]:
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


def _row(start: list[str], a: np.ndarray, b: np.ndarray, p: float, known: bool) -> list[Cell]:
    if not len(a) or not len(b):
        means = [_middle(start, values) if len(values) else None for values in (a, b)]
        return [*start, *means, None, None, None]
    one, two = _middle(start, a), _middle(start, b)
    ratio = two / one if one > 0 and two > 0 else None
    return [*start, one, two, ratio, None if np.isnan(p) else p, verdict(one, two, p, known)]


def verdict(one: float, two: float, p: float, known: bool) -> str:
    """Judge a change by its size, its p (NaN if there is nothing to test), and whether its noise is known."""
    if not np.isfinite([one, two]).all():
        return "changed" if np.isfinite([one, two]).any() else NOT_AVAILABLE
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
    costs = select(table, network=network, engine=engine, phase=phase, metric=metric, measured=True)
    return np.asarray(costs.groupby("repeat").value.median(), np.float64)


def _keys(
    first: pandas.DataFrame, second: pandas.DataFrame, phase: str, metrics: tuple[str, ...]
) -> list[tuple[str, str]]:
    """List network and engine of everything that either table has, in its order."""
    keys: dict[tuple[str, str], None] = {}
    for table in (first, second):
        rows = select(table, phase=phase, metric=metrics)
        keys |= dict.fromkeys(zip(rows.network, rows.engine, strict=True))
    return list(keys)


def _unit(first: pandas.DataFrame, second: pandas.DataFrame, metric: str) -> str:
    units = [unit for table in (first, second) for unit in select(table, metric=metric).unit]
    return str(units[0])
