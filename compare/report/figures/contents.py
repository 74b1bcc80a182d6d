"""All figures of an experiment, in the order of the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compare.report.figures import colours, curves
from compare.report.figures.images import ERROR_GAIN, image_panel, loss_curves, numbered_panel, psnr_by_slice
from compare.report.tables.relative import engines_of, networks_of
from compare.results import gaps, statistics
from compare.results.barts import barts
from compare.results.images import Images
from compare.results.table import select
from compare.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_SLICES = 4


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure with its title and caption.

    Attributes:
        slug: Name of its files: lower-case letters, digits and `-`.
        title: What it shows.
        caption: Explanation.
        network: Name of the network that it belongs to, empty for all.
        figure: The figure.
    """

    slug: str
    title: str
    caption: str
    network: str
    figure: Figure


def figures_of_experiment(
    experiment: Experiment,
    results: pandas.DataFrame,
    history: pandas.DataFrame,
    memory: pandas.DataFrame,
    images: Images,
) -> Iterator[CaptionedFigure]:
    """Make the figures one by one, and leave out those that would be empty. Captions end with the BARTs they are of.

    Args:
        experiment: The experiment.
        results: Its results table.
        history: Its losses, empty where they are missing.
        memory: Its memory curves, empty where they are missing.
        images: Its images, empty where they are missing.
    """
    named = "; ".join(barts(results, flags=False))
    for figure in _figures(experiment, results, history, memory, images):
        yield replace(figure, caption=f"{figure.caption} {named}." if named else figure.caption)


def _figures(
    experiment: Experiment,
    results: pandas.DataFrame,
    history: pandas.DataFrame,
    memory: pandas.DataFrame,
    images: Images,
) -> Iterator[CaptionedFigure]:
    styles = colours.styles(map(str, {*results.engine, *history.engine, *memory.engine}))
    if images and not experiment.networks:
        caption = "One test slice in each reconstruction, on the grey scale of the reference."
        panel = numbered_panel(images, results, 0)
        yield from _captioned("", "panel", "Reconstructions without a network", caption, panel)
    for name in experiment.networks:
        yield from _panels(images, results, name)
        if len(history) and name in set(history.network):
            caption = "Mean over the batches of an epoch, for each engine, before each update."
            yield from _captioned(name, "loss", "training loss", caption, loss_curves(history, name, styles))
        if name not in networks_of(results):
            continue
        caption = "By our definition, of each test slice, for each reconstruction."
        yield from _captioned(name, "psnr", "PSNR by slice", caption, psnr_by_slice(results, name, styles))
        caption = "By our definition; dots are test slices, the line in a body is the median."
        figure = curves.violins(results, name, styles)
        yield from _captioned(name, "violins", "quality of the slices", caption, figure)
        yield from _bland_altman(results, name)
        for phase, word in (("train", "training"), ("infer", "reconstruction")):
            caption = f"Memory during {word}, first repeat, sampled 50 times a second; the axes differ."
            if phase == "train" and gaps.continued(select(results, network=name)):
                caption += " Of a training that continued after an interruption, the last process is shown."
            figure = curves.memory_curves(memory, name, phase, styles)
            yield from _captioned(name, f"memory-{phase}", f"memory during {word}", caption, figure)
    caption = "Wall seconds of a training epoch, a mark for each repeat, and of a slice, a mark for each call."
    figure = curves.seconds_by_repeat(results, styles)
    yield from _captioned("", "seconds", "Seconds by repeat", caption, figure)


def _panels(images: Images, results: pandas.DataFrame, name: str) -> Iterator[CaptionedFigure]:
    panels = {key: slices for key, slices in images.items() if key[0] in {"", name}}
    if len(panels) < 2:  # the reference alone
        return
    total = len(images["", "reference", ""])
    caption = (
        f"Magnitude, and below it {ERROR_GAIN} times the error of the magnitude, on the same grey scale from 0 "
        "to the maximum of the reference."
    )
    for number in sorted({part * total // _SLICES for part in range(_SLICES)}):
        figure = image_panel(panels, results, number)
        yield from _captioned(name, f"slice-{number}", f"test slice {number}", caption, figure)


def _bland_altman(results: pandas.DataFrame, name: str) -> Iterator[CaptionedFigure]:
    engines = engines_of(results)
    base = statistics.base_of(results)
    for engine in engines:
        pair = [statistics.slices_of(results, name, each, "psnr") for each in (engine, base)]
        if engine != base and len(pair[0].index.intersection(pair[1].index)):
            caption = (
                f"Bland-Altman plot, {engine} less {base} over their mean, a mark for each test slice; lines are the "
                "mean and 1.96 standard deviations on either side."
            )
            figure = curves.bland_altman(results, name, engine, base)
            yield from _captioned(name, f"bland-altman-{engine}", f"{engine} and {base}", caption, figure)


def _captioned(network: str, slug: str, title: str, caption: str, figure: Figure | None) -> Iterator[CaptionedFigure]:
    """Name a figure after its network if it has one; yield nothing without a figure."""
    if figure is not None:
        slug = "-".join(filter(None, [network, slug])).lower().replace("_", "-").replace(".", "-")
        yield CaptionedFigure(slug, ", ".join(filter(None, [network, title])), caption, network, figure)
