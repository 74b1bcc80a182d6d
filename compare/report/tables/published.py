"""The published figures as tables, and how those of an experiment compare with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from compare.report.tables.measured import mean_and_deviation
from compare.report.tables.published_costs import GPU, SOURCES, TITLES, family
from compare.report.tables.relative import engines_of, networks_of
from compare.report.tables.table import Cell, Format, Numbers, Table, table_of_rows
from compare.results import published, statistics
from compare.results.table import select
from compare.settings.engine_names import is_bart

if TYPE_CHECKING:
    import pandas

# A ratio or a difference in dB that is nearer to "no difference" than this has no direction.
_NONE = 0.01


class Spread(NamedTuple):
    """A mean and the range around it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Claim:
    """A quantity that was measured here and published.

    Attributes:
        network: Name in the experiment, or two of them.
        quantity: What is compared.
        neutral: Value that means no difference: 1 for ratios, 0 for differences.
        ours: What was measured here.
        theirs: What was published.
    """

    network: str
    quantity: str
    neutral: float
    ours: Spread
    theirs: Spread


def quality(results: pandas.DataFrame, kinds: dict[str, str]) -> Table:
    """Show the quality of trained networks beside the published means, recomputed from the published slices."""
    slices, printed = published.read("quality_per_slice"), published.read("quality")
    rows: list[list[Cell]] = []
    for keys, group in slices.groupby(["figure", "network", "data", "engine", "variant"], sort=False):
        figure, network, data, engine, variant = map(str, keys)
        theirs = [
            mean_and_deviation(select(group, metric=f"{measure}_bart").value, ddof=0) for measure in ("psnr", "ssim")
        ]
        match = select(printed, figure=figure, network=network, engine=engine)
        as_printed = [match[name].iloc[0] if len(match) else None for name in ("psnr_db", "ssim")]
        ours = [_own_quality(results, kinds, network, engine, name) for name in ("psnr_bart", "ssim_bart")]
        name = ", ".join(filter(None, [network, data, variant]))
        rows.append([figure.replace("_", " "), name, engine, len(group) // 2, *theirs, *as_printed, *ours])
    columns: dict[str, Format] = dict.fromkeys(["figure", "published for", "engine", "slices"], "")
    columns |= {"published: PSNR / dB": ".2f", "published: SSIM / 1": ".4f"}
    columns |= {"published as printed: PSNR / dB": ".2f", "published as printed: SSIM / 1": ".3f"}
    columns |= {"ours: PSNR / dB": ".2f", "ours: SSIM / 1": ".4f"}
    notes = [
        "published: mean ± standard deviation (n in the denominator) of the published slices, made with bart measure.",
        "published as printed: in figure 4 of B22; n/a: no mean is printed.",
        "ours: this experiment's trained networks of the kind, by bart measure, on its own data; n/a: none here.",
        *SOURCES,
    ]
    return table_of_rows("Image quality, ours and published", columns, rows, notes, "published-quality")


def agreement(results: pandas.DataFrame, kinds: dict[str, str]) -> Table | None:
    """Say where this experiment agrees with what was published and where not; None if nothing can be compared."""
    rows: list[list[Cell]] = [
        [
            claim.network,
            claim.quantity,
            _with_range(claim.ours),
            _with_range(claim.theirs),
            verdict(claim.ours, claim.theirs, claim.neutral),
        ]
        for claim in _claims(results, kinds)
    ]
    if not rows:
        return None
    columns: dict[str, Format] = {"network": "", "quantity": ""}
    columns |= {"ours: mean (range)": ".3g", "published: mean (range)": ".3g", "verdict": ""}
    notes = [
        "ours: ratios with the range over the repeats; differences of PSNR with the 95 % bootstrap interval.",
        f"published: ratios with the range over the GPUs, {GPU} for times; differences with the 95 % interval.",
        "agrees: the ranges overlap. same direction: they do not, but both are above 1 (0 for differences), or both "
        f"below, by {_NONE} or more. differs: neither.",
        "Memory is that of the GPU process where it was read, and of the host process above its baseline else; sizes "
        "of this experiment's networks and images may be far from the published ones. PSNR in dB, ratios in 1.",
        *SOURCES,
    ]
    title = "Where this experiment agrees with what was published"
    return table_of_rows(title, columns, rows, notes, "agreement")


def verdict(ours: Spread, theirs: Spread, neutral: float) -> str:
    """Judge two spreads: `agrees`, `same direction` or `differs`.

    Args:
        ours: What was measured here.
        theirs: What was published.
        neutral: Value that means no difference.
    """
    if ours.low <= theirs.high and theirs.low <= ours.high:
        return "agrees"
    our_effect, their_effect = ours.mean - neutral, theirs.mean - neutral
    directed = min(abs(our_effect), abs(their_effect)) >= _NONE
    return "same direction" if directed and our_effect * their_effect > 0 else "differs"


def _claims(results: pandas.DataFrame, kinds: dict[str, str]) -> Iterator[Claim]:
    """Yield what can be compared, for each network."""
    for network in networks_of(results):
        for engine in engines_of(results, network):
            if family(engine) == "tensorflow" and is_bart(statistics.base_of(results)):
                yield from _memory_claims(results, network, kinds[network], engine)
                yield from _quality_claims(results, network, kinds[network], engine)
    by_kind = {kind: [network for network in networks_of(results) if kinds[network] == kind] for kind in kinds.values()}
    pair = [by_kind.get("modl", []), by_kind.get("varnet", [])]
    if all(len(names) == 1 for names in pair) and is_bart(statistics.base_of(results)):
        yield from _network_claims(results, pair[0][0], pair[1][0])


def _memory_claims(results: pandas.DataFrame, network: str, kind: str, engine: str) -> Iterator[Claim]:
    table, base = published.read("memory"), statistics.base_of(results)
    for phase in ("train", "infer"):
        peaks = select(table, network=kind, phase=phase)
        wide = peaks.pivot_table(index="gpu", columns="engine", values="main_gb")
        theirs = _spread(statistics.Ratio.of_repeats((wide["tensorflow"] / wide["bart"]).to_numpy()))
        for metric, where in (("gpu_peak", "GPU"), ("rss_above_baseline", "host")):
            ours = statistics.ratio(results, network, phase, metric, engine, base)
            if ours:
                quantity = f"peak memory of {TITLES[phase]}, {engine} / {base} (ours: {where})"
                yield Claim(network, quantity, 1.0, _spread(ours), theirs)
                break


def _quality_claims(results: pandas.DataFrame, network: str, kind: str, engine: str) -> Iterator[Claim]:
    base = statistics.base_of(results)
    theirs = published.psnr_difference(kind)
    of_engine, of_base = (statistics.slices_of(results, network, name, "psnr_bart") for name in (engine, base))
    ours = statistics.paired_slices(of_engine, of_base)
    if ours and np.isfinite(ours.low):
        quantity = f"PSNR / dB by bart measure, {engine} - {base}"
        yield Claim(network, quantity, 0.0, _spread(ours), _spread(theirs))


def _network_claims(results: pandas.DataFrame, modl: str, varnet: str) -> Iterator[Claim]:
    table = published.read("time")
    bart = select(table, engine="bart", gpu=GPU).set_index(["network", "phase"]).value
    for phase, metric, word in (("train", "elapsed", "whole training"), ("infer", "inference", "a slice")):
        ours = _network_ratio(results, phase, metric, modl, varnet)
        if ours:
            ratio = float(bart["modl", phase] / bart["varnet", phase])
            theirs = Spread(ratio, ratio, ratio)
            yield Claim(f"{modl} / {varnet}", f"seconds of {word}, {statistics.base_of(results)}", 1.0, ours, theirs)


def _network_ratio(results: pandas.DataFrame, phase: str, metric: str, first: str, second: str) -> Spread | None:
    rows = select(results, engine=statistics.base_of(results), phase=phase, metric=metric)
    if metric == "elapsed":
        rows = select(rows, repeat=0)
    ratio = statistics.ratio_of_columns(rows, "network", first, second)
    return _spread(ratio) if ratio else None


def _spread(spread: statistics.Ratio | statistics.Difference) -> Spread:
    return Spread(spread.mean, spread.low, spread.high)


def _own_quality(results: pandas.DataFrame, kinds: dict[str, str], kind: str, engine: str, metric: str) -> Cell:
    """Return mean and deviation for each network of a kind on each engine of a family, named if there are several."""
    names = [network for network in networks_of(results) if kinds[network] == kind]
    engines = [name for name in engines_of(results) if family(name) == engine]
    numbers: list[float] = []
    templates = []
    for network, name in product(names, engines):
        cell = mean_and_deviation(statistics.slices_of(results, network, name, metric), ddof=0)
        if cell is not None:
            template = cell.template if isinstance(cell, Numbers) else str(cell)
            numbers += cell.values if isinstance(cell, Numbers) else ()
            templates.append(template + (f" ({network}, {name})" if len(names) * len(engines) > 1 else ""))
    return Numbers(tuple(numbers), "; ".join(templates)) if templates else None


def _with_range(spread: Spread) -> Cell:
    return spread.mean if spread.low == spread.high else Numbers(spread, "{} ({} to {})")
