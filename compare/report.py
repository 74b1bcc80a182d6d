"""The report of an experiment: `index.html`, which needs no other file, and the same tables as `tables.md`."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

import bart_bridge
from bart_bridge.cfl import write_text_atomically
from bart_bridge.errors import InputError
from compare import figures, machine, results, tables
from compare.config import Experiment, load

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

_SHOWN_SLICES = 4


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
    total = len(images["", "reference", ""])
    slices = sorted({number * total // _SHOWN_SLICES for number in range(_SHOWN_SLICES)})
    networks = [
        {
            "name": name,
            "settings": trained.network.model_dump(exclude={"kind"}, exclude_none=True),
            "training": trained.training.model_dump(exclude_none=True),
            "panels": {number: _embed(figures.image_panel(_of(images, name), table, number)) for number in slices},
            "loss": _embed(figures.loss_curves(history, name)) if name in set(history.network) else None,
            "psnr": _embed(figures.psnr_by_slice(table, name)),
        }
        for name, trained in experiment.networks.items()
    ]
    content = {
        "experiment": experiment,
        "tables": [
            shown for shown in (tables.quality(table), tables.cost(table), tables.ratios(table)) if shown and shown.rows
        ],
        "panel": None if networks else _write_panel(folder, images, table, slices[0]),
        "networks": networks,
        "missing": _missing(experiment, folder),
        "machine": machine.label(json.loads((folder / "machine.json").read_text())),
        "engines": sorted({*table[["engine", "engine_version"]].itertuples(index=False, name=None)}),
        "version": bart_bridge.__version__,
        "error_gain": figures.ERROR_GAIN,
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text_atomically(folder / "tables.md", environment.get_template("tables.md.j2").render(content))
    write_text_atomically(folder / "index.html", environment.get_template("index.html.j2").render(content))
    return folder / "index.html"


def _of(images: results.Images, network: str) -> results.Images:
    """Select the images of a network and the references beside it."""
    return {key: slices for key, slices in images.items() if key[0] in {"", network}}


def _write_panel(folder: Path, images: results.Images, table: pandas.DataFrame, slice_number: int) -> str:
    """Write the baselines of an experiment without networks side by side as `panel.png`, and embed it."""
    figure = figures.numbered_panel(images, table, slice_number)
    figure.savefig(folder / "panel.png", dpi=200, bbox_inches="tight")
    return _embed(figure)


def _missing(experiment: Experiment, folder: Path) -> list[str]:
    """Name the runs without a result."""
    return [
        f"{run.name} on {run.engine}" for run in results.runs(experiment, folder) if not run.record("apply").exists()
    ]


def _embed(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
