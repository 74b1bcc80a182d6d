"""Time and memory of steps that are still to be done, from the records of the same step in earlier runs.

A record counts if it was made on this machine, with as many threads and the same BART, and if the step had the same
settings and data. Nothing is extrapolated from other machines, sizes or settings, except for the number of epochs.
Numbers by which a training multiplies, such as the learning rate, may differ. They change how often iPALM repeats its
steps, though, and so its time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart_bridge.data import content
from bart_bridge.data.dataset import SPLITS
from bart_bridge.data.simulation import Simulation
from bart_bridge.errors import InputError
from bart_bridge.wording import counted
from compare.measuring import machine
from compare.measuring.timing import continued
from compare.running import records
from compare.running.records import OLDER, Record
from compare.running.run_files import BASELINES_FOLDER, STUDY
from compare.running.steps import Step
from compare.settings.engine_names import BART
from compare.settings.experiment import Experiment, load_kept

# Time and memory do not depend on these.
_WITHOUT_EFFECT = ("version", "seed", "weights", "pretraining", "gridded_by", "data")
_SAME_SIZES = {"seed", "noise"}
# Settings of a training by whose values it only multiplies or divides, by their keys in a record.
_FACTORS = ("learning_rate", "adam_epsilon", "adam_beta_1", "adam_beta_2", "admm_rho", "admm_relaxation")
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
    """The records of finished steps in a folder, in its `older`, and in the experiments and studies beside it.

    Args:
        folder: Of the experiment, or of the optimizer study whose parts are experiments.
        experiment: The experiment.
        here: This machine and its software, as in a record.
    """

    def __init__(self, folder: Path, experiment: Experiment, here: machine.Description) -> None:
        self._simulation, self._here = experiment.dataset.simulate, here
        self._folder = folder
        own = _experiments(folder)
        beside = [path.parent for path in sorted(folder.parent.glob("*/experiment.yaml"))]
        beside += [part for path in sorted(folder.parent.glob(f"*/{STUDY}")) for part in _experiments(path.parent)]
        # The first record that fits counts: of this folder before others, of a first run before its repeats.
        older = [path for root in own for path in sorted((root / OLDER).glob("*"))]
        self._earlier = [each for root in dict.fromkeys([*own, *older, *beside]) for each in _in_folder(root)]

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
        best = min(fitting, key=lambda each: (_seconds(each, wanted) is None, bool(_other_factors(each, wanted))))
        measurement = best.record.get("measurement") or {}
        return Estimate(
            _seconds(best, wanted),
            measurement.get("peak_rss_bytes"),
            measurement.get("gpu_peak_bytes"),
            self._origin(best, wanted),
        )

    def _origin(self, earlier: _Earlier, wanted: records.Determinants) -> str:
        """Say which record an estimate is from, and why that has no time if it has none."""
        if _interrupted(earlier):
            return "the earlier training was interrupted"
        origin, other = f"as in {self._name(earlier.path)}", _other_factors(earlier, wanted)
        epochs = _epochs(earlier.path, earlier.record["determinants"])
        if epochs != _epochs(earlier.path, wanted):
            origin += f" of {counted(epochs, 'epoch')}"
        if other:
            origin += f" with another {', '.join(other)}"
        if _seconds(earlier, wanted) is not None:
            return origin
        return f"{origin}, on which the time of iPALM depends" if other else f"{origin}, too few for the time of one"

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
        folder: Of the experiment or optimizer study.
        here: This machine, as in a record.
    """
    for path in [path for root in _experiments(folder) for path in _records_in(root)]:
        try:
            there = records.load(path, "machine")["machine"]
            if all(there[name] == here[name] for name in _HARDWARE):
                return here | {"memory_bytes": there["memory_bytes"]}
        except (InputError, KeyError, TypeError):
            continue
    return here


def _experiments(folder: Path) -> list[Path]:
    """List the folder of an experiment, and those of its parts if it is one of an optimizer study."""
    return [folder, *(path.parent for path in sorted(folder.glob("*/experiment.yaml")))]


