"""Command lines of `bart reconet` that train and apply a network, and the check of a finished training."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bart_bridge.data.dataset import Split
from bart_bridge.errors import DivergedError, InputError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.files.dims import Dim
from bart_bridge.reconet import weights
from bart_bridge.reconet.image_size import check_filters
from bart_bridge.reconet.network_settings import Network
from bart_bridge.reconet.option_writer import network_options, sub_options, training_options
from bart_bridge.reconet.training_settings import IpalmRules, Training
from bart_bridge.tools import versions
from bart_bridge.tools.process import Finished
from bart_bridge.tools.toolbox import Toolbox, failure

_INVALID_FREE = re.compile(r"(free|munmap_chunk)\(\): invalid")


@dataclass(frozen=True)
class TrainingFiles:
    """The files of a training with `bart reconet`.

    Attributes:
        split: Training slices; a reference is needed.
        weights: Where the trained weights go.
        initial: Weights to start from; those of one iteration are repeated for all iterations.
        history: Where the history goes; read it with `bart_bridge.reconet.history.read_history`.
        validation: Slices to measure after each epoch; a reference is needed. Default: none.
    """

    split: Split
    weights: Path
    initial: Path
    history: Path
    validation: Split | None = None


def train_argv(
    toolbox: Toolbox,
    network: Network,
    training: Training,
    epochs: int,
    files: TrainingFiles,
    *,
    gpu: bool = False,
) -> list[str]:
    """Return the command that trains a network from given weights.

    Args:
        toolbox: The BART to use.
        network: The network.
        training: Algorithm, learning rate, batch size and loss.
        epochs: Number of epochs, in place of those in `training`.
        files: What the command reads and writes.
        gpu: Run on the GPU (default false).

    Raises:
        InputError: The split has no reference, or fewer slices than this BART needs, its images are too small for the
            filters, the path of the history or of validation slices has a comma, or this BART does not have the
            algorithm for this network.
    """
    split = files.split
    if split.reference is None:
        raise InputError(f"{split.kspace.parent}: training needs a reference, there is none")
    if split.slice_count < 2 and not toolbox.has(versions.TRAINS_ON_ONE_SLICE):
        raise InputError(
            f"{split.kspace}: BART {toolbox.version_text} trains on two slices or more, found {split.slice_count}"
        )
    if network.cg_derivative != "implicit":
        raise InputError(f"cg_derivative: reconet differentiates implicitly, received '{network.cg_derivative}'")
    check_algorithm(toolbox, network, training)
    check_loss(toolbox.version, network, training, split)
    check_filters(network, split)
    for path in (files.history, *_files(files.validation).values()):
        check_path(path)
    batch_size = min(training.batch_size, split.slice_count)
    options = [
        *network_options(network),
        *_device(gpu),
        *training_options(network, training, epochs, files.history),
        f"--batch-size={batch_size}",
        *_sampling(split),
        *_validation(files.validation),
    ]
    arrays = [split.kspace, split.coils, files.weights, split.reference]
    return toolbox.argv("reconet", "--train", *options, "--load", files.initial, *arrays)


def apply_argv(
    toolbox: Toolbox, network: Network, split: Split, weights_path: Path, output: Path, *, gpu: bool = False
) -> list[str]:
    """Return the command that reconstructs the slices of a split with given weights.

    Raises:
        InputError: The images are too small for the filters.
    """
    check_filters(network, split)
    files = [split.kspace, split.coils, weights_path, output]
    return toolbox.argv("reconet", *apply_options(network), *_device(gpu), *_sampling(split), *files)


def apply_options(network: Network) -> list[str]:
    """Return the options that describe a network to `reconet --apply`."""
    return ["--apply", *network_options(network), *(["--rss-norm"] if network.rss_norm else [])]


def check_trained(
    argv: list[str], finished: Finished, network: Network, weights_path: Path, history: Path, earlier_updates: int = 0
) -> None:
    """Check by exit code, output and files whether a training succeeded.

    BART aborts with an invalid `free` after it has written all files if an algorithm was named. Then complete files
    count as success, also if a script or container ran BART and returned 134. Every other abort is a failure, since
    failed assertions, and up to 0.9 all errors, end in an abort too. BART reports success if the weights are not
    finite; this counts as divergence.

    Args:
        argv: The command, from `train_argv`.
        finished: How it ended.
        network: The network that was trained.
        weights_path: The trained weights.
        history: The history file.
        earlier_updates: Number of updates in earlier stages, for the error message (default 0).

    Raises:
        ToolError: The training failed.
        DivergedError: The training diverged.
        InputError: BART reports success, but a file is missing or damaged.
    """
    invalid_free = any(_INVALID_FREE.search(line) for line in finished.stderr)
    if finished.returncode != 0 and (finished.signal_number != signal.SIGABRT or not invalid_free):
        raise failure(argv, finished)
    try:
        complete = bool(np.all(cfl.read(history)[..., 0, 1].real == 1))
        finite = all(np.isfinite(array).all() for array in multi_cfl.read(weights_path))
        if finite:
            weights.read(weights_path, network)
    except InputError:
        if finished.returncode == 0:
            raise
        complete = False
    if not complete:
        raise failure(argv, finished)
    if not finite:
        updates = int(np.prod(cfl.read_dims(history)[:2]))
        raise DivergedError(earlier_updates + updates, "the weights are not finite after it, the losses were")


def _sampling(split: Split) -> list[str]:
    if split.trajectory:
        x, y = cfl.read_dims(split.coils)[:2]
        if x % 2 or y % 2:
            raise InputError(
                f"{split.coils}: reconet --trajectory is correct for even image sizes only, found {x} x {y}"
            )
    paths = {"pattern": split.pattern, "trajectory": split.trajectory}
    return [f"--{name}={path}" for name, path in paths.items() if path]


def _validation(split: Split | None) -> list[str]:
    return [f"--valid-data={sub_options(_files(split))}"] if split else []


def _files(split: Split | None) -> dict[str, Path]:
    """Return the files of validation slices by the names of their sub-options."""
    if split is None:
        return {}
    paths = {
        "kspace": split.kspace,
        "coil": split.coils,
        "pattern": split.pattern,
        "ref": split.reference,
        "trajectory": split.trajectory,
    }
    return {name: path for name, path in paths.items() if path}


def check_path(path: Path) -> None:
    """Reject a path that cannot be passed in a sub-option, as the history and validation files are.

    Raises:
        InputError: The path contains a comma, where `reconet` splits sub-options.
    """
    if "," in str(path):
        raise InputError(f"{path}: reconet takes no comma in the path of its history or of validation slices")


def _device(gpu: bool) -> list[str]:
    return ["--gpu"] if gpu else []


def check_algorithm(toolbox: Toolbox, network: Network, training: Training) -> None:
    """Check that a BART can train this network with this algorithm.

    Raises:
        InputError: It cannot; the message has the reason.
    """
    if training.algorithm == "admm":
        raise InputError("algorithm: reconet has no ADMM for weights")
    check_schedule(toolbox.version, training)
    if training.algorithm != "ipalm" or toolbox.has(versions.NAMED_IPALM):
        return
    if network.kind != "varnet":
        raise InputError(
            f"algorithm: BART {toolbox.version_text} has iPALM only as the default of VarNet; "
            f"for {network.kind} '-T ipalm' runs Adam"
        )
    if training.ipalm != IpalmRules():
        raise InputError(f"ipalm: BART {toolbox.version_text} ignores the sub-options of --iPALM; leave the defaults")


def check_loss(version: versions.Version, network: Network, training: Training, split: Split) -> None:
    """Check that a version of BART trains with our loss.

    Raises:
        InputError: It has another one for several maps.
    """
    maps = (*cfl.read_dims(split.coils), *[1] * cfl.MAX_RANK)[Dim.MAPS]
    names = [name for name in training.loss_weights(network) if name.startswith("nmse")]
    if names and maps > 1 and versions.NMSE_OF_ALL_MAPS.is_in(version):
        raise InputError(
            f"loss: BART {versions.text(version)} divides '{names[0]}' by the energy of all {maps} maps of a slice, "
            "bart-tf by that of each map; choose another loss"
        )


def check_schedule(version: versions.Version, training: Training) -> None:
    """Check that a version of BART has the learning rates of a training.

    Raises:
        InputError: It has others.
    """
    is_falling = training.final_learning_rate is not None
    if training.warmup_epochs and is_falling and versions.WARMUP_REPEATS_SCHEDULE.is_in(version):
        raise InputError(
            f"warmup_epochs: BART {versions.text(version)} repeats the first epochs of a falling learning rate after a "
            f"warm-up; leave out warmup_epochs (received {training.warmup_epochs}) or final_learning_rate"
        )
