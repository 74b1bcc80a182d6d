"""Checkpoints: an interrupted training continues from one as if it had never stopped.

One file holds the weights, the statistics of batch norm, the state of the optimizer, the position in the training and
its history, so they cannot disagree. `keras.callbacks.BackupAndRestore` is not enough: it keeps no history, cannot
continue inside an epoch, knows no stages, and writes its files in place.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

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
from bart_bridge.wording import counted
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.training.data_parallel import process_index
from tf_models.training.history import History, Recorder, Row, columns, rows_of

NAME = "training.npz"
Array: TypeAlias = NDArray[np.generic]


class StoppedError(ToolError):
    """A training stopped on request and left a checkpoint; exit code 75 (EX_TEMPFAIL) asks the caller to try again."""

    exit_code = 75


@dataclass(frozen=True)
class State:
    """A training at one moment.

    Attributes:
        stage: Number of the stage, from 0.
        variables: Variables of the model, then those of its optimizer.
        histories: Columns `(update,)` of each stage up to `stage`.
        elapsed_s: Wall time so far, of all processes that took part in turn.
        cpu_s: User and system time so far, of the same processes.
    """

    stage: int
    variables: list[Array]
    histories: list[History]
    elapsed_s: float
    cpu_s: float

    @property
    def updates(self) -> int:
        """Number of updates so far, of all stages."""
        return sum(len(history["loss"]) for history in self.histories)


class Checkpoints:
    """The checkpoint of a training: one file that is always complete, each replaces the one before.

    Remove the folder once the result is stored. Until then a training that has finished can be restored at once.

    Args:
        folder: Folder of the file; it is created if it does not exist.
        fingerprint: Hash of all that the training depends on, see `fingerprint`. A checkpoint with a different one is
            ignored.

    Attributes:
        state: The state in the file, None for a training from the start.
        ignored: Why an existing file is ignored, else empty.
        stop_requested: Whether the training should end after the current batch.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = folder / NAME, fingerprint
        self.ignored = ""
        self.state = self._read()
        self.stop_requested = False

    def listen(self) -> None:
        """Stop the training on SIGTERM from now on; call this in the main thread."""

        def request(number: int, frame: object) -> None:
            self.stop_requested = True

        signal.signal(signal.SIGTERM, request)

    def rows(self, stage: int) -> list[Row]:
        """Return the history of a stage that was interrupted, nothing for one that was not begun."""
        return rows_of(self.state.histories[stage]) if self.state and self.state.stage == stage else []

    def write(self, variables: list[Array], histories: list[History]) -> None:
        """Replace the checkpoint; see `State`. The stage is that of the last history.

        Raises:
            ToolError: The file cannot be written; the one before is kept.
        """
        elapsed_s, cpu_s = _own_seconds()
        content: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "stage": len(histories) - 1,
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
            content = atomic.read_arrays(self.path)
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


class CheckpointKeeper(keras.callbacks.Callback):
    """Write a checkpoint after each epoch of a stage, and when a stop was requested; put it after the recorder.

    Args:
        checkpoints: Where to write.
        earlier: Histories of the stages before.
        recorder: Records this stage.

    Raises:
        StoppedError: In `fit`, after the batch in which a stop was requested.
    """

    def __init__(self, checkpoints: Checkpoints, earlier: list[History], recorder: Recorder) -> None:
        super().__init__()
        self.checkpoints, self.recorder = checkpoints, recorder
        self.earlier = [{name: column.ravel() for name, column in history.items()} for history in earlier]
        self.variables = checkpoints.state.variables if checkpoints.state else []

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write and stop if a stop was requested."""
        if self.checkpoints.stop_requested:
            self._write()
            epoch, batch = self.recorder.position
            raise StoppedError(
                f"stopped by SIGTERM in stage {len(self.earlier) + 1} after {counted(epoch, 'epoch')} and {batch} of "
                f"{self.recorder.batches} batches; continues from {self.checkpoints.path}"
            )

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Write."""
        self._write()

    def restore(self, model: UnrolledNetwork) -> None:
        """Assign the values of the last checkpoint to the variables of a model and its optimizer."""
        for variable, value in zip(_variables(model), self.variables, strict=True):
            variable.assign(value)

    def _write(self) -> None:
        self.variables = [ops.convert_to_numpy(variable) for variable in _variables(self.model)]
        if process_index() > 0:
            return
        self.checkpoints.write(self.variables, [*self.earlier, columns(self.recorder.rows)])


def fingerprint(initial: Path, splits: list[Split], settings: dict[str, Any]) -> str:
    """Hash what a training depends on: settings, initial weights, the content of its slices, software.

    Args:
        initial: BART weights file.
        splits: Slices of training and validation.
        settings: Settings in a form that JSON can hold.

    Returns:
        16 hexadecimal digits of SHA-256.

    Raises:
        InputError: A file of slices is missing or damaged.
    """
    digest = hashlib.sha256()
    for file in cfl.files(initial):
        digest.update(file.read_bytes())
    data = [(digests(split), split.gridded_by) for split in splits]
    backend = keras.backend.backend()
    software = [bart_bridge.__version__, keras.__version__, backend, version(backend)]
    digest.update(json.dumps([settings, data, software], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def _variables(model: UnrolledNetwork) -> list[keras.Variable]:
    """Return all variables that an update changes, except metrics: none of ours outlasts a batch."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    return [*model.trainable_variables, *model.non_trainable_variables, *model.optimizer.variables]


def _own_seconds() -> tuple[float, float]:
    times = os.times()
    started_s = psutil.Process().create_time()
    return time.time() - started_s, times.user + times.system + times.children_user + times.children_system