def _records_in(root: Path) -> list[Path]:
    return [path for pattern in _RECORDS for path in sorted(root.glob(pattern))]


def _in_folder(root: Path) -> Iterator[_Earlier]:
    """Read the records of finished steps in the folder of an experiment; what cannot be read is left out."""
    simulation, hashes = _simulated_data(root)
    for path in _records_in(root):
        try:
            record = records.load(path, "step_s")
            machine.label(record["machine"])
            data = record["determinants"]["data"]
            _kind(path, record["determinants"])
            is_of_it = all(hashes.get(split, {}).items() >= arrays.items() for split, arrays in data.items())
        except (InputError, KeyError, TypeError, AttributeError):
            continue
        yield _Earlier(path, record, simulation if is_of_it else None)


def _simulated_data(root: Path) -> tuple[Simulation | None, dict[str, dict[str, str]]]:
    """Return the simulation of the data of an experiment, and their hashes by split and array; None if there is none.

    A part of a study has the data that another part of it simulated.
    """
    try:
        dataset = load_kept(root / "experiment.yaml").dataset
        folder = dataset.folder or root / "dataset"
        if dataset.folder:
            dataset = load_kept(folder.parent / "experiment.yaml").dataset
    except InputError:
        return None, {}
    return dataset.simulate, {name: content.validated(folder / name) for name in SPLITS}


def _kind(record: Path, determinants: records.Determinants) -> tuple[str, ...]:
    """Return phase, kind of network and engine of a run, its algorithm if it trains, or the name of a baseline."""
    if "network" in determinants:
        algorithm = str(determinants["training"]["algorithm"]) if record.stem == "train" else ""
        return record.stem, str(determinants["network"].get("kind")), _engine(determinants), algorithm
    return (f"{BASELINES_FOLDER}/{record.stem}",)


def _engine(determinants: records.Determinants) -> str:
    return str((determinants.get("engine") or {}).get("name", ""))


def _comparable(determinants: records.Determinants, phase: str) -> dict[str, Any]:
    """Return what the memory of a phase depends on, and in most cases its time, except for data and epochs."""
    kept = {name: value for name, value in determinants.items() if name not in _WITHOUT_EFFECT}
    training = kept.pop("training", {})
    if phase == "train":
        kept["training"] = {name: value for name, value in training.items() if name not in ("epochs", *_FACTORS)}
    return kept


def _other_factors(earlier: _Earlier, wanted: records.Determinants) -> list[str]:
    """Name the `_FACTORS` in which a training differs from an earlier one; other phases do not depend on them."""
    if earlier.path.stem != "train":
        return []
    before, after = earlier.record["determinants"]["training"], wanted["training"]
    return [name for name in _FACTORS if before.get(name) != after.get(name)]


def _epochs(record: Path, determinants: records.Determinants) -> int:
    """Return the epochs of a training, 0 for other phases; those of a pretraining are the same in all that fit."""
    return int(determinants["training"]["epochs"]) if record.stem == "train" else 0


def _seconds(earlier: _Earlier, wanted: records.Determinants) -> float | None:
    """Return the seconds of a record, for as many epochs as a training is to have; None if it does not say."""
    record = earlier.record
    repeats_otherwise = earlier.path.stem == "train" and wanted["training"]["algorithm"] == "ipalm"
    if _interrupted(earlier) or (repeats_otherwise and _other_factors(earlier, wanted)):
        return None
    more = _epochs(earlier.path, wanted) - _epochs(earlier.path, record["determinants"])
    if not more:
        return float(record["step_s"])
    epoch_s = (record.get("seconds") or {}).get("epoch")
    return None if epoch_s is None else float(record["step_s"]) + more * float(epoch_s)


def _interrupted(earlier: _Earlier) -> bool:
    return bool(continued(str((earlier.record.get("measurement") or {}).get("ending", ""))))
