"""Rows of the results table about time and memory, from the records and the sampled curves of runs."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.files import atomic
from compare.measuring import timing
from compare.measuring.memory_sampling import GPU_TOLERANCE_BYTES, RSS_TOLERANCE, Curve, level_before_growth
from compare.running import records
from compare.running.records import DIVERGED, Record
from compare.running.run_files import Run
from compare.running.steps import NOT_RUN

Value = tuple[str, float | None, str, str]
_LEVEL = "highest level held for 0.3 s before the peak, a lower bound on the need"
_STATE = {"temperature": ("gpu_temperature_c", "C"), "power": ("gpu_power_w", "W")}
_TIMED = {"train": tuple(timing.DEFINITIONS), "infer": ("inference_first", "inference", "inference_cpu")}
_STATE["utilisation"] = ("gpu_utilisation_percent", "%")


def costs_of_phase(run: Run, phase: str) -> Iterator[Value]:
    """Yield metric, value, unit and definition for a phase that finished or failed.

    Where there is no value, the definition says why.

    Raises:
        InputError: Its record is damaged.
    """
    record_path = run.record(phase) if run.record(phase).exists() else run.failure(phase)
    if not record_path.exists():
        return
    record = records.load(record_path, "measurement", "failed")
    if "failed" in record:
        if DIVERGED in record:
            yield DIVERGED, record[DIVERGED], "1", record["failed"]
        reason = why_missing(record)
        for metric, _, unit, _ in _of_record(_EMPTY, {}):
            yield metric, None, unit, reason
        yield from ((metric, None, "s", reason) for metric in _TIMED.get(phase, ()))
        return
    yield from _of_record(record, curve(record_path))


def why_missing(failure: Record) -> str:
    """Explain from the record of a failure why there is no value."""
    reason: str = failure["failed"]
    if reason.startswith(NOT_RUN):
        return f"n/a: {reason}"
    # A process that was ended because its training diverged was not at fault.
    ending = None if DIVERGED in failure else failure.get("measurement", {}).get("ending")
    return f"n/a: the run failed, {ending or reason}"


def curve(record_path: Path) -> Curve:
    """Read the memory samples of a record. Without samples, or if they are damaged, the curve is empty."""
    try:
        return atomic.read_arrays(record_path.with_suffix(".npz"))
    except (OSError, ValueError, zipfile.BadZipFile):
        return {}


def _of_record(record: Record, samples: Curve) -> Iterator[Value]:
    used = record["measurement"]
    untimed = timing.continued(used.get("ending", ""))
    definition = "wall seconds of the child processes, their start and set-up included"
    yield _seconds("elapsed", used["elapsed_s"], definition, untimed)
    yield _seconds("cpu", used["cpu_s"], "user and system seconds of the child processes", untimed)
    yield from _memory(used, samples)
    yield from _gpu_state(used, samples)
    yield from _energy(used, samples, record.get("slices"), untimed)
    if "loss" in record:
        yield "loss", record["loss"], "1", "mean training loss of the last epoch's batches, before each update"
        yield "updates", record["updates"], "1", "updates of the weights, all stages"
        for metric, definition in timing.DEFINITIONS.items():
            value = record["seconds"][metric]
            missing = untimed or ("n/a: a stage has one batch only" if value is None else "")
            yield _seconds(metric, value, definition, missing)
    yield from step_seconds(record)
    if "inference" in record:
        yield from _inference(record["inference"])


def step_seconds(record: Record) -> Iterator[Value]:
    """Yield the time of a whole step; nothing for a record of version 0.2.0 and before."""
    if "step_s" in record:
        yield "step", record["step_s"], "s", "wall seconds of the whole step, its child processes and what lies between"


def _seconds(metric: str, value: float | None, definition: str, missing: str) -> Value:
    return metric, None if missing else value, "s", missing or definition


def _memory(used: Record, samples: Curve) -> Iterator[Value]:
    peak, baseline = used["peak_rss_bytes"], used["baseline_rss_bytes"]
    definition = "largest resident memory of the process and its children, pages that they share counted once"
    # Records of earlier versions have no such note.
    unknown = used.get("rss_note") or (
        "n/a: less than the process that starts it has itself, about 10 MiB, which is the least that can be told"
    )
    yield "peak_rss", peak, "byte", definition if peak is not None else unknown
    level = _level(samples, "rss_bytes", RSS_TOLERANCE * peak) if peak else None
    unheld = "n/a: no level below the peak was held" if samples else "n/a: the samples are missing or damaged"
    reason = used.get("rss_note") or unheld
    yield "rss_before_growth", level, "byte", _LEVEL if level else reason
    yield "baseline_rss", baseline, "byte", used["baseline_note"]
    above = None if baseline is None or peak is None else max(0, peak - baseline)
    definition = f"process peak less the baseline of the process: {used['baseline_note']}"
    reason = unknown if peak is None else used["baseline_note"]
    yield "rss_above_baseline", above, "byte", definition if above is not None else reason
    gpu, note = used["gpu_peak_bytes"], used["gpu_note"]
    yield "gpu_peak", gpu, "byte", note
    level = _level(samples, "gpu_bytes", GPU_TOLERANCE_BYTES)
    reason = unheld if gpu is not None else note
    yield "gpu_before_growth", level, "byte", f"{note}; {_LEVEL}" if level else reason
    device = _finite(samples, "gpu_device_bytes")
    whole = "memory in use on all visible GPUs above that before the process, whoever uses it"
    yield "gpu_device_peak", device.max() if len(device) else None, "byte", whole if len(device) else note
    yield "allocator_peak", used["allocator_peak_bytes"], "byte", used["allocator_note"]


def _gpu_state(used: Record, samples: Curve) -> Iterator[Value]:
    for metric, (name, unit) in _STATE.items():
        values = _finite(samples, name)
        for kind, reduce in (("mean", np.mean), ("max", np.max)):
            value = float(reduce(values)) if len(values) else None
            reason = used["gpu_note"] if used["gpu_peak_bytes"] is None else "n/a: NVML has no such reading here"
            definition = f"NVML, {kind} over the samples of the run in which the process was on a GPU"
            yield f"gpu_{metric}_{kind}", value, unit, definition if value is not None else reason


def _energy(used: Record, samples: Curve, slices: int | None, untimed: str) -> Iterator[Value]:
    power_w = samples.get("gpu_power_w", np.empty(0))
    read = np.isfinite(power_w[1:]) & np.isfinite(power_w[:-1])
    energy_j: float | None = None
    if read.any() and not untimed:
        steps_s = np.diff(samples["seconds"])[read]
        energy_j = float(np.sum(steps_s * ((power_w[1:] + power_w[:-1]) / 2)[read]))
    reason = untimed or (used["gpu_note"] if used["gpu_peak_bytes"] is None else "n/a: NVML has no such reading here")
    definition = (
        "integral of the power of the GPU by NVML, its idle power included, over the samples of the run in which the "
        "process was on a GPU"
    )
    yield "gpu_energy", energy_j, "J", definition if energy_j is not None else reason
    if slices is not None:
        per_slice_j = None if energy_j is None else energy_j / slices
        definition = f"{definition}; of the command that reconstructs all test slices, by their number"
        yield "gpu_energy_slice", per_slice_j, "J", definition if energy_j is not None else reason


def _inference(times: Record) -> Iterator[Value]:
    yield "inference_first", times["first_s"], "s", f"wall seconds of the {times['first_definition']}"
    for metric, key in (("inference", "wall_s"), ("inference_cpu", "cpu_s")):
        kind = "wall seconds" if key == "wall_s" else "user and system seconds"
        for value in times[key] or [None]:
            definition = times["definition"] if value is None else f"{kind} of a slice: {times['definition']}"
            yield metric, value, "s", definition


def _level(samples: Curve, name: str, tolerance: float) -> float | None:
    return level_before_growth(samples["seconds"], samples[name], tolerance) if name in samples else None


def _finite(samples: Curve, name: str) -> NDArray[np.floating]:
    values = samples.get(name, np.empty(0))
    return values[np.isfinite(values)]


_NOTES = dict.fromkeys(("gpu_note", "baseline_note", "allocator_note"), "")
_NUMBERS = dict.fromkeys(
    ("elapsed_s", "cpu_s", "gpu_peak_bytes", "baseline_rss_bytes", "allocator_peak_bytes", "peak_rss_bytes")
)
_EMPTY: Record = {"measurement": {**_NOTES, **_NUMBERS}}
