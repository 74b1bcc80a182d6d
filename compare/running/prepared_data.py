"""Accept the settings of an experiment, and check and identify its dataset, before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bart_bridge.data import content, noncartesian
from bart_bridge.data.dataset import SPLITS, Dataset, Split
from bart_bridge.data.simulation import DEFAULTS, Simulation, simulate
from bart_bridge.errors import InputError
from bart_bridge.files import atomic
from bart_bridge.reconet.image_size import check_filters
from bart_bridge.reconet.network_settings import Settings
from bart_bridge.tools import versions
from bart_bridge.tools.discovery import every_bart
from bart_bridge.tools.toolbox import Toolbox
from bart_bridge.wording import counted
from compare.console import Reporter
from compare.running import locks, records
from compare.settings.experiment import Experiment, load_kept

# What each split holds: the hash of each array by its name.
Identity = dict[str, dict[str, str]]
# Settings that no result depends on.
_WITHOUT_EFFECT = {"slurm", "description"}
# What a report writes beside its tables and figures; see `compare.report.experiment_report` and
# `compare.results.table`.
_OF_REPORT = ("index.html", "tables.md", "machine.json", *(f"{name}.csv" for name in ("results", "history", "memory")))


@dataclass(frozen=True)
class PreparedData:
    """The dataset of an experiment, validated and gridded.

    Attributes:
        dataset: The dataset.
        identity: The hash of each of its arrays, by split and name; no hashes before it is simulated.
        slice_counts: Number of slices of each split.
    """

    dataset: Dataset
    identity: Identity
    slice_counts: Mapping[str, int]


def prepare(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> PreparedData:
    """Open the dataset as `open_dataset` does and write `experiment.yaml`, one process at a time.

    Raises:
        InputError: The dataset is not usable, or the folder has other people's files that a report would replace.
        BusyError: Another process works with other settings or data; nothing was changed.
    """
    with locks.held(folder):
        changed = changed_settings(experiment, folder)
        if changed is None:
            refuse_foreign(folder, "experiment.yaml")
        if changed:
            with nobody_at_work(folder, changed):
                pass
        atomic.remove_leftovers(folder, folder / "tables", folder / "figures")
        data = open_dataset(experiment, folder, toolbox, reporter)
        settings = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
        atomic.write_text(folder / "experiment.yaml", settings)
        return data


def refuse_foreign(folder: Path, settings: str) -> None:
    """Refuse a folder that has files a report would replace, but not the settings file of our own folders.

    Raises:
        InputError: It is such a folder.
    """
    foreign = [name for name in _OF_REPORT if (folder / name).exists()]
    if foreign and not (folder / settings).exists():
        raise InputError(f"{folder}: a report would replace {', '.join(foreign)}, and there is no {settings}")


def changed_settings(experiment: Experiment, folder: Path, since: bool = False) -> str | None:
    """Describe how an experiment differs from `experiment.yaml`; empty if it does not, None if there is no such file.

    The block `slurm` and the description are not compared, because no result depends on them.

    Args:
        experiment: The experiment.
        folder: Folder of `experiment.yaml`.
        since: Whether the file is the newer of the two (default false).
    """
    try:
        before = load_kept(folder / "experiment.yaml")
    except InputError:
        return None
    return differences(before, experiment, since)


def differences(kept: Settings, given: Settings, since: bool = False) -> str:
    """Describe how settings differ from those that a folder keeps, without what no result depends on.

    Args:
        kept: Those of the folder.
        given: The others.
        since: As for `changed_settings`.
    """
    before, after = (given, kept) if since else (kept, given)
    old, new = (each.model_dump(mode="json", exclude=_WITHOUT_EFFECT) for each in (before, after))
    return records.differences(old, new)


def open_dataset(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> PreparedData:
    """Open the dataset of an experiment, which is simulated first if it is missing, and hash its arrays.

    For a dataset that is not writable, derived arrays and hashes go to `data` in the experiment's folder. The caller
    must hold the lock of that folder.

    Raises:
        InputError: The dataset is not usable.
        BusyError: The dataset changed, and another process works with the old one.
    """
    if experiment.dataset.simulate is not None:
        _simulate(experiment.dataset.simulate, folder, toolbox, reporter)

    def gridded(split: Split) -> Split:
        return grid(split, toolbox, remove_leftovers=True)

    return _checked(experiment, folder, reporter, gridded)


def look(experiment: Experiment, folder: Path, toolbox: Toolbox, reporter: Reporter) -> PreparedData:
    """Open and check the dataset as `open_dataset` does, but simulate, grid, write and lock nothing.

    A dataset that is still to be simulated has the slices of its settings and no hashes.

    Raises:
        InputError: The dataset is not usable, or as for `refuse_foreign`.
    """
    refuse_foreign(folder, "experiment.yaml")
    simulation = experiment.dataset.simulate
    if simulation is not None and _changed_simulation(simulation, folder / "dataset") != "":
        counts = {name: getattr(simulation, name) for name in SPLITS}
        reporter.say(f"dataset: {counted(sum(counts.values()), 'slice')} still to be simulated")
        return PreparedData(Dataset(folder / "dataset", {}), {name: {} for name in SPLITS}, counts)
    return _checked(experiment, folder, reporter, lambda split: noncartesian.named(split, toolbox), store=False)


def _checked(
    experiment: Experiment, folder: Path, reporter: Reporter, gridded: Callable[[Split], Split], store: bool = True
) -> PreparedData:
    """Check each split of the dataset, let `gridded` complete it, and hash its arrays; `store` the hashes."""
    dataset = Dataset.open(experiment.dataset.folder or folder / "dataset")
    if not all(os.access(dataset.folder / name, os.W_OK) for name in SPLITS):
        dataset = replace(dataset, cache=folder / "data")
    identity, counts = {}, {}
    for name in SPLITS:
        split = dataset.split(name)
        content.validate_once(split, store)
        for trained in experiment.networks.values():
            check_filters(trained.network, split)
        for warning in split.trajectory_warnings():
            reporter.warn(warning)
        if "gridding" in experiment.baselines and split.trajectory is None:
            raise InputError(f"{dataset.folder / name}: the baseline gridding needs a trajectory, there is none")
        if split.reference is None:
            raise InputError(f"{dataset.folder / name}: a comparison needs a reference, there is none")
        dataset = replace(dataset, gridded_by=gridded(split).gridded_by)
        identity[name], counts[name] = content.digests(split, store), split.slice_count
    return PreparedData(dataset, identity, counts)


def grid(split: Split, toolbox: Toolbox, remove_leftovers: bool = False) -> Split:
    """Compute adjoint and psf of a validated split as `noncartesian.prepare` does, one process at a time.

    Args:
        split: The split.
        toolbox: The BART to use.
        remove_leftovers: Remove what interrupted writers left beside the split (default false). Use it only for the
            split of a dataset, where we write nothing else. Hashes that another process stores there at this moment
            are computed again the next time.
    """
    parent = split.cache or split.kspace.parent
    with locks.held(parent) if split.trajectory else nullcontext():
        if remove_leftovers:
            atomic.remove_leftovers(parent)
        return noncartesian.prepare(split, toolbox)


def description(folder: Path) -> dict[str, Any]:
    """Return the content of `dataset.yaml` in a folder; empty if there is none."""
    try:
        return Dataset.open(folder).description
    except InputError:
        return {}


def _simulate(settings: Simulation, folder: Path, toolbox: Toolbox, reporter: Reporter) -> None:
    target = folder / "dataset"
    changed = _changed_simulation(settings, target)
    if changed == "":
        return
    if changed is not None:
        with nobody_at_work(folder, changed):
            older = records.Older(folder).keep([target])
        reporter.say(f"dataset: simulated anew, {changed}; the old one is in {older}")
    total = sum(getattr(settings, split) for split in SPLITS)
    with reporter.step(f"dataset: simulate {counted(total, 'slice')}", total) as advance:
        simulate(target, settings, _drawing_bart(settings, toolbox), lambda done, _: advance(done))


def _drawing_bart(settings: Simulation, toolbox: Toolbox) -> Toolbox:
    """Return the BART in use or, for a brain that it does not have, another one of this machine: all draw the same."""
    if settings.phantom not in ("brain", "varied-brain") or toolbox.has(versions.BRAIN_PHANTOM):
        return toolbox
    return next((other for other in every_bart()[0] if other.has(versions.BRAIN_PHANTOM)), toolbox)


def _changed_simulation(settings: Simulation, target: Path) -> str | None:
    """Describe how settings differ from those of a simulated dataset; None if there is no such dataset yet."""
    if not target.exists():
        return None
    # Not the version of BART: all of them simulate the same.
    # Descriptions of earlier versions lack later settings. A dataset keeps its phantom when BART becomes another.
    there = DEFAULTS | (description(target).get("simulation") or {"size": None})
    kept = {"phantom": there["phantom"]} if settings.phantom == "brain-or-shapes" else {}
    return records.differences({"simulation": there}, {"simulation": settings.model_dump() | kept})


@contextmanager
def nobody_at_work(folder: Path, changed: str) -> Iterator[None]:
    """Hold all locks below a folder.

    Args:
        folder: Of an experiment or optimizer study.
        changed: What is about to change there.

    Raises:
        BusyError: Another process holds one of the locks.
    """
    with ExitStack() as stack:
        for lock in sorted(folder.glob(f"*/**/{locks.NAME}")):
            try:
                stack.enter_context(locks.held(lock.parent, wait=False))
            except locks.BusyError as error:
                raise locks.BusyError(f"{error}, with other settings ({changed})") from None
        yield
