"""The page of the optimizer study, made from its results; every sentence of its text is made from the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

import bart_bridge
from bart_bridge.files import atomic
from bart_bridge.reconet.training_settings import dotted
from bart_bridge.wording import counted
from compare.report.tables.measured import MIB
from compare.report.tables.table import NOT_FINITE, Cell, Format, Numbers, Table, table_of_rows
from compare.results.table import select
from compare.study.choices import ON, Choices, on, refusals, tuned_on
from compare.study.figures import AXES, convergence, embedded
from compare.study.findings import common_end, continued, errors_at, findings
from compare.study.rows import read
from compare.study.settings import Study

if TYPE_CHECKING:
    import pandas

_LABELS: dict[str, Format] = {"network": "", "optimizer": "", "engine": ""}
_NO_TRIES = "BART does not say how many gradients its iPALM takes"
_FEASIBLE = "ADMM's weights are those of its feasible copy z."
_NO_STATE = "BART does not show its optimizer's state"


def write(folder: Path) -> Path:
    """Write `index.html`, `tables.md` and `convergence-<network>.png` of a study that has run; nothing is run again.

    Raises:
        InputError: The folder has no results of a study yet, or damaged ones.
    """
    study, choices, table, curves = read(folder)
    engine = tuned_on(choices)
    content = {
        "study": study,
        "choices": choices,
        "tuned_on": engine,
        "tables": [
            tuning(study, choices),
            quality(study, choices, table),
            cost(study, choices, table),
            speed(study, curves),
        ],
        "networks": [
            {
                "name": name,
                "text": [
                    *_unfinished(study.model_copy(update={"networks": {name: network}}), choices, table),
                    *findings(name, table, curves, engine),
                ],
                "curves": {label: embedded(convergence(name, curves, [axis])) for axis, label in AXES.items()},
            }
            for name, network in study.networks.items()
        ],
        "version": bart_bridge.__version__,
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("compare.report"),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in study.networks:
        convergence(name, curves, list(AXES)).savefig(folder / f"convergence-{name}.png", dpi=75)
    for name, template in (("tables.md", "optimizers.md.j2"), ("index.html", "optimizers.html.j2")):
        atomic.write_text(folder / name, environment.get_template(template).render(content))
    return folder / "index.html"


def tuning(study: Study, choices: Choices) -> Table:
    """Show what each optimizer could choose from, and what it chose."""
    rows: list[list[Cell]] = []
    for name, choice in choices["choices"].items():
        network, optimizer = name.rsplit("-", 1)
        for candidate, score in zip(choice["candidates"], choice["scores"], strict=True):
            mark = "chosen" if candidate == choice["chosen"] else ""
            mark += ", at the edge of the grid" if mark and choice["at_the_edge"] else ""
            error = NOT_FINITE if score is None else score
            settings = ", ".join(f"{key} {_short(value)}" for key, value in dotted(candidate))
            rows.append([network, optimizer, settings, error, mark])
    note = (
        f"Trained by {tuned_on(choices)} from seed {study.seeds[0]} for all epochs; "
        "the choice holds for all seeds and engines."
    )
    columns: dict[str, Format] = {"network": "", "optimizer": "", "settings": "", "validation NMSE": ".5f", "": ""}
    return table_of_rows("Candidates, and their error on the validation slices", columns, rows, [note])


def _short(value: object) -> str:
    """Write a setting, a number with at most six digits."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def quality(study: Study, choices: Choices, table: pandas.DataFrame) -> Table:
    """Show the quality of the test slices after the last epoch."""
    rows: list[list[Cell]] = [
        [*names, *(_mean_of_seeds(runs[metric]) for metric in ("psnr", "ssim", "nmse"))]
        for names, runs in _groups(study, table)
    ]
    missing = _missing(study, choices, table)
    return table_of_rows(
        f"Quality of the test slices, {_over_seeds(study, missing)}",
        _LABELS | {"PSNR / dB": ".2f", "SSIM": ".4f", "NMSE": ".5f"},
        rows,
        [*_reasons(study, choices), *missing, _FEASIBLE],
    )


