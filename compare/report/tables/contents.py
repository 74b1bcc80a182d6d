"""All tables of an experiment, in the order of the report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bart_bridge.errors import InputError
from compare.report.tables import measured, published_costs, relative, seeds
from compare.report.tables import published as published_tables
from compare.report.tables.table import Cell, Table, table_of_rows
from compare.results.barts import barts
from compare.settings.experiment import Experiment, apart_from_seeds

if TYPE_CHECKING:
    import pandas


def tables_of_experiment(experiment: Experiment, results: pandas.DataFrame) -> list[Table]:
    """Make the tables of an experiment from its results table alone, and leave out those without rows.

    The last lines of each caption name the BARTs that its numbers are of.
    """
    kinds: dict[str, str] = {name: trained.network.kind for name, trained in experiment.networks.items()}
    groups = apart_from_seeds(experiment)
    tables = [
        relative.paired(results),
        seeds.scale(results, groups),
        seeds.paired_seeds(results, groups),
        seeds.exchanged(results, kinds),
        measured.quality(results),
        measured.quality_by_bart(results),
        measured.quality_by_fastmri(results),
        relative.check(results),
        relative.time_ratios(results),
        measured.training_time(results),
        measured.inference_time(results),
        relative.memory_ratios(results),
        measured.memory(results),
        *_published(results, kinds),
        measured.gpu_state(results),
        measured.energy(results),
    ]
    made = [table for table in tables if table is not None and len(table.frame)]
    return [replace(table, caption="\n".join([*table.notes, *barts(results)])) for table in made]


def _published(results: pandas.DataFrame, kinds: dict[str, str]) -> list[Table | None]:
    tables: list[Table | None] = []
    faults: list[list[Cell]] = []
    for table in (
        published_tables.agreement,
        published_costs.memory,
        published_costs.time,
        published_costs.gpu_state,
        published_tables.quality,
    ):
        try:
            tables.append(table(results, kinds))
        except InputError as error:
            faults.append([str(error)])
    note = "The tables that need these files are left out."
    return [*tables, table_of_rows("Published figures that are damaged", {"file": ""}, faults, [note])]
