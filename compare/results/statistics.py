"""Statistics of paired comparisons: differences of slices, ratios of repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compare.results.table import select
from compare.running.records import DIVERGED
from compare.settings.engine_names import BART, is_bart

if TYPE_CHECKING:
    import pandas

CONFIDENCE = 0.95
_RESAMPLES = 9999
# A difference of PSNR of 0.1 dB is one of 1.2 % in the root-mean-square error.
SAME_WITHIN_DB = 0.1
# With five slices even the least p of the signed-rank test, 2 / 2**5, is above 0.05.
FEWEST_SLICES = 6
SAME, BETTER, WORSE, UNDECIDED, TOO_FEW = "same", "better", "worse", "undecided", "too few slices"
RULE = (
    f"same: the 95 % interval of the mean difference of PSNR lies within {SAME_WITHIN_DB} dB of 0; better, worse: it "
    f"lies on one side of 0; undecided: neither; too few slices: fewer than {FEWEST_SLICES}."
)


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences.

    Attributes:
        count: Number of items.
        mean: Of the differences.
        low: Lower end of its 95 % bootstrap interval, NaN with fewer than two items.
        high: Upper end.
        p: Two-sided p of the Wilcoxon signed-rank test, NaN where it says nothing.
        reason: Why something is NaN, empty if nothing is.
    """

    count: int
    mean: float
    low: float
    high: float
    p: float
    reason: str


def paired(first: NDArray[np.floating], second: NDArray[np.floating]) -> Difference:
    """Compare two measurements of the same items: first minus second.

    The interval is the bias-corrected and accelerated one (Efron 1987, doi 10.1080/01621459.1987.10478410) of 9999
    resamples, the same ones each time.
    """
    from scipy import stats

    with np.errstate(invalid="ignore"):  # the PSNR of two images that equal the reference: inf - inf
        differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    count, nothing = len(differences), float("nan")
    mean = float(differences.mean()) if count else nothing
    if not count or not np.isfinite(differences).all():
        return Difference(count, nothing, nothing, nothing, nothing, "n/a: no values, or not all are finite")
    if count < 2:
        return Difference(count, mean, nothing, nothing, nothing, "n/a: a spread needs two slices or more")
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():
        reason = "" if mean else "n/a: no slice differs"
        p = float(stats.wilcoxon(differences).pvalue) if mean else nothing
        return Difference(count, mean, mean, mean, p, reason)
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=_RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    p = float(stats.wilcoxon(differences).pvalue)
    return Difference(count, mean, float(interval.low), float(interval.high), p, "")


def paired_slices(first: pandas.Series[float], second: pandas.Series[float]) -> Difference | None:
    """Compare two measurements of slices, see `slices_of`: first minus second; None if they have no slice in common."""
    common = first.index.intersection(second.index)
    return paired(first[common].to_numpy(), second[common].to_numpy()) if len(common) else None


def judge_psnr(difference: Difference) -> str:
    """Judge a paired difference of PSNR in dB by `RULE`: one of its words; empty where the difference has no interval.

    The margin of "same" makes it a test of equivalence (Schuirmann 1987, doi 10.1007/BF01068419), which a small number
    of slices cannot pass by chance.
    """
    if not np.isfinite(difference.low):
        return TOO_FEW if np.isfinite(difference.mean) else ""
    if difference.count < FEWEST_SLICES:
        return TOO_FEW
    if difference.low >= -SAME_WITHIN_DB and difference.high <= SAME_WITHIN_DB:
        return SAME
    if difference.low > 0:
        return BETTER
    return WORSE if difference.high < 0 else UNDECIDED


@dataclass(frozen=True)
class SeedScale:
    """How far engines are from each other, and how far the seeds of one engine are: the scale of the former.

    Attributes:
        networks: Networks that differ in their seed only, with values on both engines.
        engines: Largest absolute mean difference between the two engines, of all seeds.
        seeds: Largest absolute mean difference between two seeds, of both engines.
        engines_rms: Largest root mean square of the differences of slices, between engines.
        seeds_rms: The same between seeds.
    """

    networks: list[str]
    engines: float
    seeds: float
    engines_rms: float
    seeds_rms: float


