"""All tables of an experiment, in the order of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bart_bridge.errors import InputError
from compare.report.tables import published as tables_published
from compare.report.tables import relative
from compare.report.tables import table as tables
from compare.report.tables.table import Table
from compare.results import published
from compare.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas


def of(experiment: Experiment, results: pandas.DataFrame) -> list[Table]:
    """Make the tables of an experiment from its results table alone; those with nothing in them are left out."""
    kinds: dict[str, str] = {name: trained.network.kind for name, trained in experiment.networks.items()}
    measured = [
        relative.ratios(results),
        tables.quality(results),
        relative.paired(results),
        tables.memory(results),
        tables.training_time(results),
        tables.inference_time(results),
        tables.gpu_state(results),
        tables.quality_by_bart(results),
        tables.quality_by_fastmri(results),
        relative.check(results),
    ]
    return [table for table in [*measured, *_published(results, kinds)] if table is not None and len(table.frame)]


def _published(results: pandas.DataFrame, kinds: dict[str, str]) -> list[Table | None]:
    if not published.installed():
        return []
    made: list[Table | None] = []
    faults = []
    for table in (tables_published.agreement, tables_published.memory, tables_published.time, tables_published.quality):
        try:
            made.append(table(results, kinds))
        except InputError as error:
            faults.append([str(error)])
    note = "The tables that need these files are left out."
    damaged = tables.of_cells("Published figures that are damaged", ["file"], faults, [note])
    return [*made, damaged]
