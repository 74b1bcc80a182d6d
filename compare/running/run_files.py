"""The files of a run, one network on one engine, in the folder of an experiment."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bart_bridge.errors import InputError

# Of the reconstructions without a network, in the folder of an experiment.
BASELINES_FOLDER = "references"
# The settings of an optimizer study (`compare.study`), in a folder that has an experiment for each of its parts.
STUDY = "study.yaml"


def refuse_studies(folders: Iterable[Path], rule: str) -> None:
    """Refuse folders of optimizer studies.

    Args:
        folders: Folders that should be of experiments.
        rule: What the command does, such as "merge takes experiments".

    Raises:
        InputError: One of them is the folder of a study.
    """
    for folder in folders:
        if (folder / STUDY).exists():
            raise InputError(f"{folder}: is an optimizer study, {rule}")


class Run:
    """The files of one network on one engine.

    Attributes:
        name: Name of the network in the results.
        engine: Name of the engine.
        repeat: 0, or the number of a repeated measurement.
        folder: Folder of the files.
    """

    def __init__(self, root: Path, name: str, engine: str, repeat: int = 0) -> None:
        self.name, self.engine, self.repeat = name, engine, repeat
        self.folder = root / "runs" / f"{name}-{engine}"
        if repeat:
            self.folder /= f"repeat-{repeat}"

    def record(self, phase: str) -> Path:
        """Return the record of `initial`, `train`, `apply` or `infer`."""
        return self.folder / f"{phase}.json"

    def failure(self, phase: str) -> Path:
        """Return the record of a phase that failed."""
        return failure_record(self.record(phase))

    def images(self, phase: str) -> Path:
        """Return the images of `initial`, `apply` or an exchange of weights, a BART array."""
        return self.folder / f"{phase}-images"


def exchange_phase(engine: str) -> str:
    """Return the phase in which a run reconstructs with the weights that another engine trained."""
    return f"weights-of-{engine}"


def failure_record(record: Path) -> Path:
    """Return the path of the record of a step's failure."""
    return record.with_name(f"{record.stem}-failed.json")
