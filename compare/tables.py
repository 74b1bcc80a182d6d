"""The tables of the report; each is a query on the results table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

PHASES = {"initial": "untrained", "apply": "trained"}
_NOT_AVAILABLE = "n/a"


@dataclass(frozen=True)
class Table:
    """A table as it is shown.

    Attributes:
        title: What it is.
        columns: Headings, with units.
        rows: Text of every cell.
        notes: Definitions and reasons below it.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]

    def markdown(self) -> str:
        """Return the table as Markdown, with its title and notes."""
        lines = [
            f"## {self.title}",
            "",
            *map(_markdown_row, [self.columns, ["---"] * len(self.columns), *self.rows]),
            "",
        ]
        return "\n".join([*lines, *(f"- {note}" for note in self.notes), ""])


def quality(results: pandas.DataFrame) -> Table:
    """Mean and standard deviation of PSNR, SSIM and NMSE over the test slices."""
    measured = results[results.metric.isin(["psnr", "ssim", "nmse"])]
    formats = {"psnr": "{:.2f}", "ssim": "{:.4f}", "nmse": "{:.5f}"}
    rows = []
    for key, group in measured.groupby(["network", "engine", "phase"], sort=False):
        network, engine, phase = map(str, key)
        cells = [_mean(group[group.metric == metric].value, form) for metric, form in formats.items()]
        rows.append([network or "none", engine, PHASES[phase] if network else "", *cells])
    slices = measured["slice"].nunique()
    return Table(
        f"Image quality of {slices} held-out slices, mean ± standard deviation"
        if slices > 1
        else "Image quality of one slice",
        ["network", "engine", "weights", "PSNR / dB", "SSIM", "NMSE"],
        rows,
        _definitions(measured),
    )


def cost(results: pandas.DataFrame) -> Table:
    """Time and memory of training and of reconstructing the test slices."""
    columns = ["elapsed", "cpu", "peak_rss", "gpu_peak"]
    used = results[results.metric.isin(columns) & results.phase.isin(["train", "apply"])]
    rows = []
    for key, group in used.groupby(["network", "engine", "phase"], sort=False):
        network, engine, phase = map(str, key)
        value = group.set_index("metric").value
        rows.append(
            [
                network,
                engine,
                {"train": "training", "apply": "reconstruction"}[phase],
                f"{value['elapsed']:.1f}",
                f"{value['cpu']:.1f}",
                _mebibytes(value["peak_rss"]),
                _mebibytes(value["gpu_peak"]),
            ]
        )
    notes = _definitions(used)
    return Table(
        "Time and memory of whole commands, start and set-up included",
        ["network", "engine", "phase", "wall / s", "CPU / s", "peak RSS / MiB", "peak GPU memory / MiB"],
        rows,
        notes,
    )


def ratios(results: pandas.DataFrame) -> Table | None:
    """Keras relative to BART: what costs how many times as much; None unless both engines ran."""
    used = results[results.metric.isin(["elapsed", "peak_rss"]) & results.phase.isin(["train", "apply"])]
    wide = used.pivot_table(index=["network", "phase", "metric"], columns="engine", values="value", sort=False)
    if not {"bart", "keras-tensorflow"} <= set(wide.columns):
        return None
    ratio = (wide["keras-tensorflow"] / wide["bart"]).dropna()
    rows = []
    for network in dict.fromkeys(ratio.index.get_level_values("network")):
        for phase, shown in (("train", "training"), ("apply", "reconstruction")):
            cells = [
                f"{ratio[network, phase, metric]:.2f}" if (network, phase, metric) in ratio.index else _NOT_AVAILABLE
                for metric in ("elapsed", "peak_rss")
            ]
            rows.append([network, shown, *cells])
    return Table(
        "Keras on TensorFlow divided by BART",
        ["network", "phase", "wall seconds", "peak RSS"],
        rows,
        ["One run each: the machine's noise is in these ratios. Both figures include start and set-up of the process."],
    )


def _markdown_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _mean(values: pandas.Series[float], form: str) -> str:
    """Write mean ± standard deviation; one value has no deviation."""
    mean = form.format(values.mean())
    return f"{mean} ± {form.format(values.std())}" if len(values) > 1 else mean


def _mebibytes(value: float) -> str:
    return _NOT_AVAILABLE if value != value else f"{value / 2**20:.0f}"


def _definitions(rows: pandas.DataFrame) -> list[str]:
    pairs = rows[["metric", "definition"]].drop_duplicates()
    return [f"{metric}: {definition}" for metric, definition in pairs.itertuples(index=False)]
