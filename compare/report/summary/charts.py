"""Quality, time and memory of all engines, engine beside engine, with intervals and the published figures."""

from __future__ import annotations

import math

from bart_bridge.errors import InputError
from compare.report import intervals
from compare.report.intervals import FIRST, PUBLISHED, SECOND, Mark
from compare.report.summary.comparison import Comparison
from compare.report.tables.measured import MIB, mean_and_deviation
from compare.report.tables.table import Numbers
from compare.results import published, statistics
from compare.results.table import select
from compare.settings.engine_names import is_bart

_GB = 1e9
_MARGIN = statistics.SAME_WITHIN_DB
_ONE_REPEAT = "one measurement"


def chart(comparison: Comparison) -> intervals.Chart | None:
    """Draw quality, time and memory of every engine; None where no network was to be trained."""
    if not comparison.networks:
        return None
    groups = {
        network: [_row(comparison, network, engine) for engine in comparison.engines_of(network)]
        for network in comparison.networks
    }
    marks = [
        [mark for rows in groups.values() for row in rows for mark in row.cells[number].marks] for number in range(3)
    ]
    base, on_gpu = comparison.base, comparison.memory_metric == "gpu_peak"
    least = (-1.5 * _MARGIN, 1.5 * _MARGIN)
    panels = [
        intervals.Panel(
            "Quality",
            f"PSNR less {base}'s / dB" if base else "PSNR / dB",
            intervals.Scale.around(marks[0], False, least),
            "paired" if comparison.psnr else "quality",
            (-_MARGIN, _MARGIN),
            0.0,
        ),
        intervals.Panel("Time", "epoch, slice / s", intervals.Scale.around(marks[1], True), "training-time"),
        intervals.Panel(
            "Memory",
            f"{'GPU ' * on_gpu}peak in training / MiB",
            intervals.Scale.around(marks[2], True),
            "memory",
        ),
    ]
    kinds = {mark.kind for panel in marks for mark in panel}
    title = "Quality, time and memory of the engines"
    return intervals.Chart(title, "engine", panels, groups, _legend(kinds), _notes(comparison, kinds))


def _legend(kinds: set[str]) -> dict[str, str]:
    legend = {
        FIRST: "mean; time: of an epoch. Lines: 95 % interval of quality, ± standard deviation of time and memory",
        SECOND: "a slice",
        PUBLISHED: "published, with its range",
    }
    return {kind: text for kind, text in legend.items() if kind in kinds}


def _notes(comparison: Comparison, kinds: set[str]) -> list[str]:
    """Explain what is equal, and which published figures are drawn and which are not."""
    notes = [f"Quality, {statistics.RULE} The band is where it is the same."] if comparison.psnr else []
    if comparison.others and (comparison.results.repeat > 0).any():
        notes.append(
            "Ratios of time and memory: geometric mean of the repeats, and in brackets the lowest and highest."
        )
    if PUBLISHED in kinds:
        notes.append(
            "Published: Blumenthal et al. 2023, with other data, sizes and GPUs. Quality: TensorFlow less BART; time: "
            "a slice with BART on an A100; memory: GPU memory of training."
        )
        if comparison.memory_metric != "gpu_peak":
            notes.append("Published memory is not drawn: it is that of the GPU, which was not read here.")
    return notes


def _row(comparison: Comparison, network: str, engine: str) -> intervals.Row:
    state = comparison.states.get((network, engine))
    cells = [
        _quality(comparison, network, engine),
        _time(comparison, network, engine),
        _memory(comparison, network, engine),
    ]
    # Said once, in the first network; build flags stand in the tables.
    facts = [comparison.software.get(engine, ""), comparison.differences.get(engine, "")]
    parts = [part for text in facts for part in text.split(", ") if "=" not in part]
    notes = list(dict.fromkeys(filter(None, parts))) if network == comparison.networks[0] else []
    return intervals.Row(engine, cells, ", ".join(notes), state.kind if state else "")


def _quality(comparison: Comparison, network: str, engine: str) -> intervals.Cell:
    psnr = statistics.slices_of(comparison.results, network, engine, "psnr")
    if psnr.empty:
        return intervals.Cell("n/a")
    mean = float(psnr.mean())
    text = f"{mean:.2f} dB" if math.isfinite(mean) else "not finite"
    marks = [Mark(0.0, 0.0, 0.0)] if engine == comparison.base and math.isfinite(mean) else []
    difference = comparison.psnr.get((network, engine))
    if difference and math.isfinite(difference.mean):
        low, high = (end if math.isfinite(end) else difference.mean for end in (difference.low, difference.high))
        marks.append(Mark(difference.mean, low, high))
    if engine != comparison.base and is_bart(comparison.base) and not is_bart(engine):
        theirs = _published("psnr", comparison.kinds[network], engine)
        marks += [Mark(theirs[0], theirs[1], theirs[2], PUBLISHED)] if theirs else []
    return intervals.Cell(text, marks)


def _time(comparison: Comparison, network: str, engine: str) -> intervals.Cell:
    texts, marks = [], []
    for phase, metric, kind in (("train", "epoch", FIRST), ("infer", "inference", SECOND)):
        mark = _measured(comparison, (network, engine), phase, metric, kind)
        if mark:
            marks.append(mark)
            texts.append(_seconds(mark.mean))
    theirs = _published("slice", comparison.kinds[network], engine)
    marks += [Mark(*theirs, PUBLISHED)] if theirs else []
    if len(texts) == 2 and texts[0].endswith(" ms") and texts[1].endswith(" ms"):
        texts[0] = texts[0].removesuffix(" ms")
    return intervals.Cell(", ".join(texts) or "n/a", marks)


def _memory(comparison: Comparison, network: str, engine: str) -> intervals.Cell:
    mark = _measured(comparison, (network, engine), "train", comparison.memory_metric, FIRST, MIB)
    marks = [mark] if mark else []
    if comparison.memory_metric == "gpu_peak":
        theirs = _published("memory", comparison.kinds[network], engine)
        marks += [Mark(*theirs, PUBLISHED)] if theirs else []
    return intervals.Cell(f"{mark.mean:.0f} MiB" if mark else "n/a", marks)


def _measured(
    comparison: Comparison, run: tuple[str, str], phase: str, metric: str, kind: str, scale: float = 1.0
) -> Mark | None:
    """Return mean and standard deviation as the tables have them; None without a finite value."""
    network, engine = run
    rows = select(comparison.results, network=network, engine=engine, phase=phase, metric=metric, measured=True)
    cell = mean_and_deviation(rows.value / scale)
    if isinstance(cell, Numbers):
        mean, deviation = cell.values
        return Mark(mean, mean - deviation, mean + deviation, kind)
    return Mark(cell, cell, cell, kind) if isinstance(cell, float) else None


def _published(quantity: str, kind: str, engine: str) -> tuple[float, float, float] | None:
    """Return mean and range of a published quantity in the unit of its panel; None where there is none."""
    family = "bart" if is_bart(engine) else "tensorflow"
    try:
        if quantity == "psnr":
            difference = published.psnr_difference(kind)
            return difference.mean, difference.low, difference.high
        if quantity == "slice":
            values = [value / 1e3 for value in published.slice_ms(kind, family)]
        else:
            values = [value * _GB / MIB for value in published.training_gb(kind, family)]
    except InputError:  # the report says which file is damaged
        return None
    return (sum(values) / len(values), min(values), max(values)) if values else None


def _seconds(value_s: float) -> str:
    """Write seconds with two digits: the tables have more."""
    value, unit = (value_s, "s") if value_s >= 1 else (1e3 * value_s, "ms")
    return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
