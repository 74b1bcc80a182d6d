"""Read what `bart reconet --train` reports: lines of progress on its output, and the history file at the end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.measures import NAMES
from bart_bridge.reconet.network_settings import Network

_PROGRESS = re.compile(r"#(\d+)->(\d+)/(\d+);.*?loss: ([^;]+);")


@dataclass(frozen=True)
class Progress:
    """Where a training is after an update.

    Attributes:
        epoch: Number of the epoch, from 1.
        batch: Number of the batch in it, from 1.
        batches: Batches of an epoch.
        loss: Training loss of the update.
    """

    epoch: int
    batch: int
    batches: int
    loss: float


def parse_progress(line: str) -> Progress | None:
    """Read one line of `reconet`'s output; return None unless it reports an update."""
    match = _PROGRESS.search(line)
    return Progress(int(match[1]), int(match[2]), int(match[3]), float(match[4])) if match else None


def after_epochs(on_progress: Callable[[Progress], None], epochs: int) -> Callable[[Progress], None]:
    """Return a callback that adds the epochs of earlier stages to those of the present stage."""
    return lambda progress: on_progress(replace(progress, epoch=progress.epoch + epochs))


def read_history(path: Path, network: Network, validated: bool = False) -> dict[str, NDArray[np.float64]]:
    """Read a history file.

    Args:
        path: The file of the sub-option `export-history`.
        network: The network that was trained.
        validated: Whether validation slices were measured after each epoch (default false).

    Returns:
        Columns `(epoch, batch)` float64 by name:

        - `seconds` since the start of the epoch, and `loss`,
        - with validation the measures of `bart_bridge.measures`; NaN except at the last batch of each epoch,
        - `lambda_init` if the SENSE initialization trains a lambda of its own,
        - `lambda_0`, `lambda_1`, ... if the network trains lambda.

    Raises:
        InputError: The file is damaged or does not have these columns.
    """
    history = cfl.read(path)
    lambdas = 0 if network.fixed_lambda is not None else (1 if network.shared_lambda else network.iterations)
    initial_lambda = ["lambda_init"] if network.separate_initial_lambda() is not None else []
    measures = list(NAMES) if validated else []
    names = ["seconds", "loss", *measures, *initial_lambda, *(f"lambda_{number}" for number in range(lambdas))]
    recorded, values = np.moveaxis(history.reshape((*history.shape, *(1,) * (4 - history.ndim))).real, 2, 0)
    values = np.where(recorded == 1, values, np.nan).astype(np.float64)
    if validated and values.shape[-1] == len(names) + 1:
        # `mse scaled`, see `versions.SCALED_MSE`.
        values = np.delete(values, 2 + len(NAMES), axis=-1)
    if values.shape[-1] != len(names):
        raise InputError(f"{path}: {len(names)} columns expected ({', '.join(names)}), found {values.shape[-1]}")
    return {name: values[..., column] for column, name in enumerate(names)}