def seed_scale(
    results: pandas.DataFrame, networks: Sequence[str], first: str, second: str, metric: str
) -> SeedScale | None:
    """Set the differences between two engines against those between seeds.

    Args:
        results: The results table.
        networks: Names of networks that differ in their seed only.
        first: An engine.
        second: Another.
        metric: A measure of test slices.

    Returns:
        The scale of those networks that have finite values alone on both engines, over the slices that two of them have
        in common; None if there are no two of them, or no such slices.
    """
    slices = {
        (network, engine): slices_of(results, network, engine, metric)
        for network in networks
        for engine in (first, second)
    }
    finite = {key for key, values in slices.items() if len(values) and np.isfinite(values).all()}
    networks = [network for network in networks if {(network, first), (network, second)} <= finite]
    pairs = [*combinations(networks, 2)]
    shared = [set(slices[network, engine].index) for network in networks for engine in (first, second)]
    if not pairs or not set.intersection(*shared):
        return None

    def apart(one: tuple[str, str], other: tuple[str, str]) -> tuple[float, float]:
        difference = (slices[one] - slices[other]).dropna().to_numpy()
        return abs(float(np.mean(difference))), float(np.sqrt(np.mean(difference**2)))

    of_engines = [apart((network, first), (network, second)) for network in networks]
    of_seeds = [apart((one, engine), (other, engine)) for one, other in pairs for engine in (first, second)]
    return SeedScale(
        networks=networks,
        engines=max(mean for mean, _ in of_engines),
        seeds=max(mean for mean, _ in of_seeds),
        engines_rms=max(rms for _, rms in of_engines),
        seeds_rms=max(rms for _, rms in of_seeds),
    )


@dataclass(frozen=True)
class Ratio:
    """A ratio and its spread over repeats.

    Attributes:
        mean: Geometric mean of the ratios of the repeats.
        low: Smallest.
        high: Largest.
        repeats: How many.
    """

    mean: float
    low: float
    high: float
    repeats: int

    @classmethod
    def of_repeats(cls, ratios: NDArray[np.floating]) -> Ratio:
        """Describe the ratios of one or more repeats."""
        from scipy import stats

        return cls(float(stats.gmean(ratios)), float(ratios.min()), float(ratios.max()), len(ratios))

    @property
    def inverse(self) -> Ratio:
        """The reciprocal."""
        return Ratio(1 / self.mean, 1 / self.high, 1 / self.low, self.repeats)


def ratio(results: pandas.DataFrame, network: str, phase: str, metric: str, engine: str, base: str) -> Ratio | None:
    """Divide the cost of an engine by that of another, repeat by repeat; None if no repeat has both.

    A repeat may have several calls; their median counts.
    """
    costs = select(results, network=network, phase=phase, metric=metric)
    return ratio_of_columns(costs, "engine", engine, base)


def ratio_of_columns(costs: pandas.DataFrame, column: str, above: str, below: str) -> Ratio | None:
    """Divide the costs of two engines, or of two networks, repeat by repeat; None where no repeat has both.

    Args:
        costs: Rows of one metric.
        column: `engine` or `network`.
        above: Whose costs are divided.
        below: By whose costs.
    """
    by_repeat = costs.pivot_table(index="repeat", columns=column, values="value", aggfunc="median")
    if not {above, below} <= set(by_repeat.columns):
        return None
    # A difference of commands can be below the noise: such a repeat has no ratio.
    by_repeat = by_repeat[(by_repeat[above] > 0) & (by_repeat[below] > 0)]
    return None if by_repeat.empty else Ratio.of_repeats((by_repeat[above] / by_repeat[below]).to_numpy())


def slices_of(results: pandas.DataFrame, network: str, engine: str, metric: str) -> pandas.Series[float]:
    """Return a measure of every test slice, by slice, for a trained network or a baseline."""
    rows = select(results, network=network, engine=engine, phase="apply", metric=metric)
    numbers = rows["slice"].astype(str)
    values: pandas.Series[float] = rows.set_index(numbers).value[(numbers != "").to_numpy()]
    return values


def base_of(results: pandas.DataFrame) -> str:
    """Return the engine that the others are compared with: `bart`, else the first BART, else the first of all.

    An engine whose runs all failed is nothing to compare with. Empty where there is no engine.
    """
    trained = results[results.network != ""]
    succeeded = select(trained, measured=True, phase=("train", "apply", "infer"))
    succeeded = succeeded[succeeded.metric != DIVERGED]
    engines = [str(engine) for engine in (trained if succeeded.empty else succeeded).engine.unique()]
    return BART if BART in engines else next(filter(is_bart, engines), next(iter(engines), ""))
