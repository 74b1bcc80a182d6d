"""The tables of what was measured: quality, memory, times and the state of the GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bart_bridge.wording import counted
from compare.report.tables.table import NOT_FINITE, Cell, Format, Numbers, Table, table_of_rows
from compare.results.table import select
from compare.results.table_files import is_not_available

if TYPE_CHECKING:
    import pandas

MIB = 2**20
_WEIGHTS = {"initial": "untrained", "apply": "trained"}


@dataclass(frozen=True)
class Column:
    """A column of measured values.

    Attributes:
        heading: With the unit.
        metric: In the results table.
        form: Format of its numbers.
        scale: Values are divided by this.
        kind: `mean` (with the standard deviation) or `median`.
    """

    heading: str
    metric: str
    form: str = ".2f"
    scale: float = 1.0
    kind: str = "mean"


_MEMORY = [
    Column("process peak / MiB", "peak_rss", ".0f", MIB),
    Column("before last growth / MiB", "rss_before_growth", ".0f", MIB),
    Column("peak above baseline / MiB", "rss_above_baseline", ".0f", MIB),
    Column("GPU process peak / MiB", "gpu_peak", ".0f", MIB),
    Column("GPU before last growth / MiB", "gpu_before_growth", ".0f", MIB),
    Column("GPU device above start / MiB", "gpu_device_peak", ".0f", MIB),
    Column("allocator peak / MiB", "allocator_peak", ".0f", MIB),
]
_TRAINING = [
    Column("whole command / s", "elapsed", ".1f"),
    Column("set-up / s", "setup", ".2f"),
    Column("compilation / s", "compilation", ".2f"),
    Column("all epochs / s", "training", ".2f"),
    Column("epoch / s", "epoch", ".3f"),
    Column("CPU / s", "cpu", ".1f"),
]
_INFERENCE = [
    Column("first / ms", "inference_first", ".1f", 1e-3),
    Column("slice, mean / ms", "inference", ".2f", 1e-3),
    Column("slice, median / ms", "inference", ".2f", 1e-3, "median"),
    Column("slice, CPU / ms", "inference_cpu", ".2f", 1e-3),
]
_GPU = [
    Column(f"{word}, {kind} / {unit}", f"gpu_{word}_{kind}", ".0f")
    for word, unit in (("temperature", "°C"), ("power", "W"), ("utilisation", "%"))
    for kind in ("mean", "max")
]
_ENERGY = [
    Column("training / kJ", "gpu_energy", ".2f", 1e3),
    Column("reconstruction, slice / J", "gpu_energy_slice", ".2f"),
]
_SPREAD = "± is the standard deviation over the repeats; a value without it is of one repeat."


def quality(results: pandas.DataFrame) -> Table:
    """Show mean and standard deviation of PSNR, SSIM and NMSE over the test slices, by our definition."""
    return _quality(results, "quality", "", "Image quality")


def quality_by_bart(results: pandas.DataFrame) -> Table:
    """Show the same by the definition of `bart measure`."""
    return _quality(results, "quality-bart", "_bart", "Image quality by BART's own measure")


def quality_by_fastmri(results: pandas.DataFrame) -> Table:
    """Show the same by the fastMRI convention: the test slices are one volume."""
    return _quality(results, "quality-fastmri", "_fastmri", "Image quality by the fastMRI convention")


def memory(results: pandas.DataFrame) -> Table:
    """Show the memory of training and of reconstruction."""
    phases = {"train": "training", "infer": "reconstruction"}
    notes = ["Process peaks and allocator peaks are different things and are not to be compared.", _SPREAD]
    return measured(results, "memory", "Memory of training and reconstruction", phases, _MEMORY, notes)


def training_time(results: pandas.DataFrame) -> Table:
    """Show the time of training, with set-up and compilation apart."""
    import pandas as pd

    whole = select(results, repeat=0)
    epochs = select(results, metric="epoch")
    per_epoch = epochs[epochs.repeat != 0]
    notes = ["All but the epoch are of the first repeat, since later ones may train for fewer epochs.", _SPREAD]
    both = pd.concat([whole, per_epoch])
    return measured(both, "training-time", "Time of training", {"train": "training"}, _TRAINING, notes)


def inference_time(results: pandas.DataFrame) -> Table:
    """Show the time of reconstructing a slice, with the first call apart."""
    calls = select(results, metric="inference", measured=True).groupby(["network", "engine"]).size().max()
    count = int(calls) if calls == calls else 0
    notes = [
        f"Of {counted(count, 'call')} after the first, all repeats; ± is their standard deviation.",
        "device time: n/a: kernels are not timed here, only wall and CPU seconds.",
    ]
    phases = {"infer": "reconstruction"}
    return measured(results, "inference-time", "Time of reconstructing one slice", phases, _INFERENCE, notes)


def gpu_state(results: pandas.DataFrame) -> Table:
    """Show temperature, power and utilisation of the GPU."""
    phases = {"train": "training", "infer": "reconstruction"}
    return measured(results, "gpu-state", "State of the GPU", phases, _GPU, [_SPREAD])


def energy(results: pandas.DataFrame) -> Table | None:
    """Show the energy that the GPU took for a training and for a slice; None in results that do not know it."""
    used = select(results, metric="gpu_energy", phase="train")
    if used.empty:
        return None
    rows: list[list[Cell]] = []
    for key, group in used.groupby(["network", "engine"], sort=False):
        network, engine = map(str, key)
        slices = select(results, network=network, engine=engine, phase="apply", metric="gpu_energy_slice")
        cells = [cell(part, column) for part, column in zip((select(group, repeat=0), slices), _ENERGY, strict=True)]
        rows.append([network, engine, *cells])
    headings: dict[str, Format] = {"network": "", "engine": ""}
    headings |= {column.heading: column.form for column in _ENERGY}
    phases = {"train": _ENERGY[0], "apply": _ENERGY[1]}
    notes = [
        line
        for phase, column in phases.items()
        for line in _definitions(select(results, phase=phase, repeat=0), [column])
    ]
    return table_of_rows("Energy of the GPU", headings, rows, notes, "energy")


def measured(
    results: pandas.DataFrame, slug: str, title: str, phases: dict[str, str], columns: list[Column], notes: list[str]
) -> Table:
    """Make a table with a row for each network, engine and phase, and a column for each metric.

    Args:
        results: The results table.
        slug: Name of the table's files.
        title: What it shows.
        phases: Phases of the rows, and what each is called; a single phase has no column of its own.
        columns: The columns.
        notes: Further lines of the caption.
    """
    used = select(results, metric=[column.metric for column in columns], phase=list(phases))
    rows: list[list[Cell]] = []
    for key, group in used.groupby(["network", "engine", "phase"], sort=False):
        network, engine, phase = map(str, key)
        phase_name = [phases[phase]] if len(phases) > 1 else []
        rows.append([network, engine, *phase_name, *(cell(group, column) for column in columns)])
    headings: dict[str, Format] = dict.fromkeys(["network", "engine", *(["phase"] if len(phases) > 1 else [])], "")
    headings |= {column.heading: column.form for column in columns}
    return table_of_rows(title, headings, rows, [*_definitions(used, columns), *notes], slug)


def cell(rows: pandas.DataFrame, column: Column) -> Cell:
    """Return mean and standard deviation, or the median, of a metric; see `mean_and_deviation`."""
    rows = select(rows, metric=column.metric)
    values = rows[~is_not_available(rows)].value / column.scale
    if column.kind == "median" and np.isfinite(values).all():
        return float(values.median()) if len(values) else None
    return mean_and_deviation(values)


def mean_and_deviation(values: pandas.Series[float], ddof: int = 1) -> Cell:
    """Return the mean of some values and their standard deviation.

    Args:
        values: Measured values.
        ddof: 1 for the deviation of a sample, n - 1 in the denominator; 0 for that of a population.

    Returns:
        None without values; the value if it is a single one of a sample; `not finite` if any of them is not: the mean
        of the others is not the mean.
    """
    if values.empty:
        return None
    if not np.isfinite(values).all():
        return NOT_FINITE
    mean = float(values.mean())
    return mean if len(values) <= ddof else Numbers((mean, float(values.std(ddof=ddof))), "{} ± {}")


def _quality(results: pandas.DataFrame, slug: str, suffix: str, title: str) -> Table:
    forms = {"psnr": ("PSNR / dB", ".2f"), "ssim": ("SSIM / 1", ".4f"), "nmse": ("NMSE / 1", ".5f")}
    columns = [Column(heading, metric + suffix, form) for metric, (heading, form) in forms.items()]
    used = select(results, metric=[column.metric for column in columns])
    rows: list[list[Cell]] = []
    for key, group in used.groupby(["network", "engine", "phase"], sort=False):
        network, engine, phase = map(str, key)
        weights = _WEIGHTS[phase] if network else ""
        rows.append([network or "none", engine, weights, *(cell(group, column) for column in columns)])
    count = select(results, metric="ssim")["slice"].nunique()
    slices = f"Mean ± standard deviation of {count} held-out slices." if count > 1 else "Of one held-out slice."
    headings: dict[str, Format] = dict.fromkeys(["network", "engine", "weights"], "")
    headings |= {column.heading: column.form for column in columns}
    return table_of_rows(title, headings, rows, [slices, *_definitions(used, columns)], slug)


def _definitions(rows: pandas.DataFrame, columns: list[Column]) -> list[str]:
    """Say what each column is, for each engine where they differ, and why a value is not available."""
    lines = []
    for column in columns:
        distinct = select(rows, metric=column.metric).drop_duplicates(["engine", "definition"])
        by_definition = distinct.groupby("definition", sort=False).engine.agg(list)
        for definition, engines in by_definition.items():
            names = f", {', '.join(engines)}" if len(by_definition) > 1 else ""
            lines.append(f"{column.heading}{names}: {definition}")
    return lines
