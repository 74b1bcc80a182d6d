"""Tables that set engines against each other, and against what was published."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from bart_bridge.baselines import BASELINES
from compare.report.tables.table import Cell, Format, Numbers, Table, table_of_rows
from compare.results import gaps, statistics
from compare.results.table import select
from compare.running.steps import ZERO_FILLED

if TYPE_CHECKING:
    import pandas

_WITHOUT_NETWORK = (ZERO_FILLED, *BASELINES)
_TIMES = [
    ("seconds per epoch of training", "train", "epoch"),
    ("seconds of the whole training command", "train", "elapsed"),
    ("seconds per slice of reconstruction", "infer", "inference"),
]
_PEAKS = [
    ("process peak of training", "train", "peak_rss"),
    ("peak above baseline of training", "train", "rss_above_baseline"),
    ("GPU process peak of training", "train", "gpu_peak"),
    ("process peak of reconstruction", "infer", "peak_rss"),
    ("peak above baseline of reconstruction", "infer", "rss_above_baseline"),
    ("GPU process peak of reconstruction", "infer", "gpu_peak"),
]
MEASURES = {"psnr": "PSNR / dB", "ssim": "SSIM / 1", "nmse": "NMSE / 1"}


def engines_of(results: pandas.DataFrame, network: str = "") -> list[str]:
    """List the engines that have results of a network; by default those of any."""
    rows = results[results.network == network] if network else results[results.network != ""]
    return [str(engine) for engine in rows.engine.unique()]


def networks_of(results: pandas.DataFrame) -> list[str]:
    """List the networks that have results."""
    return [str(network) for network in results[results.network != ""].network.unique()]


def time_ratios(results: pandas.DataFrame) -> Table | None:
    """Show the time of each engine relative to BART, with the spread over repeats; None with a single engine."""
    notes = [
        "ratio n/a: an engine has no value, or a time is below the noise of its measurement.",
        "The definitions of the quantities are those of the tables of time.",
        "Whole commands count in the first repeat only, since later ones may train for fewer epochs.",
        *gaps.continued(results),
    ]
    return _ratios(results, "Time", "ratios-time", _TIMES, notes)


def memory_ratios(results: pandas.DataFrame) -> Table | None:
    """Show the memory of each engine relative to BART, in the same way."""
    notes = [
        "ratio n/a: an engine has no value.",
        "The definitions of the quantities are those of the table of memory.",
    ]
    return _ratios(results, "Memory", "ratios-memory", _PEAKS, notes)


def _ratios(
    results: pandas.DataFrame, title: str, slug: str, costs: list[tuple[str, str, str]], notes: list[str]
) -> Table | None:
    engines = engines_of(results)
    if len(engines) < 2:
        return None
    base = statistics.base_of(results)
    rows: list[list[Cell]] = []
    for network, (quantity, phase, metric), engine in product(networks_of(results), costs, engines):
        if engine == base or engine not in engines_of(results, network) or not _has(results, network, phase, metric):
            continue
        ratio = statistics.ratio(_comparable(results, metric), network, phase, metric, engine, base)
        rows.append([network, engine, quantity, *_ratio_cells(ratio)])
    common = [
        "ratio / 1: geometric mean over the repeats; the engines take turns, and a ratio is of one turn.",
        "lowest / 1, highest / 1: of the repeats; n/a with one repeat, whose noise is unknown.",
    ]
    columns: dict[str, Format] = {"network": "", "engine": "", "quantity": ""}
    columns |= dict.fromkeys(["ratio / 1", "lowest / 1", "highest / 1"], three_digits) | {"repeats": ""}
    return table_of_rows(f"{title} relative to {base}", columns, rows, [*common, *notes], slug)


def paired(results: pandas.DataFrame) -> Table | None:
    """Show the differences of trained networks slice by slice; None where there is nothing to compare."""
    engines = engines_of(results)
    rows: list[list[Cell]] = []
    reasons = []
    for network in networks_of(results):
        for first, second in _pairs(engines, statistics.base_of(results)):
            for measure, heading in MEASURES.items():
                ours = statistics.slices_of(results, network, first, measure)
                theirs = statistics.slices_of(results, "" if second in _WITHOUT_NETWORK else network, second, measure)
                difference = statistics.paired_slices(ours, theirs)
                if not difference:
                    continue
                verdict = statistics.judge_psnr(difference) if measure == "psnr" else ""
                rows.append([network, f"{first} - {second}", heading, *difference_cells(difference), verdict])
                if difference.reason:
                    reasons.append(f"{network}, {first} - {second}, {heading}: {difference.reason}")
    if not rows:
        return None
    notes = [
        "PSNR, SSIM and NMSE as in the table of image quality, by our definition; differences slice by slice.",
        "95 % interval: bias-corrected and accelerated bootstrap of the mean difference, 9999 resamples of slices.",
        "p / 1: two-sided Wilcoxon signed-rank test; not corrected for the number of comparisons.",
        f"verdict, of PSNR only: {statistics.RULE}",
        "Slices are of one training: the spread between trainings is not in these intervals.",
        *reasons,
    ]
    columns: dict[str, Format] = {"network": "", "difference": "", "measure": "", "mean difference": "+.3g"}
    columns |= {"95 % interval": "+.3g", "p / 1": p_value, "slices": "", "verdict": ""}
    return table_of_rows("Paired comparison of the test slices", columns, rows, notes, "paired")


def check(results: pandas.DataFrame) -> Table | None:
    """Show how far our computation of BART's measures is from `bart measure`; None without both."""
    rows: list[list[Cell]] = []
    for measure, heading in MEASURES.items():
        keys = ["network", "engine", "phase", "slice"]
        theirs = select(results, metric=f"{measure}_bart").set_index(keys).value
        ours = select(results, metric=f"{measure}_recomputed").set_index(keys).value
        if len(theirs) and len(ours):
            difference = (ours - theirs).abs()
            rows.append([heading, difference.max(), len(difference)])
    if not rows:
        return None
    note = (
        "largest difference: absolute, in the unit of the measure, of all reconstructed slices, of BART's "
        "definition computed by bart-tf in double precision and of bart measure in single precision."
    )
    title = "Our computation of BART's measures against bart measure"
    columns: dict[str, Format] = {"measure": "", "largest difference": ".1e", "images": ""}
    return table_of_rows(title, columns, rows, [note], "measure-check")


