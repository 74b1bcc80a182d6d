"""The tables of the report; each is a query on the results table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compare.results.table import select
from compare.results.table_files import NOT_AVAILABLE, is_not_available

if TYPE_CHECKING:
    import pandas

NOT_FINITE = "not finite"
PHASES = {"initial": "untrained", "apply": "trained"}
MIB = 2**20


@dataclass(frozen=True)
class Table:
    """A table as it is shown.

    Attributes:
        slug: Name of its files: lower-case letters, digits and `-`.
        title: What it is.
        caption: Definitions of its columns, and why something is `n/a`; a line each.
        frame: The cells; headings have units. Texts are shown as they are; the page shows numbers with four digits of
            the largest in their column, and what is missing as `n/a`.
    """

    slug: str
    title: str
    caption: str
    frame: pandas.DataFrame

    @property
    def columns(self) -> list[str]:
        """The headings."""
        return [str(column) for column in self.frame.columns]

    @property
    def rows(self) -> list[list[str]]:
        """The text of every cell."""
        return [[str(cell) for cell in row] for row in self.frame.itertuples(index=False, name=None)]

    @property
    def notes(self) -> list[str]:
        """The lines of the caption."""
        return self.caption.splitlines()

    def markdown(self) -> str:
        """Return the table as Markdown, with its title and notes."""
        lines = [
            f"## {self.title}",
            "",
            *map(_markdown_row, [self.columns, ["---"] * len(self.columns), *self.rows]),
            "",
        ]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes), ""])


def slug_of(text: str) -> str:
    """Return a name for files and links: lower-case letters, digits and `-`, 60 characters at most."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].rstrip("-")


def of_cells(title: str, columns: list[str], rows: list[list[str]], notes: list[str]) -> Table:
    """Make a table from its cells; its files are named after the title."""
    import pandas as pd

    return Table(slug_of(title), title, "\n".join(notes), pd.DataFrame(rows, columns=columns))


@dataclass(frozen=True)
class Column:
    """A column of measured values.

    Attributes:
        heading: With the unit.
        metric: In the results table.
        form: Format of a value.
        scale: Values are divided by this.
        kind: `mean` (with the standard deviation), `median`.
    """

    heading: str
    metric: str
    form: str = "{:.2f}"
    scale: float = 1.0
    kind: str = "mean"


_MEMORY = [
    Column("process peak / MiB", "peak_rss", "{:.0f}", MIB),
    Column("before last growth / MiB", "rss_before_growth", "{:.0f}", MIB),
    Column("peak above baseline / MiB", "rss_above_baseline", "{:.0f}", MIB),
    Column("GPU process peak / MiB", "gpu_peak", "{:.0f}", MIB),
    Column("GPU before last growth / MiB", "gpu_before_growth", "{:.0f}", MIB),
    Column("GPU device above start / MiB", "gpu_device_peak", "{:.0f}", MIB),
    Column("allocator peak / MiB", "allocator_peak", "{:.0f}", MIB),
]
_TRAINING = [
    Column("whole command / s", "elapsed", "{:.1f}"),
    Column("set-up / s", "setup", "{:.2f}"),
    Column("compilation / s", "compilation", "{:.2f}"),
    Column("all epochs / s", "training", "{:.2f}"),
    Column("epoch / s", "epoch", "{:.3f}"),
    Column("CPU / s", "cpu", "{:.1f}"),
]
_INFERENCE = [
    Column("first / ms", "inference_first", "{:.1f}", 1e-3),
    Column("slice, mean / ms", "inference", "{:.2f}", 1e-3),
    Column("slice, median / ms", "inference", "{:.2f}", 1e-3, "median"),
    Column("slice, CPU / ms", "inference_cpu", "{:.2f}", 1e-3),
]
_GPU = [
    Column(f"{word}, {kind} / {unit}", f"gpu_{word}_{kind}", "{:.0f}")
    for word, unit in (("temperature", "°C"), ("power", "W"), ("utilisation", "%"))
    for kind in ("mean", "max")
]
_SPREAD = "± is the standard deviation over the repeats; a value without it is of one repeat."


def quality(results: pandas.DataFrame) -> Table:
    """Mean and standard deviation of PSNR, SSIM and NMSE over the test slices, by our definition."""
    return _quality(results, "quality", "", "Image quality")


def quality_by_bart(results: pandas.DataFrame) -> Table:
    """The same as `bart measure` has it."""
    return _quality(results, "quality-bart", "_bart", "Image quality by BART's own measure")


def quality_by_fastmri(results: pandas.DataFrame) -> Table:
    """The same by the fastMRI convention: the test slices are one volume."""
    return _quality(results, "quality-fastmri", "_fastmri", "Image quality by the fastMRI convention")


