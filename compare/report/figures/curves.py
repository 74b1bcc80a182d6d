"""Figures of what was measured: quality slice by slice, memory over time, seconds."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from compare.report.figures.images import new_figure
from compare.report.tables.relative import engines_of
from compare.results import statistics
from compare.results.table import select

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from compare.report.figures.colours import Style

_HEADINGS = {"psnr": "PSNR / dB", "ssim": "SSIM"}
_LIMITS = 1.96
_PANELS = 4  # side by side
_NAMES = 6  # below an axis, beside each other


def violins(results: pandas.DataFrame, network: str, styles: dict[str, Style]) -> Figure | None:
    """Draw the distribution of PSNR and SSIM over the test slices for each reconstruction; dots are slices.

    None where there is no reconstruction.
    """
    names = [("", "zero-filled"), ("", "cg-sense"), *((network, engine) for engine in engines_of(results))]
    if not any(len(statistics.slices_of(results, trained, name, "psnr")) for trained, name in names):
        return None
    figure = new_figure(7.5, 3.4)
    for axes, (measure, heading) in zip(figure.subplots(1, 2), _HEADINGS.items(), strict=True):
        columns = [(name, statistics.slices_of(results, trained, name, measure).to_numpy()) for trained, name in names]
        columns = [(name, values[np.isfinite(values)]) for name, values in columns if np.isfinite(values).any()]
        for position, (name, values) in enumerate(columns):
            colour = styles[name].colour
            if np.ptp(values) > 0:
                body = axes.violinplot(values, [position], showmedians=True, widths=0.8)
                body["bodies"][0].set_facecolor(colour)
                for part in ("cmedians", "cbars", "cmins", "cmaxes"):
                    body[part].set_edgecolor(colour)
            axes.plot(np.full(len(values), position), values, ".", color=colour, markersize=3)
        if len(columns) <= _NAMES:
            axes.set_xticks(range(len(columns)), [name.replace("-", "-\n", 1) for name, _ in columns], fontsize=8)
        else:
            axes.set_xticks(range(len(columns)), [name for name, _ in columns], fontsize=7, rotation=60, ha="right")
        axes.set_ylabel(heading)
        axes.grid(alpha=0.3, axis="y")
    return figure


def bland_altman(results: pandas.DataFrame, network: str, engine: str, base: str) -> Figure:
    """Draw the difference of two engines over their mean, slice by slice (Bland and Altman 1986).

    The lines are the mean difference and the limits of agreement, 1.96 standard deviations on either side of it.
    """
    figure = new_figure(7.5, 3.2)
    for axes, (measure, heading) in zip(figure.subplots(1, 2), _HEADINGS.items(), strict=True):
        first = statistics.slices_of(results, network, engine, measure)
        second = statistics.slices_of(results, network, base, measure)
        common = first.index.intersection(second.index)
        difference = (first[common] - second[common]).to_numpy()
        axes.plot((first[common] + second[common]).to_numpy() / 2, difference, "o", fillstyle="none", markersize=4)
        mean = float(np.mean(difference))
        axes.axhline(mean, color="black", linewidth=1)
        if len(difference) > 1:
            for sign in (-1, 1):
                axes.axhline(mean + sign * _LIMITS * float(np.std(difference, ddof=1)), color="black", linestyle=":")
        axes.set_xlabel(f"mean {heading}")
        axes.set_ylabel(f"difference, {heading}")
        axes.ticklabel_format(axis="y", scilimits=(-3, 3))
        axes.grid(alpha=0.3)
    return figure


def memory_curves(memory: pandas.DataFrame, network: str, phase: str, styles: dict[str, Style]) -> Figure | None:
    """Draw the memory of the first repeat over time, a panel for each engine; GPU memory if it was sampled."""
    samples = select(memory, network=network, phase=phase, repeat=0)
    if samples.empty:
        return None
    column = "gpu_bytes" if samples.gpu_bytes.notna().any() else "rss_bytes"
    engines = list(samples.engine.unique())
    columns = min(len(engines), _PANELS)
    rows = -(-len(engines) // columns)
    figure = new_figure(3.6 * columns, 2.8 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, engine in zip_longest(panels, engines):
        if engine is None:
            axes.set_axis_off()
            continue
        part = select(samples, engine=engine)
        axes.plot(part.seconds, part[column] / 2**20, color=styles[str(engine)].colour)
        axes.set_title(str(engine), fontsize=9)
        axes.set_xlabel("time / s")
        axes.set_ylabel("GPU memory / MiB" if column == "gpu_bytes" else "resident memory / MiB")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    return figure


def seconds_by_repeat(results: pandas.DataFrame, styles: dict[str, Style]) -> Figure | None:
    """Draw the seconds of an epoch and of a slice for each engine, a mark for each repeat or call.

    None where nothing was timed.
    """
    if select(results, metric=("epoch", "inference"), measured=True).empty:
        return None
    figure = new_figure(7.5, 3.2)
    panels = (("train", "epoch", "epoch / s"), ("infer", "inference", "slice / s"))
    for axes, (phase, metric, heading) in zip(figure.subplots(1, 2), panels, strict=True):
        timed = select(results, phase=phase, metric=metric, measured=True)
        if timed.empty:  # such as the epochs of a training that has no second one
            axes.text(0.5, 0.5, f"n/a: no {metric} was timed", ha="center", fontsize=9)
            axes.set_axis_off()
            continue
        networks = list(timed.network.unique())
        engines = engines_of(results)
        for number, engine in enumerate(engines):
            part = select(timed, engine=engine)
            # All engines of a network stand within its place on the axis.
            offset = (number - (len(engines) - 1) / 2) * min(0.25, 0.8 / len(engines))
            positions = np.array([networks.index(network) + offset for network in part.network])
            style = styles[engine]
            axes.plot(positions, part.value, style.marker, fillstyle="none", color=style.colour, label=engine)
        axes.set_xticks(range(len(networks)), networks)
        axes.set_xlim(-0.5, len(networks) - 0.5)
        axes.set_ylabel(heading)
        axes.set_yscale("linear" if (timed.value <= 0).any() else "log")
        axes.grid(alpha=0.3, axis="y")
    # Outside of the panels, where it covers no mark.
    drawn = max(figure.axes, key=lambda axes: len(axes.lines))
    figure.legend(*drawn.get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return figure
