"""The published memory, times and states of a GPU beside those of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compare.report.tables.measured import MIB
from compare.report.tables.relative import engines_of, networks_of, three_digits
from compare.report.tables.table import Cell, Format, Numbers, Table, table_of_rows
from compare.results import gaps, published
from compare.results.table import select
from compare.settings.engine_names import is_bart

if TYPE_CHECKING:
    import pandas

TITLES = {"bart": "BART", "tensorflow": "TensorFlow", "train": "training", "infer": "reconstruction"}
GPU = "A100"
SOURCES = [
    "Published: not measured here. B22: Blumenthal et al. 2023, doi 10.1002/mrm.29485; T: the thesis, partly from B22.",
]


def memory(results: pandas.DataFrame, kinds: dict[str, str]) -> Table:
    """Show the memory peaks of this experiment beside the published ones, each in columns of their own."""
    table = published.read("memory")
    gpus = list(table.gpu.unique())
    rows: list[list[Cell]] = []
    for network in networks_of(results):
        for engine in engines_of(results, network):
            for phase in ("train", "infer"):
                ours = [_mean(_values(results, network, engine, phase, metric)) for metric in ("peak_rss", "gpu_peak")]
                peaks = select(table, network=kinds[network], engine=family(engine), phase=phase).set_index("gpu")
                theirs = [Numbers((peaks.main_gb[gpu], peaks.second_gb[gpu]), "{} ({})") for gpu in gpus]
                ours_mib = [None if peak is None else peak / MIB for peak in ours]
                rows.append([network, engine, TITLES[phase], *ours_mib, *theirs])
    columns: dict[str, Format] = dict.fromkeys(["network", "engine", "phase"], "")
    columns |= {"ours: process peak / MiB": ".0f", "ours: GPU process peak / MiB": ".0f"}
    columns |= {f"published: {gpu} / GB": "" for gpu in gpus}
    notes = [
        "ours: as in the table of memory; n/a: no GPU memory was read, the reason is in that table.",
        "published, main (second): GPU memory. The source calls the second figure the peak; for TensorFlow it is below "
        "the first, so it fits the level before the last growth of the allocator, and for BART the figure with cuDNN.",
        "Published sizes of networks and images are those of configs/varnet_knee.yaml and configs/modl_brain.yaml.",
        *SOURCES,
    ]
    return table_of_rows("Memory, ours and published", columns, rows, notes, "published-memory")


def time(results: pandas.DataFrame, kinds: dict[str, str]) -> Table:
    """Show the times of this experiment beside the published ones."""
    table = published.read("time")
    rows: list[list[Cell]] = []
    for network in networks_of(results):
        for engine in engines_of(results, network):
            # Later repeats may train for fewer epochs.
            training_s = _values(results, network, engine, "train", "elapsed")[:1]
            slice_s = _values(results, network, engine, "infer", "inference")
            ours = [_mean(training_s / 60), _mean(slice_s * 1e3)]
            times = select(table, network=kinds[network], engine=family(engine), gpu=GPU)
            theirs = [_mean(select(times, phase=phase).value) for phase in ("train", "infer")]
            rows.append([network, engine, *ours, *theirs])
    columns: dict[str, Format] = {"network": "", "engine": ""}
    columns |= {"ours: training / min": three_digits, "ours: slice / ms": ".2f"}
    columns |= {f"published: training, {GPU} / min": "g", f"published: inference, {GPU} / ms": "g"}
    notes = [
        "ours: whole training command of the first repeat, mean reconstruction of a slice as in the table of times.",
        "published: training of BART and inference (mean of 20) from T, Table 3; training of TensorFlow from B22. BART "
        "and TensorFlow made different numbers of updates there, so their times are not to be divided.",
        "n/a: not published, or not measured here.",
        *gaps.continued(results),
        *SOURCES,
    ]
    return table_of_rows("Time, ours and published", columns, rows, notes, "published-time")


def gpu_state(results: pandas.DataFrame, kinds: dict[str, str]) -> Table:
    """Show the state of the GPU in training beside the published one."""
    table = published.read("gpu_state")
    state = {"temperature": "temperature_c", "power": "power_w", "utilisation": "utilisation_percent"}
    rows: list[list[Cell]] = []
    for network in networks_of(results):
        for engine in engines_of(results, network):
            ours = [_mean(_values(results, network, engine, "train", f"gpu_{name}_mean")[:1]) for name in state]
            peak = _mean(_values(results, network, engine, "train", "gpu_peak")[:1])
            there = select(table, network=kinds[network], engine=family(engine))
            theirs = [_mean(there[column]) for column in (*state.values(), "memory_mib")]
            rows.append([network, engine, *ours, None if peak is None else peak / MIB, *theirs])
    units = ("temperature / °C", "power / W", "utilisation / %", "memory / MiB")
    columns: dict[str, Format] = {"network": "", "engine": ""}
    columns |= {f"ours: {unit}": ".0f" for unit in units} | {f"published: {unit}": ".0f" for unit in units}
    notes = [
        "ours: means over the samples of the training in which the process was on a GPU; memory: its peak.",
        f"published: one reading of BART on an {', '.join(table.gpu.unique())} (T, Table 4); n/a for TensorFlow.",
        *SOURCES,
    ]
    return table_of_rows(
        "State of the GPU in training, ours and published", columns, rows, notes, "published-gpu-state"
    )


def family(engine: str) -> str:
    """Return which of the published engines is compared with an engine of this project."""
    return "bart" if is_bart(engine) else "tensorflow"


def _values(results: pandas.DataFrame, network: str, engine: str, phase: str, metric: str) -> pandas.Series[float]:
    rows = select(results, network=network, engine=engine, phase=phase, metric=metric, measured=True)
    values: pandas.Series[float] = rows.sort_values("repeat", kind="stable").value
    return values


def _mean(values: pandas.Series[float]) -> float | None:
    return None if values.empty else float(values.mean())