def difference_cells(difference: statistics.Difference) -> list[Cell]:
    """Return the cells of a paired difference: mean, interval, p and number of slices."""
    low, high = difference.low, difference.high
    interval = None if np.isnan(low) else Numbers((low, high), "{} to {}")
    return [_or_none(difference.mean), interval, _or_none(difference.p), difference.count]


def p_value(p: float) -> str:
    """Write a p value with two digits, a small one as a bound."""
    return f"{p:.2g}" if p >= 1e-4 else "<0.0001"


def _pairs(engines: list[str], base: str) -> list[tuple[str, str]]:
    others = [(engine, base) for engine in engines if engine != base]
    return others + [(engine, "cg-sense") for engine in engines]


def _comparable(results: pandas.DataFrame, metric: str) -> pandas.DataFrame:
    return select(results, repeat=0) if metric == "elapsed" else results


def _has(results: pandas.DataFrame, network: str, phase: str, metric: str) -> bool:
    return not select(results, network=network, phase=phase, metric=metric, measured=True).empty


def _ratio_cells(ratio: statistics.Ratio | None) -> list[Cell]:
    if ratio is None:
        return [None, None, None, 0]
    spread = [ratio.low, ratio.high] if ratio.repeats > 1 else [None, None]
    return [ratio.mean, *spread, ratio.repeats]


def _or_none(number: float) -> float | None:
    return None if np.isnan(number) else number


def three_digits(ratio: float) -> str:
    """Write a ratio with three significant digits, also one far below 1."""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:#.3g}"
