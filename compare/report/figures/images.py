"""Figures of images, losses and PSNR, drawn with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from compare.results.table import select

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from compare.report.figures.colours import Style
    from compare.results.images import Images

ERROR_GAIN = 5
_MARKS = 8  # on a line
_NAMES_INSIDE = 5


def image_panel(images: Images, results: pandas.DataFrame, slice_number: int) -> Figure:
    """Show one slice in every reconstruction, and five times its error below.

    Args:
        images: See `compare.results.images.open_images`; drawn in this order, the reference among them.
        results: The results table, for the PSNR in the titles.
        slice_number: Which slice.
    """
    reference = np.abs(images["", "reference", ""][slice_number])
    figure = new_figure(1.8 * len(images), 4.2)
    axes = figure.subplots(2, len(images), squeeze=False)
    peak = float(reference.max())
    for column, (key, slices) in enumerate(images.items()):
        image = np.abs(slices[slice_number])
        _show(axes[0, column], image, peak)
        axes[0, column].set_title(_title(key, results, slice_number), fontsize=9)
        if key[1] == "reference":
            axes[1, column].set_axis_off()
            axes[1, column].text(0.5, 0.5, f"error x {ERROR_GAIN}", ha="center", va="center", fontsize=10)
        else:
            _show(axes[1, column], ERROR_GAIN * np.abs(image - reference), peak)
    return figure


def numbered_panel(images: Images, results: pandas.DataFrame, slice_number: int) -> Figure | None:
    """Show one slice in every reconstruction but the zero-filled one, with its PSNR, SSIM and NMSE below.

    Arguments as for `image_panel`; None where there is no other reconstruction.
    """
    reconstructed = {key: slices for key, slices in images.items() if key[1] not in {"reference", "zero-filled"}}
    if not reconstructed:
        return None
    figure = new_figure(2.6 * len(reconstructed), 3.4)
    axes = figure.subplots(1, len(reconstructed), squeeze=False)[0]
    peak = float(np.abs(images["", "reference", ""][slice_number]).max())
    measured = select(results, slice=str(slice_number))
    for panel, (key, slices) in zip(axes, reconstructed.items(), strict=True):
        _show(panel, np.abs(slices[slice_number]), peak)
        network, engine, phase = key
        panel.set_title(" ".join(filter(None, [network, engine])))
        rows = select(measured, network=network, engine=engine, phase=phase)
        value = rows.set_index("metric").value
        if not rows.empty:
            numbers = f"PSNR {value['psnr']:.1f} dB\nSSIM {value['ssim']:.3f}, NMSE {value['nmse']:.4f}"
            panel.text(0.5, -0.04, numbers, transform=panel.transAxes, ha="center", va="top")
    return figure


def loss_curves(history: pandas.DataFrame, network: str, styles: dict[str, Style]) -> Figure:
    """Draw the mean training loss of every epoch, one line for each engine."""
    figure = new_figure(6.0, 3.2)
    axes = figure.subplots()
    for engine, part in select(history, network=network).groupby("engine", sort=False):
        mean = part.groupby(["stage", "epoch"]).loss.mean()
        style = styles[str(engine)]
        for stage in mean.index.unique("stage"):
            line = mean[stage]
            axes.semilogy(
                line.index,
                line.to_numpy(),
                style.line,
                marker=style.marker,
                markevery=max(1, len(line) // _MARKS),
                markersize=4,
                fillstyle="none",
                color=style.colour,
                label=str(engine) if stage == mean.index[0][0] else None,
            )
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss")
    axes.grid(alpha=0.3)
    _legend(axes)
    return figure


def psnr_by_slice(results: pandas.DataFrame, network: str, styles: dict[str, Style]) -> Figure | None:
    """Draw the PSNR of every test slice, a mark for each reconstruction; None without any PSNR."""
    psnr = select(results, metric="psnr", phase="apply", network=["", network], measured=True)
    if psnr.empty:
        return None
    figure = new_figure(6.0, 3.2)
    axes = figure.subplots()
    for engine, part in psnr.groupby("engine", sort=False):
        style = styles[str(engine)]
        numbers = part["slice"].astype(int)
        axes.plot(numbers, part.value, style.marker, color=style.colour, label=str(engine), fillstyle="none")
    axes.set_xlabel("test slice")
    axes.set_ylabel("PSNR / dB")
    axes.grid(alpha=0.3)
    _legend(axes)
    return figure


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches."""
    from matplotlib.figure import Figure as MatplotlibFigure

    return MatplotlibFigure(figsize=(width, height), layout="constrained")


def _legend(axes: Axes) -> None:
    """Name the lines: inside the axes, or beside them where they are so many that the names would cover the lines."""
    if len(axes.get_legend_handles_labels()[1]) <= _NAMES_INSIDE:
        axes.legend(fontsize=8)
    else:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _show(axes: Axes, image: NDArray[np.floating], peak: float) -> None:
    # x runs along the readout, which is drawn downwards as in BART's viewer.
    axes.imshow(image.T, cmap="gray", vmin=0, vmax=peak, interpolation="nearest")
    axes.set_axis_off()


def _title(key: tuple[str, str, str], results: pandas.DataFrame, slice_number: int) -> str:
    network, engine, phase = key
    name = "\n".join(filter(None, [network, engine + (", untrained" if phase == "initial" else "")]))
    rows = select(results, network=network, engine=engine, phase=phase, metric="psnr", slice=str(slice_number))
    return name if rows.empty else f"{name}\n{rows.value.iloc[0]:.1f} dB"
