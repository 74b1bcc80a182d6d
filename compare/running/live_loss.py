"""The loss of a running training for TensorBoard, one event file for each process of a training.

The losses are those that the engines print after each update; BART writes its history file only when it is done.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from bart_bridge.errors import MissingExtraError
from bart_bridge.reconet.history import Progress
from compare.engines.base import OnProgress

FOLDER = "tensorboard"
_FLUSH_S = 5


def check() -> None:
    """Fail unless the package that writes event files is installed.

    Raises:
        MissingExtraError: It is not.
    """
    if not find_spec("tensorboardX"):
        raise MissingExtraError("tensorboardX", "tensorboard")


@contextmanager
def written(folder: Path | None, continues: bool, on_progress: OnProgress) -> Iterator[OnProgress]:
    """Return a callback that also writes `loss` over the number of the update.

    Args:
        folder: Folder of the event files of one training; None writes nothing.
        continues: Whether the training may continue from a checkpoint, and its earlier losses stay.
        on_progress: Called as before.
    """
    if folder is None:
        yield on_progress
        return
    from tensorboardX import SummaryWriter

    if not continues:
        shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder), flush_secs=_FLUSH_S) as writer:

        def write(progress: Progress) -> None:
            on_progress(progress)
            update = (progress.epoch - 1) * progress.batches + progress.batch
            writer.add_scalar("loss", progress.loss, update)

        yield write
