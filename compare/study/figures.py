"""The curves of the optimizer study: error of the validation slices over what it cost."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compare.report.figures import colours
from compare.report.figures.embedded import data_url
from compare.results.table import select

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

AXES = {"gradient_evaluations": "gradient evaluations", "training_s": "seconds of training steps", "epoch": "epochs"}
# The NMSE of an image of zeros.
_ZEROS = 1.0
_COLOURS = {"sgd": "tab:gray", "adam": "tab:blue", "ipalm": "tab:orange", "admm": "tab:green"}


def convergence(network: str, curves: pandas.DataFrame, costs: Sequence[str]) -> Figure:
    """Draw the error of the validation slices over costs side by side; the range of the seeds is shaded.

    Errors above that of an image of zeros are cut off unless a run ends there: they may reach 1e16 for an epoch, where
    all iterations of MoDL start.
    """
    from matplotlib.figure import Figure as MatplotlibFigure

    styles = colours.styles(map(str, curves.engine))
    figure = MatplotlibFigure(figsize=(5 * len(costs), 4), layout="constrained")
    plots = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    rows = select(curves, network=network)
    for axes, axis in zip(plots, costs, strict=True):
        for (optimizer, engine), part in rows.groupby(["optimizer", "engine"], sort=False):
            by_epoch = part[part[axis].notna()].groupby("epoch")
            along, error = by_epoch[axis].mean(), by_epoch.error
            if along.empty:
                continue
            # Markers, because the curves of engines often are the same.
            style = styles[str(engine)]
            axes.semilogy(
                along,
                error.mean(),
                style.line,
                marker=style.marker,
                color=_COLOURS[str(optimizer)],
                label=f"{optimizer}, {engine}",
                markevery=max(len(along) // 8, 1),
                markerfacecolor="none",
                markersize=5,
            )
            axes.fill_between(along, error.min(), error.max(), color=_COLOURS[str(optimizer)], alpha=0.12, linewidth=0)
        axes.set_xlabel(AXES[axis])
        axes.xaxis.get_major_locator().set_params(integer=axis == "epoch")
        axes.grid(alpha=0.3)
    if rows.error.max() > _ZEROS > rows[rows.epoch == rows.epoch.max()].error.max():
        plots[0].set_ylim(top=_ZEROS)
    plots[0].set_ylabel("NMSE of the validation slices")
    figure.legend(*plots[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2 * len(costs), fontsize=8)
    return figure


def embedded(figure: Figure) -> str:
    """Return a figure as an address that contains it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return data_url(buffer.getvalue())
