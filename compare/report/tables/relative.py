"""Tables that set engines against each other, and against what was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bart_bridge.baselines import BASELINES
from compare.report.tables.table import Table
from compare.results import gaps, statistics
from compare.results.table import select
from compare.results.table_files import NOT_AVAILABLE
from compare.running.steps import ZERO_FILLED

if TYPE_CHECKING:
    import pandas

_WITHOUT_NETWORK = (ZERO_FILLED, *BASELINES)
_COSTS = [
    ("seconds per epoch of training", "train", "epoch"),
    ("seconds of the whole training command", "train", "elapsed"),
    ("process peak of training", "train", "peak_rss"),
    ("peak above baseline of training", "train", "rss_above_baseline"),
    ("GPU process peak of training", "train", "gpu_peak"),
    ("seconds per slice of reconstruction", "infer", "inference"),
    ("process peak of reconstruction", "infer", "peak_rss"),
    ("peak above baseline of reconstruction", "infer", "rss_above_baseline"),
    ("GPU process peak of reconstruction", "infer", "gpu_peak"),
]
# Phase, metric, what is said of its ratio, and whether that is of speed: the ratio of times the other way round.
_HEADLINE = [
    ("train", "epoch", "as fast in an epoch of training", True),
    ("infer", "inference", "as fast in reconstructing a slice", True),
    ("train", "gpu_peak", "the GPU memory in training", False),
    ("train", "peak_rss", "the memory of the training process", False),
    ("train", "rss_above_baseline", "the memory that training adds to the bare process", False),
]
_MEASURES = {"psnr": "PSNR / dB", "ssim": "SSIM / 1", "nmse": "NMSE / 1"}


def engines_of(results: pandas.DataFrame) -> list[str]:
    """List the engines that have results of a network."""
    return [str(engine) for engine in results[results.network != ""].engine.unique()]


def networks_of(results: pandas.DataFrame) -> list[str]:
    """List the networks that have results."""
    return [str(network) for network in results[results.network != ""].network.unique()]


def ratios(results: pandas.DataFrame) -> Table | None:
    """What each engine costs relative to BART, with the spread over repeats; None with a single engine."""
    import pandas as pd

    engines = engines_of(results)
    if len(engines) < 2:
        return None
    base = statistics.base_of(engines)
    rows = []
    for network in networks_of(results):
        for engine in engines:
            for quantity, phase, metric in _COSTS:
                if engine == base or not _has(results, network, phase, metric):
                    continue
                found = statistics.ratio(_comparable(results, metric), network, phase, metric, engine, base)
                rows.append([network, engine, quantity, *_ratio_cells(found)])
    caption = [
        "ratio / 1: geometric mean over the repeats; the engines take turns, and a ratio is of one turn.",
        "lowest / 1, highest / 1: of the repeats; n/a with one repeat, whose noise is unknown.",
        "ratio n/a: an engine has no value, or a time is below the noise of its measurement.",
        "The definitions of the quantities are those of the tables of memory and time.",
        "Whole commands count in the first repeat only, since later ones may train for fewer epochs.",
        *gaps.continued(results),
    ]
    columns = ["network", "engine", "quantity", "ratio / 1", "lowest / 1", "highest / 1", "repeats"]
    return Table("ratios", f"Cost relative to {base}", "\n".join(caption), pd.DataFrame(rows, columns=columns))


def headline(results: pandas.DataFrame) -> list[str]:
    """Say in sentences what each engine costs relative to BART, with the spread where it is known."""
    engines = engines_of(results)
    base = statistics.base_of(engines) if engines else ""
    sentences = []
    for network in networks_of(results):
        for engine in engines:
            parts = []
            for phase, metric, said, of_speed in _HEADLINE:
                found = statistics.ratio(results, network, phase, metric, engine, base) if engine != base else None
                if found:
                    of = found.inverse if of_speed else found
                    spread = f" ({_digits(of.low)} to {_digits(of.high)})" if of.repeats > 1 else ""
                    parts.append(f"{_digits(of.mean)}{spread} times {said}")
            if parts:
                sentences.append(f"{network}, {engine} against {base}: {'; '.join(parts)}.")
    return sentences


def paired(results: pandas.DataFrame) -> Table | None:
    """Differences of trained networks slice by slice; None where there is nothing to compare."""
    import pandas as pd

    engines = engines_of(results)
    rows, reasons = [], []
    for network in networks_of(results):
        for first, second in _pairs(engines):
            for measure, heading in _MEASURES.items():
                ours = statistics.slices_of(results, network, first, measure)
                theirs = statistics.slices_of(results, "" if second in _WITHOUT_NETWORK else network, second, measure)
                common = ours.index.intersection(theirs.index)
                if not len(common):
                    continue
                found = statistics.paired(ours[common].to_numpy(), theirs[common].to_numpy())
                known = found.low == found.low
                interval = f"{found.low:+.3g} to {found.high:+.3g}" if known else NOT_AVAILABLE
                mean = f"{found.mean:+.3g}" if found.mean == found.mean else NOT_AVAILABLE
                p = p_value(found.p)
                rows.append([network, f"{first} - {second}", heading, mean, interval, p, str(found.count)])
                reasons += [f"{network}, {first} - {second}, {heading}: {found.reason}"] if found.reason else []
    if not rows:
        return None
    caption = [
        "PSNR, SSIM and NMSE as in the table of image quality, by our definition; differences slice by slice.",
        "95 % interval: bias-corrected and accelerated bootstrap of the mean difference, 9999 resamples of slices.",
        "p / 1: two-sided Wilcoxon signed-rank test; not corrected for the number of comparisons.",
        "Slices are of one training: the spread between trainings is not in these intervals.",
        *reasons,
    ]
    columns = ["network", "difference", "measure", "mean difference", "95 % interval", "p / 1", "slices"]
    title = "Paired comparison of the test slices"
    return Table("paired", title, "\n".join(caption), pd.DataFrame(rows, columns=columns))


def check(results: pandas.DataFrame) -> Table | None:
    """How far our computation of BART's measures is from `bart measure`; None without both."""
    import pandas as pd

    rows = []
    for measure, heading in _MEASURES.items():
        keys = ["network", "engine", "phase", "slice"]
        theirs = select(results, metric=f"{measure}_bart").set_index(keys).value
        ours = select(results, metric=f"{measure}_recomputed").set_index(keys).value
        if len(theirs) and len(ours):
            difference = (ours - theirs).abs()
            rows.append([heading, f"{difference.max():.1e}", str(len(difference))])
    if not rows:
        return None
    caption = (
        "largest difference: absolute, in the unit of the measure, of all reconstructed slices, of BART's "
        "definition computed by bart-tf in double precision and of bart measure in single precision."
    )
    frame = pd.DataFrame(rows, columns=["measure", "largest difference", "images"])
    return Table("measure-check", "Our computation of BART's measures against bart measure", caption, frame)


def p_value(p: float) -> str:
    """Write a p value with two digits, small ones as a bound."""
    if p != p:
        return NOT_AVAILABLE
    return f"{p:.2g}" if p >= 1e-4 else "<0.0001"


def _pairs(engines: list[str]) -> list[tuple[str, str]]:
    if not engines:
        return []
    base = statistics.base_of(engines)
    others = [(engine, base) for engine in engines if engine != base]
    return others + [(engine, "cg-sense") for engine in engines]


def _comparable(results: pandas.DataFrame, metric: str) -> pandas.DataFrame:
    return select(results, repeat=0) if metric == "elapsed" else results


def _has(results: pandas.DataFrame, network: str, phase: str, metric: str) -> bool:
    return not select(results, network=network, phase=phase, metric=metric, measured=True).empty


def _ratio_cells(found: statistics.Ratio | None) -> list[str]:
    if found is None:
        return [NOT_AVAILABLE] * 3 + ["0"]
    spread = [_digits(found.low), _digits(found.high)] if found.repeats > 1 else [NOT_AVAILABLE] * 2
    return [_digits(found.mean), *spread, str(found.repeats)]


def _digits(ratio: float) -> str:
    """Write a ratio with three digits, which are seen in those far below 1, too."""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:#.3g}"
