"""The optimizer study: every optimizer tuned with the same budget, then trained from several initial weights.

Each seed on each engine is an experiment of its own (`compare.running.runner`), so that an interrupted study continues,
and several processes share its trainings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import atomic
from bart_bridge.tools.blas import blas_of
from bart_bridge.tools.toolbox import Toolbox
from compare.console import Reporter
from compare.measuring import machine
from compare.results import images
from compare.results.table_files import write_csv
from compare.running import locks, records
from compare.running.prepared_data import differences, nobody_at_work, prepare
from compare.running.records import DIVERGED, Record
from compare.running.run_files import STUDY
from compare.running.runner import Selection, warn_of_slow_builds
from compare.running.runner import run as run_experiment
from compare.running.worker import Outcome
from compare.settings.engine_names import is_bart
from compare.study.choices import on
from compare.study.parts import Part, checked_toolboxes, seed_parts, tuning_part
from compare.study.rows import (
    CHOSEN_BY,
    CURVE_COLUMNS,
    RESULT_COLUMNS,
    Row,
    cost_rows,
    curve_rows,
    diverged_curves,
    diverged_rows,
    parts_of,
    read,
)
from compare.study.settings import Study, load_kept
from compare.study.tuning import NONE_FINITE, choose, refusals

# What a study has beside its settings and figures.
_OUTPUTS = ("choices.json", "curves.csv", "results.csv", "index.html", "tables.md")


@dataclass(frozen=True)
class _Tables:
    """The rows of a part in both tables, and why runs have none."""

    results: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    diverged: dict[str, str] = field(default_factory=dict)


def run(study: Study, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
    """Tune, train and measure what is missing, and write `study.yaml`, `choices.json`, `results.csv` and `curves.csv`.

    Candidates that diverge are not chosen. Other runs that diverge are named in `choices.json`, see
    `compare.study.rows.diverged`.

    Raises:
        InputError: The dataset is not usable, an engine cannot use the device, or another process gave the folder
            another study meanwhile.
        BusyError: Another process works on another study in the folder.
        ToolError: A run failed in another way; what was finished is kept.
    """

    def check() -> None:
        if changed := _changed(study, folder, since=True):
            raise InputError(f"{folder}: another process gave it other settings ({changed})")

    toolboxes = checked_toolboxes(study, folder, toolbox)
    warn_of_slow_builds(toolbox, toolboxes, reporter)  # of all engines at once, before the first part
    tuning = tuning_part(study, folder)
    with locks.held(folder):
        changed = _changed(study, folder)
        if changed:
            with nobody_at_work(folder, changed):
                pass
        # Refuses what must not replace the study that is there.
        prepare(tuning.experiment, tuning.folder, toolbox, reporter)
        atomic.remove_leftovers(folder)
        if changed != "":
            _put_aside(folder, changed or "its settings cannot be read", reporter)
        atomic.write_text(folder / STUDY, yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
    _train(tuning, toolbox, reporter)
    check()
    choices = choose(study, tuning.folder)
    without_choice = [name for name, choice in choices.items() if choice["chosen"] is None]
    if len(without_choice) == len(choices):
        raise ToolError(f"no candidate of any optimizer {NONE_FINITE}")
    refused = refusals(study, choices, toolboxes)
    used = {bart.path: bart for name, bart in toolboxes.items() if is_bart(name)} or {toolbox.path: toolbox}
    barts = [f"{bart.version_text} ({blas_of(bart)}, built with {bart.build})" for bart in used.values()]
    decisions = {
        "machine": machine.label(machine.describe()),
        "bart": ", ".join(barts),
        "choices": choices,
        "reasons": refused,
        "tuned_on": study.tuned_on,
        "chosen_by": CHOSEN_BY,
        "diverged": dict.fromkeys(without_choice, f"no candidate {NONE_FINITE}"),
    }

    def save(measured: Sequence[_Tables], complete: bool) -> None:
        with locks.held(folder):
            check()
            _save(folder, decisions, measured, complete)

    _measure_all(list(seed_parts(study, folder, choices, refused)), toolbox, reporter, check, save)


def _put_aside(folder: Path, changed: str, reporter: Reporter) -> None:
    """Move tables and page of another study to `older`: beside the new `study.yaml` they would pass for its results.

    Args:
        folder: Folder of the study.
        changed: How the other study differs.
        reporter: Says where they are.
    """
    outputs = [path for name in _OUTPUTS if (path := folder / name).exists()]
    if outputs:
        older = records.Older(folder).keep([*outputs, *folder.glob(STUDY), *folder.glob("convergence-*.png")])
        (folder / "results.csv").unlink(missing_ok=True)  # `older` has a copy
        reporter.say(f"the tables of another study ({changed}) are in {older}")


def _save(folder: Path, decisions: Mapping[str, Any], measured: Sequence[_Tables], complete: bool) -> None:
    """Write the tables of the parts that were measured; until these are all, tables of as many runs stay."""
    results = list(chain.from_iterable(tables.results for tables in measured))
    if not complete and len(results) <= _run_count(folder):
        return
    diverged = dict(decisions["diverged"])
    for tables in measured:
        diverged |= tables.diverged
    atomic.write_text(folder / "choices.json", json.dumps({**decisions, "diverged": diverged}, indent=1) + "\n")
    write_csv(folder / "curves.csv", chain.from_iterable(tables.curves for tables in measured), CURVE_COLUMNS)
    write_csv(folder / "results.csv", results, RESULT_COLUMNS)


def _run_count(folder: Path) -> int:
    """Return of how many runs a folder has tables; 0 if one of these cannot be read."""
    try:
        return len(read(folder)[2])
    except InputError:
        return 0


def _changed(study: Study, folder: Path, since: bool = False) -> str | None:
    """Describe how a study differs from the one that a folder keeps; empty if it does not, None if none can be read.

    Args:
        study: The study.
        folder: The folder.
        since: Whether the folder's is the newer of the two (default false).
    """
    try:
        return differences(load_kept(folder / STUDY), study, since)
    except InputError:
        return None


def _measure_all(
    parts: Sequence[Part],
    toolbox: Toolbox,
    reporter: Reporter,
    check: Callable[[], None],
    save: Callable[[Sequence[_Tables], bool], None],
) -> None:
    """Train and apply what is missing, and save the tables after each part, so that an interruption loses none.

    Several processes share the trainings: none waits for another while there is something left to train.
    """
    measured: dict[Path, _Tables] = {}
    for wait in (False, True):
        for part in parts:
            if part.folder not in measured:
                check()
                failures, left = _train(part, toolbox, reporter, wait)
                if not left:
                    measured[part.folder] = _measure(part, failures, toolbox, reporter)
                    in_order = [measured[each.folder] for each in parts if each.folder in measured]
                    save(in_order, len(in_order) == len(parts))


def _train(part: Part, toolbox: Toolbox, reporter: Reporter, wait: bool = True) -> tuple[dict[str, Record], list[str]]:
    """Train what is missing; a training that diverged is not tried again.

    Args:
        part: The part.
        toolbox: The BART that simulates data.
        reporter: Shows progress.
        wait: Whether trainings of other processes are waited for (default).

    Returns:
        The record of the failure of each network whose training diverged, and what was left to other processes.

    Raises:
        ToolError: A training failed in another way.
    """
    selection = Selection(phases=("train",), retry_diverged=False, wait=wait)
    outcome = run_experiment(part.experiment, part.folder, toolbox, reporter, selection, part.settings)
    failures = {}
    for run in images.runs(part.experiment, part.folder):
        with suppress(OSError):
            record = json.loads(run.failure("train").read_text())
            if DIVERGED in record:
                failures[run.name] = record
    if len(failures) < len(outcome.failed):
        _raise_failed(outcome)
    return failures, outcome.left


def _measure(part: Part, failures: dict[str, Record], toolbox: Toolbox, reporter: Reporter) -> _Tables:
    """Apply the networks of a part that were trained, and return the rows of all."""
    tables = _Tables([*diverged_rows(part.experiment, failures)], [*diverged_curves(part.experiment, failures)])
    for name, failure in failures.items():
        network, algorithm = parts_of(name)
        key = f"{on(f'{network}-{algorithm}', part.experiment.engines[0])}, seed {part.experiment.seed}"
        tables.diverged[key] = failure["failed"]
    networks = {name: trained for name, trained in part.experiment.networks.items() if name not in failures}
    if networks:
        finished = part.experiment.model_copy(update={"networks": networks})
        selection = Selection(phases=("train", "apply"))
        _raise_failed(run_experiment(finished, part.folder, toolbox, reporter, selection, part.settings))
        tables.results.extend(cost_rows(finished, part.folder))
        tables.curves.extend(curve_rows(finished, part.folder))
    return tables


def _raise_failed(outcome: Outcome) -> None:
    if outcome.failed:
        title, reason = next(iter(outcome.failed.items()))
        raise ToolError(f"{title} failed ({len(outcome.failed)} in all): {reason}")
