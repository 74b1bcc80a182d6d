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
from compare import all_figures, divergences, exports, figures, machine, page, results, tables, tables_compared, viewer
from compare.config import Experiment, load
from compare.trace import chapter

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


def write(folder: Path) -> Path:
    """Write the report of an experiment from what is in its folder; nothing is run again.

    Args:
        folder: Of the experiment, with `experiment.yaml`, `results.csv`, `machine.json` and the images.

    Returns:
        The page.

    Raises:
        InputError: The folder holds no experiment with results.
    """
    if not (folder / "experiment.yaml").exists():
        raise InputError(f"{folder}: not an experiment's folder, there is no experiment.yaml")
    experiment = load(folder / "experiment.yaml")
    table = results.read_table(folder)
    images = results.images(experiment, folder)
    shown, pictures = exports.write(experiment, folder)
    gpu_tables, gpu_figures, findings = _gpu(folder)
    diverged = divergences.in_folder(folder)
    missing = [run for run in _missing(experiment, folder) if run not in diverged]
    description = json.loads((folder / "machine.json").read_text())
    versions = {*table[["engine", "engine_version"]].itertuples(index=False, name=None)}
    measured_on = "; ".join(dict.fromkeys(str(of) for of in table.machine if of)) or machine.label(description)
    machines = [description, *description.pop("others", [])]
    content = page.Page(
        title=experiment.name,
        description=experiment.description,
        headline=[*tables_compared.headline(table), f"Measured on {measured_on}."],
        warnings=[f"{run}: {reason}." for run, reason in diverged.items()]
        + [f"Without a result: {', '.join(missing)}. Run the comparison again to fill the gaps."] * bool(missing)
        + [f"What the GPU did does not add up: {finding}" for finding in findings],
        tables=[*shown, *gpu_tables],
        figures=[*(_figure(folder, of) for of in pictures), *gpu_figures],
        viewer=_viewer(images, table),
        setup={
            f"Machine {number}" if len(machines) > 1 else "Machine": {
                "summary": machine.label(of),
                "device of the run": experiment.device,
            }
            | of
            for number, of in enumerate(machines, start=1)
        }
        | {"Versions": {"bart-tf": bart_bridge.__version__} | _joined(versions)}
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
        machine=measured_on,
        tables=[*shown, *gpu_tables],
        missing=missing,
        diverged=diverged,
    )
    write_text_atomically(folder / "tables.md", markdown)
    write_text_atomically(folder / "index.html", page.render(content, bart_bridge.__version__))
    return folder / "index.html"


def _joined(versions: set[tuple[str, str]]) -> dict[str, str]:
    """Return the version of each engine, or all where it has several."""
    found: dict[str, list[str]] = {}
    for name, version in sorted(versions):
        if version:
            found.setdefault(name, []).append(version)
    return {name: "; ".join(of) for name, of in found.items()}


def _figure(folder: Path, shown: all_figures.Shown) -> page.Figure:
    png = (folder / "figures" / f"{shown.slug}.png").read_bytes()
    return page.Figure(shown.slug, shown.title, shown.caption, png)


def _gpu(folder: Path) -> tuple[list[tables.Table], list[page.Figure], list[str]]:
    """Return tables, figures and what does not add up of the traces, if something was traced."""
    made = chapter.of_experiment(folder)
    if made is None:
        return [], [], []
    pictures = []
    for name, figure in made.figures.items():
        png = io.BytesIO()
        figure.savefig(png, dpi=130)
        pictures.append(page.Figure(f"gpu-{name}", f"What the GPU does: {name}", "From `ncu`.", png.getvalue()))
    return made.tables, pictures, [*map(str, made.findings)]


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


def _missing(experiment: Experiment, folder: Path) -> list[str]:
    """Name the runs without a result."""
    return [
        f"{run.name} on {run.engine}" for run in results.runs(experiment, folder) if not run.record("apply").exists()
    ]
