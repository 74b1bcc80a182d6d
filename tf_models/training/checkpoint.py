"""Checkpoints: all that a training needs to go on as if nothing had happened to it.

One file holds weights, statistics of batch norm, the optimizer's state, the place in the training and its history, so
that they cannot disagree. (`keras.callbacks.BackupAndRestore` has no history, no place inside an epoch that `fit` would
go on from, no stages, and writes its files in place.)
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import psutil
from keras import ops
from numpy.typing import NDArray

import bart_bridge
from bart_bridge.data.content import digests
from bart_bridge.data.dataset import Split
from bart_bridge.errors import ToolError
from bart_bridge.files import atomic, cfl
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.training.data_parallel import process
from tf_models.training.history import History, Recorder, columns, rows_of

NAME = "training.npz"


class StoppedError(ToolError):
    """A training that was asked to stop and has left a checkpoint; exit code 75, EX_TEMPFAIL: to be tried again."""

    exit_code = 75


@dataclass(frozen=True)
class State:
    """A training at one moment.

    Attributes:
        stage: The stage that was trained, from 0.
        variables: Those of the model and then those of its optimizer.
        histories: Columns `(update,)` of the stages so far; the last one is that of `stage`.
        elapsed_s, cpu_s: Wall, and user and system seconds of the processes that brought it there.
    """

    stage: int
    variables: list[NDArray[Any]]
    histories: list[History]
    elapsed_s: float
    cpu_s: float

    @property
    def updates(self) -> int:
        """Updates so far, of all stages."""
        return sum(len(history["loss"]) for history in self.histories)


class Checkpoints:
    """The checkpoint of a training: one file, always whole, replaced by the next.

    Whoever has the result in safety removes the folder: until then, a training that is complete is there at once again.

    Args:
        folder: Where it is; made if it is missing.
        fingerprint: Of all that the training depends on; a checkpoint with another one is not used.

    Attributes:
        state: What was found, None for a training from the start.
        ignored: Why a file that is there is not used, else empty.
        stop_requested: Whether the training is to end after the present batch.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = folder / NAME, fingerprint
        self.ignored = ""
        self.state = self._read()
        self.stop_requested = False

    def listen(self) -> None:
        """Let SIGTERM ask for a stop, from now on; to be called by the main thread of a process."""

        def request(number: int, frame: object) -> None:
            self.stop_requested = True

        signal.signal(signal.SIGTERM, request)

    def write(self, stage: int, variables: list[NDArray[Any]], histories: list[History]) -> None:
        """Replace the checkpoint; see `State`.

        Raises:
            ToolError: It cannot be written; the last one is still there.
        """
        elapsed_s, cpu_s = _own_seconds()
        content: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "stage": stage,
            "elapsed_s": elapsed_s + (self.state.elapsed_s if self.state else 0.0),
            "cpu_s": cpu_s + (self.state.cpu_s if self.state else 0.0),
        }
        content |= {f"variable_{number:05}": value for number, value in enumerate(variables)}
        for number, history in enumerate(histories):
            content |= {f"history_{number}_{name}": column for name, column in history.items()}
        # Better now than after hours, when the weights cannot be written either.
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_arrays(self.path, content)
        except OSError as error:
            raise ToolError(
                f"{self.path}: the checkpoint cannot be written ({error.strerror}); the last one is kept"
            ) from None

    def _read(self) -> State | None:
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                content = dict(file)
            if str(content["fingerprint"]) != self.fingerprint:
                self.ignored = f"{self.path}: not used, it is of another training (settings, data or software)"
                return None
            stage = int(content["stage"])
            histories: list[History] = [{} for _ in range(stage + 1)]
            for key in content:
                if key.startswith("history_"):
                    _, number, name = key.split("_", 2)
                    histories[int(number)][name] = content[key]
            variables = [content[key] for key in sorted(content) if key.startswith("variable_")]
            return State(stage, variables, histories, float(content["elapsed_s"]), float(content["cpu_s"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            self.ignored = f"{self.path}: not used, it cannot be read ({error})"
            return None


class Keeper(keras.callbacks.Callback):
    """Write a checkpoint after each epoch of a stage, and when a stop was asked for; comes after the recorder.

    Raises:
        StoppedError: In `fit`, after the batch in which a stop was asked for.
    """

    def __init__(self, checkpoints: Checkpoints, stage: int, earlier: list[History], recorder: Recorder) -> None:
        super().__init__()
        self.checkpoints, self.stage, self.earlier, self.recorder = checkpoints, stage, earlier, recorder
        self.variables = checkpoints.state.variables if checkpoints.state else []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stop if that was asked for."""
        if self.checkpoints.stop_requested:
            self._write()
            epoch, batch = self.recorder.position
            raise StoppedError(
                f"stopped by SIGTERM in stage {self.stage + 1} after {epoch} epochs and {batch} of "
                f"{self.recorder.batches} batches; continues from {self.checkpoints.path}"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write."""
        self._write()

    def restore(self, model: UnrolledNetwork) -> None:
        """Let the variables of a model and its optimizer have the values of the last checkpoint."""
        for variable, value in zip(_variables(model), self.variables, strict=True):
            variable.assign(value)

    def _write(self) -> None:
        self.variables = [ops.convert_to_numpy(variable) for variable in _variables(self.model)]
        if process()[0]:
            return
        flat = [{name: column.ravel() for name, column in history.items()} for history in self.earlier]
        self.checkpoints.write(self.stage, self.variables, [*flat, columns(self.recorder.rows)])


def rows(state: State | None, stage: int) -> list[dict[str, float]]:
    """Return the history of a stage that was interrupted, nothing for one that was not begun."""
    return rows_of(state.histories[stage]) if state and state.stage == stage else []


def fingerprint(initial: Path, splits: list[Split], settings: dict[str, Any]) -> str:
    """Hash what a training depends on: settings, initial weights, the content of its slices, software.

    Args:
        initial: BART weights file.
        splits: Slices.
        settings: What can be written as JSON.
    """
    digest = hashlib.sha256()
    for file in cfl.files(initial):
        digest.update(file.read_bytes())
    data = [(digests(split), split.gridded_by) for split in splits]
    backend = keras.backend.backend()
    software = [bart_bridge.__version__, keras.__version__, backend, version(backend)]
    digest.update(json.dumps([settings, data, software], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def _variables(model: UnrolledNetwork) -> list[Any]:
    """Return all that an update changes; metrics are not among it, none of ours outlasts a batch."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    own = [*model.trainable_variables, *model.non_trainable_variables]
    return [*own, *model.optimizer.variables]


def _own_seconds() -> tuple[float, float]:
    times = os.times()
    started_s = psutil.Process().create_time()
    return time.time() - started_s, times.user + times.system + times.children_user + times.children_system
