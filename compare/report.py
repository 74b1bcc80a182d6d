"""The report of an experiment: `index.html`, which needs no other file, and the same tables as `tables.md`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

import bart_bridge
from bart_bridge.cfl import write_text_atomically
from bart_bridge.errors import InputError
from compare import figures, machine, page, results, tables, viewer
from compare.config import Experiment, load

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_SHOWN_SLICES = 2
_FILES = {
    "results.csv": "every number of this page, one a line, with its unit and definition",
    "history.csv": "the training loss of every batch",
    "tables.md": "the tables of this page as Markdown",
    "experiment.yaml": "the whole configuration",
}


def write(folder: Path) -> Path:
    """Write the report of an experiment from what is in its folder; nothing is run again.

    Args:
        folder: Of the experiment, with `experiment.yaml`, `results.csv`, `history.csv` and the images.

    Returns:
        The page.

    Raises:
        InputError: The folder holds no experiment with results.
    """
    if not (folder / "experiment.yaml").exists():
        raise InputError(f"{folder}: not an experiment's folder, there is no experiment.yaml")
    experiment = load(folder / "experiment.yaml")
    table, history = results.read(folder)
    images = results.images(experiment, folder)
    shown = {"quality": tables.quality(table), "cost": tables.cost(table), "ratios": tables.ratios(table)}
    missing = _missing(experiment, folder)
    description = json.loads((folder / "machine.json").read_text())
    versions = {*table[["engine", "engine_version"]].itertuples(index=False, name=None)}
    content = page.Page(
        title=experiment.name,
        description=experiment.description,
        headline=_headline(shown["ratios"], machine.label(description)),
        warnings=[f"Without a result: {', '.join(missing)}. Run the comparison again to fill the gaps."]
        * bool(missing),
        tables=[_page_table(slug, of) for slug, of in shown.items() if of],
        figures=_figures(experiment, table, history, images),
        viewer=_viewer(images, table),
        setup={
            "Machine": {"summary": machine.label(description), "device of the run": experiment.device} | description,
            "Versions": {"bart-tf": bart_bridge.__version__} | {name: of for name, of in sorted(versions) if of},
        }
        | {
            f"{name}, {part}": of.model_dump(exclude_none=True)
            for name, trained in experiment.networks.items()
            for part, of in (("network", trained.network), ("training", trained.training))
        },
        files=_FILES,
        engines=sorted(set(table.engine)),
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare"), undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    markdown = environment.get_template("tables.md.j2").render(
        experiment=experiment,
        machine=machine.label(description),
        tables=[of for of in shown.values() if of],
        missing=missing,
    )
    write_text_atomically(folder / "tables.md", markdown)
    write_text_atomically(folder / "index.html", page.render(content, bart_bridge.__version__))
    return folder / "index.html"


def _page_table(slug: str, table: tables.Table) -> page.Table:
    import pandas as pd

    return page.Table(slug, table.title, "\n".join(table.notes), pd.DataFrame(table.rows, columns=table.columns))


def _headline(ratios: tables.Table | None, measured_on: str) -> list[str]:
    """Say what Keras costs relative to BART, in the figures of the table of ratios."""
    if ratios is None:
        return []
    sentences = [
        f"{network}, {phase}: Keras on TensorFlow takes {seconds} times the wall seconds of BART "
        f"and {memory} times its peak RSS."
        for network, phase, seconds, memory in ratios.rows
    ]
    return [*sentences, f"Measured on {measured_on}."]


def _figures(
    experiment: Experiment, table: pandas.DataFrame, history: pandas.DataFrame, images: results.Images
) -> list[page.Figure]:
    total = len(images["", "reference", ""])
    slices = sorted({number * total // _SHOWN_SLICES for number in range(_SHOWN_SLICES)})
    error = (
        f"Magnitude, and below it {figures.ERROR_GAIN} times the error of the magnitude, on the same grey scale from 0"
    )
    shown = []
    for name in experiment.networks:
        for number in slices:
            panel = figures.image_panel(_of(images, name), table, number)
            title, caption = f"{name}, test slice {number}", f"{error} to the maximum of the reference."
            shown.append(page.Figure(f"{name}-slice-{number}", title, caption, _png(panel)))
        if name in set(history.network):
            caption = "Mean over the batches of an epoch, for each engine."
            loss = figures.loss_curves(history, name)
            shown.append(page.Figure(f"{name}-loss", f"{name}, training loss", caption, _png(loss)))
        caption = "Of each test slice, for each reconstruction."
        shown.append(page.Figure(f"{name}-psnr", f"{name}, PSNR", caption, _png(figures.psnr_by_slice(table, name))))
    return shown


def _viewer(images: results.Images, table: pandas.DataFrame) -> dict[str, Any]:
    """Pack some slices of the reference, of what needs no network, and of the trained networks."""
    chosen = {key: slices for key, slices in images.items() if key[2] in {"", "apply"}}
    total, *shape = images["", "reference", ""].shape
    numbers = viewer.choose_slices(total, len(chosen), (shape[0], shape[1]))
    psnr = table[(table.metric == "psnr") & (table.phase == "apply")].astype({"slice": str})
    values = psnr.set_index(["network", "engine", "slice"]).value.groupby(level=[0, 1, 2]).mean().to_dict()
    packed = []
    for (network, engine, _), slices in chosen.items():
        found = [values.get((network, engine, str(number))) for number in numbers]
        notes = ["" if value is None else f"PSNR {value:.2f} dB" for value in found]
        packed.append(viewer.Image(engine, engine, network, abs(slices[numbers]), notes))
    return viewer.pack(packed[0], packed[1:], numbers, figures.ERROR_GAIN)


def _of(images: results.Images, network: str) -> results.Images:
    """Select the images of a network and the references beside it."""
    return {key: slices for key, slices in images.items() if key[0] in {"", network}}


def _missing(experiment: Experiment, folder: Path) -> list[str]:
    """Name the runs without a result."""
    return [
        f"{run.name} on {run.engine}" for run in results.runs(experiment, folder) if not run.record("apply").exists()
    ]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return buffer.getvalue()
