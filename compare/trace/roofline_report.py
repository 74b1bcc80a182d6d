"""Table and figure of a roofline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from compare.report.tables.table import Cell, Format, Table, table_of_rows
from compare.trace import categories
from compare.trace.roofline import PRECISIONS, Ceilings, Kernel, whole
from compare.trace.summary import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = 12
_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")


@dataclass(frozen=True)
class Counted:
    """A traced run and the sampled launches of its kernels."""

    summary: Summary
    kernels: list[Kernel]


def table(counted: list[Counted], ceilings: Ceilings | None) -> Table:
    """Show the arithmetic intensity and the rates of whole runs and of the kernels that take most time."""
    rows: list[list[Cell]] = []
    for run in counted:
        total, covered = whole(run.kernels, run.summary)
        if total:
            rows.append(
                [run.summary.run, f"all sampled ({100 * covered:.0f} % of kernel time)", *_cells(total, ceilings)]
            )
        rows += [
            [run.summary.run, categories.short(kernel.name), *_cells(kernel, ceilings)]
            for kernel in _longest(run)[:_SHOWN]
        ]
    columns: dict[str, Format] = {"run": "", "kernel": "", "launches sampled": ""}
    columns |= {f"{name} / FLOP": ".4g" for name in PRECISIONS} | {"device memory / MB": ".4g"}
    columns |= {"intensity / FLOP/byte": ".3g", "GFLOP/s": ".4g", "GB/s": ".4g", "bound by": ""}
    notes = [
        "FLOP are additions, multiplications and two for each fused pair; tensor cores and special functions such as "
        "exponentials are not counted, so the intensity is a lower bound where they are used.",
        "The row of a run weighs each kernel with its launches in the trace.",
    ]
    if ceilings:
        rates = ", ".join(f"{name} {ceilings[name] / 1e12:.1f} TFLOP/s" for name in PRECISIONS)
        memory = f"memory {ceilings['copy_bytes_per_s'] / 1e12:.2f} TB/s"
        notes.append(f"ceilings measured on {ceilings['name']}: {memory}, {rates}")
    else:
        notes.append("ceilings: n/a, they were not measured")
    return table_of_rows("Roofline of sampled kernel launches", columns, rows, notes)


def figure(counted: list[Counted], ceilings: Ceilings | None) -> Figure:
    """Draw kernels (area by their time) and whole runs over the machine's ceilings, both axes logarithmic."""
    import numpy as np
    from matplotlib.figure import Figure as MatplotlibFigure

    drawn = MatplotlibFigure(figsize=(7.5, 5.0), layout="constrained")
    axes = drawn.subplots()
    for run, colour in zip(counted, _COLOURS * (1 + len(counted) // len(_COLOURS)), strict=False):
        total, _ = whole(run.kernels, run.summary)
        points = [kernel for kernel in _longest(run) if kernel.intensity]
        times = {row.name: row.time_ns.total for row in run.summary.of("kernel")}
        longest = max(times.values(), default=1.0)
        sizes = [10 + 200 * times.get(kernel.name, 0.0) / longest for kernel in points]
        intensities = [kernel.intensity or 0.0 for kernel in points]
        rates = [sum(kernel.flop.values()) / kernel.time_s for kernel in points]
        axes.scatter(intensities, rates, s=sizes, color=colour, alpha=0.4, linewidths=0)
        if total and total.intensity:
            rate = sum(total.flop.values()) / total.time_s
            axes.plot(
                total.intensity, rate, "*", color=colour, markersize=16, markeredgecolor="k", label=run.summary.run
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    if ceilings:
        low, high = axes.get_xlim()
        intensity = np.geomspace(min(low, 0.01), max(high, 100.0), 200)
        for (name, style), top in zip((("fp32", "-"), ("fp64", "--")), ("fp32", "fp64"), strict=True):
            line = np.minimum(intensity * ceilings["copy_bytes_per_s"], ceilings[top])
            axes.plot(intensity, line, style, color="k", linewidth=1, label=f"{name} ceiling, measured")
    axes.set_xlabel("arithmetic intensity / FLOP per byte of device memory")
    axes.set_ylabel("FLOP/s")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    return drawn


def _longest(run: Counted) -> list[Kernel]:
    times = {row.name: row.time_ns.total for row in run.summary.of("kernel")}
    return sorted(run.kernels, key=lambda kernel: -times.get(kernel.name, 0.0))


def _cells(kernel: Kernel, ceilings: Ceilings | None) -> list[Cell]:
    flop = sum(kernel.flop.values())
    bound = None
    if ceilings and kernel.intensity is not None:
        # The time that the operations need at the least against that of the bytes.
        arithmetic_s = sum(kernel.flop[name] / ceilings[name] for name in PRECISIONS)
        bound = "memory" if kernel.bytes / ceilings["copy_bytes_per_s"] > arithmetic_s else "arithmetic"
    return [
        kernel.launches,
        *(kernel.flop[name] for name in PRECISIONS),
        kernel.bytes / 1e6,
        kernel.intensity,
        flop / kernel.time_s / 1e9,
        kernel.bytes / kernel.time_s / 1e9,
        bound,
    ]
