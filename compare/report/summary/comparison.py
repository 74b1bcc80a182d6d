"""The engines of an experiment against one of them: what claims and charts have in common."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from compare.report.tables.relative import engines_of, networks_of
from compare.results import run_facts, statistics
from compare.results.run_states import Key, State
from compare.results.table import select
from compare.settings.experiment import Experiment, apart_from_seeds

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Comparison:
    """Trained networks on several engines.

    Attributes:
        results: The results table.
        kinds: Kind of each network, `varnet` or `modl`, by its name.
        engines: All engines, those without results too.
        base: The engine that the others are compared with; empty for none.
        psnr: Paired differences of PSNR in dB to the base.
        states: What is wrong with a run.
        software: Version and BLAS of each engine.
        differences: What differs between the runs of the engines.
        memory_metric: `gpu_peak` where GPU memory was read, else `peak_rss`.
        runs: Network and engine of each run, those without results too.
        seed_scales: What seeds change in PSNR in dB beside what engines change, by the first network of those that
            differ in their seed only, and the other engine.
    """

    results: pandas.DataFrame
    kinds: dict[str, str]
    engines: list[str]
    base: str
    psnr: dict[Key, statistics.Difference]
    states: dict[Key, State]
    software: dict[str, str]
    differences: dict[str, str]
    memory_metric: str
    runs: frozenset[Key]
    seed_scales: dict[Key, statistics.SeedScale]

    def engines_of(self, network: str) -> list[str]:
        """List the engines of a network."""
        return [engine for engine in self.engines if (network, engine) in self.runs]

    def others_of(self, network: str) -> list[str]:
        """List the engines of a network but the base."""
        return [engine for engine in self.engines_of(network) if engine != self.base]

    @property
    def networks(self) -> list[str]:
        """The networks, in the order of the experiment."""
        return list(self.kinds)

    @property
    def others(self) -> list[str]:
        """The engines but the base."""
        return [engine for engine in self.engines if engine != self.base]


def compare(experiment: Experiment, results: pandas.DataFrame, states: dict[Key, State]) -> Comparison:
    """Compare the engines of an experiment.

    Args:
        experiment: The experiment.
        results: Its results table.
        states: See `compare.results.run_states`.
    """
    base = statistics.base_of(results)
    psnr: dict[Key, statistics.Difference] = {}
    for network, engine in product(networks_of(results), engines_of(results)):
        ours, theirs = (statistics.slices_of(results, network, name, "psnr") for name in (engine, base))
        difference = statistics.paired_slices(ours, theirs)
        if difference and engine != base:
            psnr[network, engine] = difference
    scales = {
        (names[0], engine): statistics.seed_scale(results, names, engine, base, "psnr")
        for names, engine in product(apart_from_seeds(experiment), engines_of(results))
        if engine != base
    }
    gpu = select(results, phase="train", metric="gpu_peak", measured=True)
    return Comparison(
        results=results,
        kinds={name: trained.network.kind for name, trained in experiment.networks.items()},
        engines=list(dict.fromkeys([*experiment.engines, *engines_of(results)])),
        base=base,
        psnr=psnr,
        states=states,
        software=run_facts.software(results),
        differences=run_facts.differences(results),
        memory_metric="peak_rss" if gpu.empty else "gpu_peak",
        runs=frozenset([*experiment.runs(), *zip(results.network, results.engine, strict=True)]),
        seed_scales={key: scale for key, scale in scales.items() if scale},
    )
