"""Time and memory of steps that are still to be done, from the records of the same step in earlier runs.

A record counts if it was made on this machine, with as many threads and the same BART, and if the step had the same
settings and data. Nothing is extrapolated from other machines, sizes or settings, except for the number of epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart_bridge.data.simulation import Simulation
from bart_bridge.errors import InputError
from bart_bridge.wording import counted
from compare.measuring import machine
from compare.measuring.timing import continued
from compare.running import records
from compare.running.records import OLDER, Record
from compare.running.run_files import BASELINES_FOLDER
from compare.running.steps import Step
from compare.settings.engine_names import BART
from compare.settings.experiment import Experiment, load_kept

# Time and memory do not depend on these.
_WITHOUT_EFFECT = ("version", "seed", "weights", "pretraining", "gridded_by", "data")
_SAME_SIZES = {"seed", "noise"}
NO_EARLIER_RUN = "no earlier run has done this step"
_HARDWARE = ("processor", "cores", "gpus", "system")
_RECORDS = ("runs/*/*.json", "runs/*/repeat-*/*.json", f"{BASELINES_FOLDER}/*.json")


@dataclass(frozen=True)
class Estimate:
    """What a step will take, as an earlier one of its kind did.

    Attributes:
        seconds: Wall seconds; None if unknown.
        peak_bytes: Memory of its process; None if unknown.
        gpu_bytes: Memory on GPUs; None if unknown.
        reason: Where the numbers are from, or why there are none.
    """

    seconds: float | None
    peak_bytes: int | None
    gpu_bytes: int | None
    reason: str


@dataclass(frozen=True)
class _Earlier:
    """A record of a step, and the simulation that its data are from, if they are."""

    path: Path
    record: Record
    simulation: Simulation | None


class EarlierRuns:
    """The records of finished steps in a folder, in its `older`, and in the experiments beside it.

    Args:
        folder: Of the experiment.
        experiment: The experiment.
        here: This machine and its software, as in a record.
    """

    def __init__(self, folder: Path, experiment: Experiment, here: machine.Description) -> None:
        self._simulation, self._here = experiment.dataset.simulate, here
        self._folder = folder
        beside = [path.parent for path in sorted(folder.parent.glob("*/experiment.yaml")) if path.parent != folder]
        # The first record that fits counts: of this folder before others, of a first run before its repeats.
        roots = [folder, *sorted((folder / OLDER).glob("*")), *beside]
        self._earlier = [earlier for root in roots for earlier in _in_folder(root)]

    def add(self, path: Path, record: Record) -> None:
        """Add the record of a step that was just done."""
        self._earlier.insert(0, _Earlier(path, record, self._simulation))

    def estimate(self, step: Step) -> Estimate:
        """Return what a step will take."""
        wanted = step.determinants()
        kind = _kind(step.record, wanted)
        same_kind = [each for each in self._earlier if _kind(each.path, each.record["determinants"]) == kind]
        faults = [self._fault(earlier, wanted, step.threads) for earlier in same_kind]
        fitting = [earlier for earlier, fault in zip(same_kind, faults, strict=True) if not fault]
        if not fitting:
            return Estimate(None, None, None, faults[0] if faults else NO_EARLIER_RUN)
        timed = [earlier for earlier in fitting if _seconds(earlier.path, earlier.record, wanted) is not None]
        best = (timed or fitting)[0]
        measurement = best.record.get("measurement") or {}
        return Estimate(
            _seconds(best.path, best.record, wanted),
            measurement.get("peak_rss_bytes"),
            measurement.get("gpu_peak_bytes"),
            self._origin(best, wanted) if timed else "the earlier training was interrupted",
        )

    def _origin(self, earlier: _Earlier, wanted: records.Determinants) -> str:
        epochs = _epochs(earlier.path, earlier.record["determinants"])
        scaled = f" of {counted(epochs, 'epoch')}" if epochs != _epochs(earlier.path, wanted) else ""
        return f"as in {self._name(earlier.path)}{scaled}"

    def _fault(self, earlier: _Earlier, wanted: records.Determinants, threads: int) -> str:
        """Return why a record says nothing about a step; empty if it does."""
        there, made_on = earlier.record["determinants"], earlier.record["machine"]
        where = f"in {self._name(earlier.path)}"
        if machine.label(made_on) != machine.label(self._here):
            return f"{where} on another machine"
        if made_on.get("threads") != threads:
            then = made_on.get("threads")
            return f"{where} with {counted(then, 'thread') if then else 'unknown threads'}, not {threads}"
        name = _engine(wanted) or BART
        if machine.built(made_on, name) != machine.built(self._here, name):
            return f"{where} with another build of BART"
        if changed := records.differences(*(_comparable(each, earlier.path.stem) for each in (there, wanted))):
            return f"{where} with other settings: {changed}"
        same = there["data"] == wanted["data"] and all(wanted["data"].values())
        same_sizes = there["data"].keys() == wanted["data"].keys() and self._same_sizes(earlier.simulation)
        return "" if same or same_sizes else f"{where} with other data"

    def _same_sizes(self, simulation: Simulation | None) -> bool:
        if simulation is None or self._simulation is None:
            return False
        return simulation.model_dump(exclude=_SAME_SIZES) == self._simulation.model_dump(exclude=_SAME_SIZES)

    def _name(self, path: Path) -> str:
        """Name a record by its path from the folder of all experiments."""
        return str(path.relative_to(self._folder.parent).with_suffix(""))


def as_before(folder: Path, here: machine.Description) -> machine.Description:
    """Return the description of this machine with the memory that it had when earlier steps were done.

    The memory of a virtual machine may grow while it is in use; that makes it no other machine.

    Args:
        folder: Of the experiment.
        here: This machine, as in a record.
    """
    for path in [path for pattern in _RECORDS for path in sorted(folder.glob(pattern))]:
        try:
            there = records.load(path, "machine")["machine"]
            if all(there[name] == here[name] for name in _HARDWARE):
                return here | {"memory_bytes": there["memory_bytes"]}
        except (InputError, KeyError, TypeError):
            continue
    return here


def _in_folder(root: Path) -> Iterator[_Earlier]:
    """Read the records of finished steps in the folder of an experiment; what cannot be read is left out."""
    try:
        simulation = load_kept(root / "experiment.yaml").dataset.simulate
    except InputError:
        simulation = None
    for path in [path for pattern in _RECORDS for path in sorted(root.glob(pattern))]:
        try:
            record = records.load(path, "step_s")
            machine.label(record["machine"])
            record["determinants"]["data"].keys()
            _kind(path, record["determinants"])
        except (InputError, KeyError, TypeError, AttributeError):
            continue
        yield _Earlier(path, record, simulation)


def _kind(record: Path, determinants: records.Determinants) -> tuple[str, ...]:
    """Return phase, kind of network and engine of a run, or the name of a baseline."""
    if "network" in determinants:
        return record.stem, str(determinants["network"].get("kind")), _engine(determinants)
    return (f"{BASELINES_FOLDER}/{record.stem}",)


def _engine(determinants: records.Determinants) -> str:
    return str((determinants.get("engine") or {}).get("name", ""))


def _comparable(determinants: records.Determinants, phase: str) -> dict[str, Any]:
    """Return what time and memory of a phase depend on, except for the data and the number of epochs."""
    kept = {name: value for name, value in determinants.items() if name not in _WITHOUT_EFFECT}
    training = kept.pop("training", {})
    if phase == "train":
        kept["training"] = {name: value for name, value in training.items() if name != "epochs"}
    return kept


def _epochs(record: Path, determinants: records.Determinants) -> int:
    """Return the epochs of a training, 0 for other phases; those of a pretraining are the same in all that fit."""
    return int(determinants["training"]["epochs"]) if record.stem == "train" else 0


def _seconds(path: Path, record: Record, wanted: records.Determinants) -> float | None:
    """Return the seconds of a record, for as many epochs as a training is to have; None if it does not say."""
    if continued(str((record.get("measurement") or {}).get("ending", ""))):
        return None
    more = _epochs(path, wanted) - _epochs(path, record["determinants"])
    if not more:
        return float(record["step_s"])
    epoch_s = (record.get("seconds") or {}).get("epoch")
    return None if epoch_s is None else float(record["step_s"]) + more * float(epoch_s)
