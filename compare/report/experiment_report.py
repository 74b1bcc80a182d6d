"""The report of an experiment: `index.html`, which needs no other file, and the same tables as `tables.md`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

import bart_bridge
from bart_bridge.errors import InputError
from bart_bridge.files import atomic
from compare.measuring import machine
from compare.report import exports, page, viewer
from compare.report.figures.contents import CaptionedFigure
from compare.report.figures.embedded import Figure
from compare.report.figures.images import ERROR_GAIN
from compare.report.summary.contents import summary_of_experiment
from compare.results import divergences, gaps
from compare.results.barts import barts
from compare.results.images import REFERENCE, Images, open_readable_images
from compare.results.table import read_history, read_results, select
from compare.settings.experiment import Experiment, load_kept

if TYPE_CHECKING:
    import pandas

_FILES = {
    "results.csv": "every number of this page, one a line, with its unit and definition",
    "results.parquet": "the same as Parquet",
    "history.csv": "the training loss of every batch",
    "memory.csv": "the samples of every run's memory",
    "tables.md": "the tables of this page as Markdown",
    "tables/": "each table as CSV, Markdown and LaTeX",
    "figures/": "each figure as PNG and PDF",
    "experiment.yaml": "the whole configuration",
}


def write(folder: Path, gpu: page.Chapter | None = None, keep_images: bool = False) -> Path:
    """Write the report of an experiment from the files in its folder; nothing is run.

    Args:
        folder: Of the experiment, with `experiment.yaml` and `results.csv`. The page names what it leaves out because
            other files are not there: the images, `history.csv`, `memory.csv`, `machine.json`.
        gpu: What the GPU did, if that was traced.
        keep_images: Whether a page with images is kept where no images are left in the folder (default false).

    Returns:
        The page.

    Raises:
        InputError: The folder holds no experiment with results, or a page that is kept.
    """
    if not (folder / "experiment.yaml").exists():
        raise InputError(f"{folder}: not an experiment's folder, there is no experiment.yaml")
    experiment = load_kept(folder / "experiment.yaml")
    table = read_results(folder)
    description = _machine(folder)
    images, faults = open_readable_images(experiment, folder)
    if keep_images:
        _keep_images_of(folder / "index.html", images)
    tables, figures = exports.write(experiment, folder, images)
    gpu = gpu or page.Chapter()
    warnings = _warnings(experiment, folder, table, images, faults)
    measured_on = "; ".join(dict.fromkeys(filter(None, table.machine)))
    if description and not measured_on:
        measured_on = machine.label(description)
    machines = [description, *description.pop("others", [])] if description else []
    content = page.Page(
        title=experiment.name,
        description=experiment.description,
        summary=summary_of_experiment(experiment, table, read_history(folder), images),
        conditions=[
            f"Measured on {measured_on or 'an unknown machine'}, with {_data(table)}.",
            *(f"{line}." for line in barts(table)),
        ],
        warnings=[*warnings, *gpu.warnings],
        tables=[*tables, *gpu.tables],
        figures=[*(_figure(folder, figure) for figure in _on_page(figures, images)), *gpu.figures],
        viewer=_viewer(images, table) if len(images) > 1 else None,
        setup=_setup(experiment, table, machines),
        files={name: text for name, text in _FILES.items() if name == "tables.md" or (folder / name).exists()},
        engines=sorted(set(table.engine)),
    )
    markdown = _template("tables.md.j2").render(
        experiment=experiment,
        machine=measured_on,
        tables=[*tables, *gpu.tables],
        warnings=warnings,
    )
    atomic.write_text(folder / "tables.md", markdown)
    atomic.write_text(folder / "index.html", page.render(content, bart_bridge.__version__))
    return folder / "index.html"


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _keep_images_of(earlier: Path, images: Images) -> None:
    """Refuse to replace a page with images by one without any."""
    if len(images) < 2 and earlier.is_file() and 'id="viewer"' in earlier.read_text(errors="replace"):
        raise InputError(
            f"{earlier}: shows images that are no longer in the folder, and a new page would have none; remove it first"
        )


def _setup(
    experiment: Experiment, table: pandas.DataFrame, machines: list[machine.Description]
) -> dict[str, dict[str, object]]:
    """List machines, versions, data and settings."""
    versions = {*table[["engine", "engine_version"]].itertuples(index=False, name=None)}
    setup: dict[str, dict[str, object]] = {
        f"Machine {number}" if len(machines) > 1 else "Machine": {
            "summary": machine.label(description),
            "device of the run": experiment.device,
            **description,
        }
        for number, description in enumerate(machines, start=1)
    }
    setup["Versions"] = {"bart-tf": bart_bridge.__version__, **_joined(versions), "BARTs": barts(table)}
    simulation = experiment.dataset.simulate
    setup["Data"] = {"source": _data(table), **(simulation.model_dump() if simulation else {})}
    for name, trained in experiment.networks.items():
        for part, settings in (("network", trained.network), ("training", trained.training)):
            setup[f"{name}, {part}"] = settings.model_dump(exclude_none=True)
    return setup


def _data(table: pandas.DataFrame) -> str:
    return ", ".join(dict.fromkeys(table.dataset))


def _joined(versions: set[tuple[str, str]]) -> dict[str, str]:
    """Return the version of each engine, or all of them where it has several."""
    by_engine: dict[str, list[str]] = {}
    for name, version in sorted(versions):
        if version:
            by_engine.setdefault(name, []).append(version)
    return {name: "; ".join(versions_of_engine) for name, versions_of_engine in by_engine.items()}


def _on_page(figures: list[CaptionedFigure], images: Images) -> list[CaptionedFigure]:
    """Leave out the panels of slices where the viewer shows them, and more of them; they stay among the files."""
    return [figure for figure in figures if len(images) < 2 or not re.fullmatch(r".*-slice-\d+", figure.slug)]


def _figure(folder: Path, figure: CaptionedFigure) -> Figure:
    png = (folder / "figures" / f"{figure.slug}.png").read_bytes()
    return Figure(figure.slug, figure.title, figure.caption, png)


def _viewer(images: Images, table: pandas.DataFrame) -> dict[str, object]:
    """Pack some slices of the reference, of the baselines and of the trained networks."""
    trained = {key: slices for key, slices in images.items() if key[2] in {"", "apply"}}
    total, *shape = images[REFERENCE].shape
    numbers = viewer.choose_slices(total, len(trained), (shape[0], shape[1]))
    psnr = select(table, metric="psnr", phase="apply").astype({"slice": str})
    values = psnr.set_index(["network", "engine", "slice"]).value.groupby(level=[0, 1, 2]).mean().to_dict()
    packed = []
    for (network, engine, _), slices in trained.items():
        psnr_db = [values.get((network, engine, str(number))) for number in numbers]
        notes = ["" if value is None else f"PSNR {value:.2f} dB" for value in psnr_db]
        packed.append(viewer.Image(engine, engine, network, abs(slices[numbers]), notes))
    return viewer.pack(packed[0], packed[1:], numbers, ERROR_GAIN, set(table.engine))


def _warnings(
    experiment: Experiment, folder: Path, table: pandas.DataFrame, images: Images, faults: list[str]
) -> list[str]:
    """Say what diverged, failed, is missing or cannot be compared; a sentence each."""
    diverged = divergences.find(table, read_history(folder))
    missing = [run for run in gaps.missing(experiment, table) if run not in diverged]
    left_out = gaps.left_out(experiment, folder, table, images, faults)
    return [
        *(f"{run}: {reason}." for run, reason in diverged.items()),
        *(f"Failed: {failure}." for failure in gaps.failures(table) if "diverged at update" not in failure),
        *[f"Without a result: {', '.join(missing)}. Run the comparison again to fill the gaps."] * bool(missing),
        *(f"{line}." for line in gaps.continued(table)),
        *(f"{line}." for line in gaps.mixed(table)),
        *(f"Left out: {line}." for line in left_out),
    ]


def _machine(folder: Path) -> machine.Description:
    """Read `machine.json`; empty where it is not there.

    Raises:
        InputError: It is damaged.
    """
    path = folder / "machine.json"
    if not path.exists():
        return {}
    try:
        description: machine.Description = json.loads(path.read_text())
        for each in (description, *description.get("others", [])):
            machine.label(each)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as the description of a machine ({error})") from None
    return description