def memory(results: pandas.DataFrame) -> Table:
    """Memory of training and of reconstruction."""
    phases = {"train": "training", "infer": "reconstruction"}
    notes = ["Process peaks and allocator peaks are different things and are not to be compared.", _SPREAD]
    return measured(results, "memory", "Memory of training and reconstruction", phases, _MEMORY, notes)


def training_time(results: pandas.DataFrame) -> Table:
    """Time of training, set-up and compilation apart."""
    whole = select(results, repeat=0)
    epochs = select(results, metric="epoch")
    per_epoch = epochs[epochs.repeat != 0]
    import pandas as pd

    notes = ["All but the epoch are of the first repeat, since later ones may train for fewer epochs.", _SPREAD]
    both = pd.concat([whole, per_epoch])
    return measured(both, "training-time", "Time of training", {"train": "training"}, _TRAINING, notes)


def inference_time(results: pandas.DataFrame) -> Table:
    """Time of reconstructing a slice, the first call apart."""
    calls = select(results, metric="inference", measured=True).groupby(["network", "engine"]).size().max()
    notes = [
        f"Of {calls if calls == calls else 0} calls after the first, all repeats; ± is their standard deviation.",
        "device time: n/a: kernels are not timed here, only wall and CPU seconds.",
    ]
    phases = {"infer": "reconstruction"}
    return measured(results, "inference-time", "Time of reconstructing one slice", phases, _INFERENCE, notes)


def gpu_state(results: pandas.DataFrame) -> Table:
    """Temperature, power and utilisation of the GPU."""
    phases = {"train": "training", "infer": "reconstruction"}
    return measured(results, "gpu-state", "State of the GPU", phases, _GPU, [_SPREAD])


def measured(
    results: pandas.DataFrame, slug: str, title: str, phases: dict[str, str], columns: list[Column], notes: list[str]
) -> Table:
    """Make a table with a row for each network, engine and phase, and a column for each metric."""
    import pandas as pd

    used = select(results, metric=[column.metric for column in columns], phase=list(phases))
    rows = []
    for key, group in used.groupby(["network", "engine", "phase"], sort=False):
        network, engine, phase = map(str, key)
        rows.append([network, engine, phases[phase], *(cell(group, column) for column in columns)])
    frame = pd.DataFrame(rows, columns=["network", "engine", "phase", *(column.heading for column in columns)])
    if len(phases) == 1:
        frame = frame.drop(columns="phase")
    return Table(slug, title, "\n".join([*_definitions(used, columns), *notes]), frame)


def cell(rows: pandas.DataFrame, column: Column) -> str:
    """Write mean ± standard deviation of a metric; one value has no deviation, none is `n/a`.

    Values that were measured and are not finite make the cell `not finite`: the others alone are not the mean.
    """
    rows = select(rows, metric=column.metric)
    values = rows[~is_not_available(rows)].value / column.scale
    if values.empty:
        return NOT_AVAILABLE
    if not np.isfinite(values).all():
        return NOT_FINITE
    if column.kind == "median":
        return column.form.format(values.median())
    mean = column.form.format(values.mean())
    return f"{mean} ± {column.form.format(values.std())}" if len(values) > 1 else mean


def _quality(results: pandas.DataFrame, slug: str, suffix: str, title: str) -> Table:
    import pandas as pd

    forms = {"psnr": ("PSNR / dB", "{:.2f}"), "ssim": ("SSIM / 1", "{:.4f}"), "nmse": ("NMSE / 1", "{:.5f}")}
    columns = [Column(heading, metric + suffix, form) for metric, (heading, form) in forms.items()]
    used = select(results, metric=[column.metric for column in columns])
    rows = []
    for key, group in used.groupby(["network", "engine", "phase"], sort=False):
        network, engine, phase = map(str, key)
        shown = PHASES[phase] if network else ""
        rows.append([network or "none", engine, shown, *(cell(group, column) for column in columns)])
    count = select(results, metric="ssim")["slice"].nunique()
    slices = f"Mean ± standard deviation of {count} held-out slices." if count > 1 else "Of one held-out slice."
    frame = pd.DataFrame(rows, columns=["network", "engine", "weights", *(column.heading for column in columns)])
    return Table(slug, title, "\n".join([slices, *_definitions(used, columns)]), frame)


def _definitions(rows: pandas.DataFrame, columns: list[Column]) -> list[str]:
    """Say what each column is, for each engine where they differ, and why a value is not available."""
    lines = []
    for column in columns:
        found = select(rows, metric=column.metric).drop_duplicates(["engine", "definition"])
        by_definition = found.groupby("definition", sort=False).engine.agg(list)
        for definition, engines in by_definition.items():
            of = f", {', '.join(engines)}" if len(by_definition) > 1 else ""
            lines.append(f"{column.heading}{of}: {definition}")
    return lines


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
