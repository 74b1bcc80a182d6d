"""What is missing in a report, and why: failed steps, times that cannot be compared, missing files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from compare.results.images import REFERENCE, Images
from compare.results.table import select
from compare.running.run_files import BASELINES_FOLDER
from compare.running.steps import NOT_RUN, baseline_names
from compare.settings.experiment import Experiment

if TYPE_CHECKING:
    import pandas

_FAILED = ("n/a: the run failed", f"n/a: {NOT_RUN}")
_CONTINUED = "n/a: continued after"


def failures(results: pandas.DataFrame) -> list[str]:
    """List the steps that failed or did not run, with the reason.

    Args:
        results: The results table.
    """
    steps = failed_rows(results).drop_duplicates(["network", "engine", "phase", "repeat"])
    return [
        f"{run_name(row.network, row.engine, row.repeat)}, {row.phase}: {str(row.definition).removeprefix('n/a: ')}"
        for row in steps.itertuples()
    ]


def failed_rows(results: pandas.DataFrame) -> pandas.DataFrame:
    """Return the rows that have no value because their step failed or did not run."""
    return results[results.value.isna() & results.definition.str.startswith(_FAILED)]


def missing(experiment: Experiment, results: pandas.DataFrame) -> list[str]:
    """Name the baselines and the trained networks whose image quality was not measured."""
    return [run_name(*key) for key in missing_runs(experiment, results)]


def missing_runs(experiment: Experiment, results: pandas.DataFrame) -> list[tuple[str, str]]:
    """Return network and engine of the same; the network of a baseline is empty."""
    measured = select(results, metric="psnr", phase="apply", measured=True)
    present = {*zip(measured.network, measured.engine, strict=True)}
    return [key for key in expected(experiment) if key not in present]


def expected(experiment: Experiment) -> list[tuple[str, str]]:
    """Return network and engine of the baselines and of all runs that an experiment has."""
    return [*(("", name) for name in baseline_names(experiment)), *experiment.runs()]


def continued(results: pandas.DataFrame) -> list[str]:
    """List the trainings that continued after an interruption: their times cannot be compared."""
    elapsed = select(results, metric="elapsed")
    trainings = elapsed[elapsed.definition.str.startswith(_CONTINUED)]
    return [
        f"{run_name(row.network, row.engine, row.repeat)}, times of training: {row.definition!s}"
        for row in trainings.itertuples()
    ]


def mixed(results: pandas.DataFrame) -> list[str]:
    """List engines with results of several versions, and networks with times of several machines.

    That happens where an experiment goes on elsewhere or later, or where folders were merged.
    """
    lines = []
    trained = results[(results.network != "") & (results.engine_version != "")]
    for engine, rows in trained.groupby("engine", sort=False):
        versions = rows.drop_duplicates(["network", "engine_version"])
        if versions.engine_version.nunique() > 1:
            where = (f"{row.network}: {row.engine_version}" for row in versions.itertuples())
            lines.append(f"Several versions of {engine}: {', '.join(where)}")
    for network, rows in select(trained, phase=("train", "infer")).groupby("network", sort=False):
        machines = rows.drop_duplicates(["engine", "machine"])
        if machines.machine.nunique() > 1:
            where = (f"{row.engine} on {row.machine}" for row in machines.itertuples())
            lines.append(f"{network}: times and memory of several machines, not to be compared: {'; '.join(where)}")
    return lines


def left_out(
    experiment: Experiment, folder: Path, results: pandas.DataFrame, images: Images, faults: list[str]
) -> list[str]:
    """List what is missing in a report, and the files that it would need.

    Args:
        experiment: The experiment.
        folder: Its folder.
        results: Its results table.
        images: The images that are there.
        faults: Why others are not, see `compare.results.images.open_readable_images`.
    """
    lines = []
    measured = select(results, metric="psnr", measured=True)
    absent = sorted({*zip(measured.network, measured.engine, measured.phase, strict=True)} - images.keys())
    if REFERENCE not in images:
        lines.append(f"all images ({'; '.join(faults)})")
    elif absent:
        names = (
            f"{run_name(network, engine)}{', untrained' * (phase == 'initial')}" for network, engine, phase in absent
        )
        why = "; ".join(faults) or f"no such files in {folder / 'runs'} or {folder / BASELINES_FOLDER}"
        lines.append(f"images of {', '.join(names)} ({why})")
    files = {"machine.json": "description of the machine"}
    if results.metric.eq("loss").any():
        files["history.csv"] = "training loss"
    if results.metric.eq("peak_rss").any():
        files["memory.csv"] = "memory over time"
    return lines + [f"{what} (no {folder / name})" for name, what in files.items() if not (folder / name).exists()]


def run_name(network: object, engine: object, repeat: object = 0) -> str:
    """Name a run, such as `modl on bart, repeat 2`; baselines have no network, and the first repeat has no number."""
    name = f"{network} on {engine}" if network else str(engine)
    return name if str(repeat) == "0" else f"{name}, repeat {repeat}"