def cost(study: Study, choices: Choices, table: pandas.DataFrame) -> Table:
    """Show what a training costs."""
    rows: list[list[Cell]] = []
    for names, runs in _groups(study, table):
        costs = [1000 * runs.step_s, runs.train_s, runs.peak_rss_bytes / MIB, runs.gpu_peak_bytes / MIB]
        rows.append([*names, *map(_mean_of_seeds, [*costs, runs.state_bytes])])
    columns = {"step / ms": ".1f", "whole / s": ".1f", "peak RSS / MiB": ".0f", "peak GPU / MiB": ".0f"}
    missing = _missing(study, choices, table)
    return table_of_rows(
        f"Cost of training, {_over_seeds(study, missing)}",
        {**_LABELS, **columns, "state / byte": ".0f"},
        rows,
        [
            *_reasons(study, choices),
            *missing,
            f"state: what the optimizer keeps beside the weights, its counters included; {_NO_STATE}.",
            "step: the median epoch after the first, by its updates; whole: the child process with start and set-up.",
            "peak GPU is n/a where no NVIDIA GPU was used.",
            *continued(table),
        ],
    )


def speed(study: Study, curves: pandas.DataFrame) -> Table:
    """Show the error on the validation slices at the cost that every optimizer of an engine has spent."""
    rows: list[list[Cell]] = []
    for network in study.networks:
        for engine in study.engines:
            part = select(curves, network=network, engine=engine)
            ends = {axis: common_end(part, axis) for axis in AXES}
            for optimizer in part.optimizer.unique():
                curve = select(part, optimizer=optimizer)
                cells = [_mean_of_seeds(errors_at(curve, axis, ends[axis])) for axis in AXES]
                rows.append([network, optimizer, engine, *cells])
    return table_of_rows(
        "Error of the validation slices at equal cost, mean ± standard deviation over seeds",
        {**_LABELS, **{f"at equal {label}": ".5f" for label in AXES.values()}},
        rows,
        [
            *_updates(study, curves),
            "The cost is the smallest at which a run ended; n/a if a seed has no epoch below it.",
            *["n/a in seconds: a seed has no times, see the costs."] * bool(curves.training_s.isna().any()),
            f"{_NO_TRIES}: n/a.",
        ],
    )


def _updates(study: Study, curves: pandas.DataFrame) -> list[str]:
    """Say how many updates an epoch has: the curves by epoch are also those by update."""
    lines = []
    for network in study.networks:
        counts = (select(curves, network=network).steps / select(curves, network=network).epoch).dropna().unique()
        if len(counts) == 1:
            lines.append(
                f"{network}: an epoch has {counted(round(counts[0]), 'update')}, for every optimizer and engine."
            )
    return lines


def _groups(study: Study, table: pandas.DataFrame) -> list[tuple[list[str], pandas.DataFrame]]:
    return [
        (
            [network, optimizer, engine],
            select(table, network=network, optimizer=optimizer, engine=engine),
        )
        for network in study.networks
        for optimizer in study.optimizers
        for engine in study.engines
    ]


def _reasons(study: Study, choices: Choices) -> list[str]:
    lost = choices.get("diverged", {})  # missing in studies of earlier versions
    return [f"n/a for {run}: {reason}" for run, reason in [*refusals(study, choices), *lost.items()]]


def _missing(study: Study, choices: Choices, table: pandas.DataFrame) -> list[str]:
    """Name the seeds whose runs the table lacks, as that of an unfinished study does."""
    lines = []
    refused = [name.split(ON) for name, _ in refusals(study, choices)]
    for (network, optimizer, engine), runs in _groups(study, table):
        name = f"{network}-{optimizer}"
        seeds = [str(seed) for seed in study.seeds if seed not in set(runs.seed)]
        explained = any(name == each and engine in engines.split(", ") for each, engines in refused)
        if seeds and not explained and choices["choices"][name]["chosen"] is not None:
            lines.append(f"{on(name, engine)}: no result of seed {', '.join(seeds)}.")
    return lines


def _unfinished(study: Study, choices: Choices, table: pandas.DataFrame) -> list[str]:
    """Say that a study is not finished, and what it lacks; nothing of a finished one."""
    if missing := _missing(study, choices, table):
        return ["The study is not finished. All that follows is about the runs that have a result.", *missing]
    return []


def _over_seeds(study: Study, missing: Sequence[str]) -> str:
    """Say what the values of a table are, and of how many seeds."""
    less = ", or as many as have a result" if missing else ""
    return f"mean ± standard deviation over {len(study.seeds)} seeds{less}"


def _mean_of_seeds(values: pandas.Series[float]) -> Cell:
    if values.empty or values.isna().any():
        return None
    if len(values) == 1:
        return float(values.iloc[0])
    return Numbers((float(values.mean()), float(values.std())), "{} ± {}")
