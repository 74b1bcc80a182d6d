"""Tables that set engines against each other on the scale of what another seed changes, and weights against weights."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from compare.report.tables.relative import MEASURES, difference_cells, engines_of, p_value, three_digits
from compare.report.tables.table import Cell, Format, Table, table_of_rows
from compare.results import statistics
from compare.results.table import select
from compare.results.table_files import is_not_available

if TYPE_CHECKING:
    import pandas

# As in docs/memory-and-precision.md: rounding alone, for each network, in single precision.
_EXPECTED = {"varnet": 1e-6, "modl": 1e-4}


def paired_seeds(results: pandas.DataFrame, groups: list[list[str]]) -> Table | None:
    """Show the differences between trainings that differ in their seed only; None if there are no two of them.

    Args:
        results: The results table.
        groups: Names of networks that differ in nothing but their seed.
    """
    rows: list[list[Cell]] = []
    for group in groups:
        for engine in engines_of(results):
            for first, second in combinations(group, 2):
                for measure, heading in MEASURES.items():
                    pair = [statistics.slices_of(results, name, engine, measure) for name in (second, first)]
                    difference = statistics.paired_slices(*pair)
                    if difference:
                        rows.append([engine, f"{second} - {first}", heading, *difference_cells(difference)])
    if not rows:
        return None
    notes = [
        "Trainings from other initial weights on one engine, slice by slice; everything else is the same.",
        "Columns as in the paired comparison of engines.",
    ]
    columns: dict[str, Format] = {"engine": "", "difference": "", "measure": "", "mean difference": "+.3g"}
    columns |= {"95 % interval": "+.3g", "p / 1": p_value, "slices": ""}
    return table_of_rows("Paired comparison of seeds", columns, rows, notes, "paired-seeds")


def scale(results: pandas.DataFrame, groups: list[list[str]]) -> Table | None:
    """Show whether engines differ by more than seeds do; None without two engines and two seeds.

    Args:
        results: The results table.
        groups: Names of networks that differ in nothing but their seed.
    """
    engines = engines_of(results)
    base = statistics.base_of(results)
    rows: list[list[Cell]] = []
    for group in groups:
        for engine in engines:
            for measure, heading in MEASURES.items():
                apart = statistics.seed_scale(results, group, engine, base, measure) if engine != base else None
                if apart:
                    verdict = "yes" if apart.engines <= apart.seeds else "no"
                    numbers = [apart.engines, apart.seeds, apart.engines_rms, apart.seeds_rms]
                    rows.append([", ".join(apart.networks), f"{engine}, {base}", heading, *numbers, verdict])
    if not rows:
        return None
    notes = [
        "between engines: largest absolute mean difference over the test slices of the two engines, of all seeds.",
        "between seeds: the same of any two seeds, of both engines.",
        "rms: largest root mean square of the differences of slices, which do not cancel.",
        "engines no further: whether the mean differs between engines by no more than between seeds.",
        "A seed without finite values on one of the two engines is left out.",
    ]
    columns: dict[str, Format] = {"networks": "", "engines": "", "measure": ""}
    columns |= dict.fromkeys(["between engines", "between seeds", "between engines, rms", "between seeds, rms"], ".3g")
    return table_of_rows(
        "Engine against engine, and seed against seed", columns | {"engines no further": ""}, rows, notes, "seed-scale"
    )


def exchanged(results: pandas.DataFrame, kinds: dict[str, str]) -> Table | None:
    """Show what is left of a difference between engines if both have the same trained weights; None without values.

    Args:
        results: The results table.
        kinds: Kind of each network, by its name.
    """
    values = select(results, metric=("image_difference", "psnr_difference"))
    rows: list[list[Cell]] = []
    for key, group in values.groupby(["network", "engine", "phase"], sort=False):
        network, engine, phase = map(str, key)
        cells: list[Cell] = [None] * 4
        images = select(group, metric="image_difference")
        if not is_not_available(images).any():
            psnr = select(group, metric="psnr_difference").value
            within = "yes" if images.value.max() <= _EXPECTED[kinds[network]] else "no"
            cells = [float(images.value.mean()), float(images.value.max()), within, float(psnr.abs().max())]
        expected = _EXPECTED[kinds[network]]
        rows.append([network, phase.removeprefix("weights-of-"), engine, *cells[:2], expected, cells[2], cells[3]])
    if not rows:
        return None
    reasons = values[is_not_available(values)]
    notes = [
        "image: l2 norm of the difference of the complex images of the two engines with the same trained weights, by "
        "that of the engine that trained them, for each test slice.",
        "expected: by rounding in single precision, for networks of the published size.",
        "PSNR: largest absolute difference of a slice.",
        *(f"{row.network}, {row.engine} with {row.phase}: {row.definition}" for row in reasons.itertuples()),
    ]
    columns: dict[str, Format] = {"network": "", "trained by": "", "reconstructed by": ""}
    columns |= {"image, mean / 1": ".1e", "image, largest / 1": ".1e", "expected / 1": ".0e", "within": ""}
    columns |= {"PSNR, largest / dB": three_digits_or_exponent}
    return table_of_rows("Reconstruction with the weights of the other engine", columns, rows, notes, "weights-across")


def three_digits_or_exponent(number: float) -> str:
    """Write a number with three digits, a small one with an exponent."""
    return three_digits(number) if number >= 0.001 else f"{number:.1e}"
