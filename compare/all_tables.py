"""All tables of an experiment, in the order of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bart_bridge.errors import InputError
from compare import tables, tables_compared, tables_published
from compare.config import Experiment
from compare.tables import Table

if TYPE_CHECKING:
    import pandas


def of(experiment: Experiment, results: pandas.DataFrame) -> list[Table]:
    """Make the tables of an experiment from its results table alone; those with nothing in them are left out."""
    kinds: dict[str, str] = {name: trained.network.kind for name, trained in experiment.networks.items()}
    measured = [
        tables_compared.ratios(results),
        tables.quality(results),
        tables_compared.paired(results),
        tables.memory(results),
        tables.training_time(results),
        tables.inference_time(results),
        tables.gpu_state(results),
        tables.quality_by_bart(results),
        tables.quality_by_fastmri(results),
        tables_compared.check(results),
    ]
    return [table for table in [*measured, *_published(results, kinds)] if table is not None and len(table.frame)]


def _published(results: pandas.DataFrame, kinds: dict[str, str]) -> list[Table | None]:
    try:
        return [
            tables_published.agreement(results, kinds),
            tables_published.memory(results, kinds),
            tables_published.time(results, kinds),
            tables_published.quality(results, kinds),
        ]
    except InputError:
        # Installed without the repository, there are no published figures to show.
        return []
