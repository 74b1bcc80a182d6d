"""Merge the folders of one experiment that was run in parts: on several days, or on several machines.

The unit is a part of the experiment: a network on an engine with its repeats, or all baselines. Each part is taken from
the folder that has most of its steps, the first of several. So a training and what follows from it stay together.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart_bridge.data import content
from bart_bridge.data.dataset import SPLITS, Dataset
from bart_bridge.errors import InputError, why_unreadable
from bart_bridge.files import cfl
from compare.running import locks, prepared_data
from compare.running.exchange_steps import exchanges
from compare.running.run_files import BASELINES_FOLDER, Run, exchange_phase, refuse_studies
from compare.running.runner import BASELINES_PART, Part, all_parts, part_records
from compare.settings.experiment import Experiment, load_kept

# What belongs to the place where a run was made and not to its results.
_NOT_COPIED = shutil.ignore_patterns(locks.NAME, "checkpoint")


@dataclass(frozen=True)
class Taken:
    """A part of a merged experiment.

    Attributes:
        part: The part.
        source: The folder that it was taken from; None if no folder has anything of it.
        steps: Its finished steps there.
        expected: The steps of a complete part.
        made_with: Version and commit of bart-tf in its records.
    """

    part: Part
    source: Path | None
    steps: int
    expected: int
    made_with: tuple[str, ...] = ()


def merge(folders: Sequence[Path], output: Path) -> list[Taken]:
    """Copy the dataset and the most complete parts of several folders into a new one.

    Afterwards `compare.running.runner.run` does what is missing there, and nothing else.

    Args:
        folders: Folders of one experiment, with the same settings and data; two or more.
        output: The new folder; it must not exist, or be empty.

    Returns:
        Where each part is from.

    Raises:
        InputError: The folders are not of one experiment, or the new one is not empty.
        BusyError: Another process works on one of the folders.
    """
    if len(set(folders)) < 2:
        raise InputError(f"merge needs two folders or more, received {len(set(folders))}")
    if output.exists() and any(output.iterdir()):
        raise InputError(f"{output}: must be a new folder, or an empty one")
    experiment = _common_settings(folders)
    with ExitStack() as stack:
        for folder in folders:
            for lock in sorted({folder / locks.NAME, *folder.glob(f"*/**/{locks.NAME}")}):
                stack.enter_context(locks.held(lock.parent, wait=False))
        _check_data(folders, experiment)
        if experiment.dataset.folder is None:
            shutil.copytree(folders[0] / "dataset", output / "dataset", ignore=_NOT_COPIED)
        taken = [_take(part, folders, experiment, output) for part in all_parts(experiment)]
        shutil.copy2(folders[0] / "experiment.yaml", output / "experiment.yaml")
    _drop_exchanges_of_others(experiment, output)
    return taken


def _common_settings(folders: Sequence[Path]) -> Experiment:
    refuse_studies(folders, "merge takes experiments")
    first = load_kept(folders[0] / "experiment.yaml")
    for folder in folders[1:]:
        load_kept(folder / "experiment.yaml")
        if changed := prepared_data.changed_settings(first, folder):
            raise InputError(f"{folder}: its experiment is not that of {folders[0]} ({changed})")
    return first


def _check_data(folders: Sequence[Path], experiment: Experiment) -> None:
    """Refuse folders whose simulated datasets have other arrays; a dataset that all of them name is one anyway."""
    if experiment.dataset.folder is not None:
        return
    first, *others = (Dataset.open(folder / "dataset") for folder in folders)
    for name in SPLITS:
        expected = content.digests(first.split(name))
        for other in others:
            found = content.digests(other.split(name))
            if differing := [array for array in expected if found.get(array) != expected[array]]:
                raise InputError(f"{other.folder / name}: {', '.join(differing)} differ from {first.folder / name}")


def _take(part: Part, folders: Sequence[Path], experiment: Experiment, output: Path) -> Taken:
    records = {folder: [path for path in part_records(experiment, folder, part) if path.exists()] for folder in folders}
    source = max(folders, key=lambda folder: len(records[folder]))  # the first of several
    expected = len(part_records(experiment, output, part))
    if not records[source]:
        return Taken(part, None, 0, expected)
    relative = Path(BASELINES_FOLDER) if part == BASELINES_PART else Run(Path(), *part).folder
    shutil.copytree(source / relative, output / relative, ignore=_NOT_COPIED)
    return Taken(part, source, len(records[source]), expected, tuple(_made_with(records[source])))


def _made_with(paths: Sequence[Path]) -> Iterator[str]:
    """Yield each version of bart-tf in records, with its commit."""
    seen = set()
    for path in paths:
        machine = _read(path).get("machine", {})
        text = f"{machine.get('bart_tf', 'unknown version')} ({str(machine.get('commit', 'unknown commit'))[:12]})"
        if text not in seen:
            seen.add(text)
            yield text


def _drop_exchanges_of_others(experiment: Experiment, output: Path) -> None:
    """Remove reconstructions with weights that are not those of the merged folder: another training was taken."""
    for name in experiment.networks:
        for reconstructs, trains in exchanges(experiment, name):
            run, phase = Run(output, name, reconstructs), exchange_phase(trains)
            if not run.record(phase).exists():
                continue
            used = _read(run.record(phase)).get("determinants", {}).get("weights")
            folder = Run(output, name, trains).folder
            files = [folder / "weights.keras", *cfl.files(folder / "weights")]
            if used not in [content.file_digest(file) for file in files if file.is_file()]:
                for path in run.folder.glob(f"{phase}*"):
                    path.unlink()


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as the record of a step ({why_unreadable(error)})") from None
    return record if isinstance(record, dict) else {}
