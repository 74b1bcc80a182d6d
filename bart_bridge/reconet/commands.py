"""Command lines of `bart reconet` that train and apply a network, and the check of a finished training."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bart_bridge.data.dataset import Split
from bart_bridge.errors import DivergedError, InputError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.image_size import check_filters
from bart_bridge.reconet.network_settings import ModlSettings, Network, VarNetSettings
from bart_bridge.reconet.training_settings import IpalmRules, Training
from bart_bridge.tools.process import Finished
from bart_bridge.tools.toolbox import Toolbox, failure

_INVALID_FREE = re.compile(r"(free|munmap_chunk)\(\): invalid")


def train_argv(
    toolbox: Toolbox,
    network: Network,
    training: Training,
    epochs: int,
    split: Split,
    weights_path: Path,
    *,
    initial: Path,
    history: Path,
    gpu: bool = False,
    validation: Split | None = None,
) -> list[str]:
    """Return the command that trains a network from given weights.

    Args:
        toolbox: The BART to use.
        network: The network.
        training: Algorithm, learning rate, batch size and loss.
        epochs: Number of epochs.
        split: The slices to train on; a reference is needed.
        weights_path: Where the trained weights go.
        initial: Weights to start from; those of one iteration are repeated for more.
        history: Where the history goes; read it with `bart_bridge.reconet.history.read_history`.
        gpu: Run on the GPU.
        validation: Slices to be measured after each epoch; a reference is needed.

    Raises:
        InputError: The split has no reference or fewer than two slices, its images are too small for the filters, the
            path of the history or of validation slices has a comma, or this BART does not have the algorithm for this
            network.
    """
    if split.reference is None:
        raise InputError(f"{split.kspace.parent}: training needs a reference, there is none")
    if split.slice_count < 2:
        raise InputError(f"{split.kspace}: reconet trains on two slices or more, found {split.slice_count}")
    if network.cg_derivative != "implicit":
        raise InputError(f"cg_derivative: reconet differentiates implicitly, received '{network.cg_derivative}'")
    check_algorithm(toolbox, network, training)
    check_filters(network, split)
    for path in (history, *(_files(validation).values() if validation else ())):
        check_path(path)
    batch_size = min(training.batch_size, split.slice_count)
    options = [
        *_network_options(network),
        *_device(gpu),
        *_training_options(network, training, epochs, history),
        f"--batch-size={batch_size}",
        *_sampling(split),
        *_validation(validation),
    ]
    files = [split.kspace, split.coils, weights_path, split.reference]
    return toolbox.argv("reconet", "--train", *options, "--load", initial, *files)


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
    """Return the options that tell `reconet --apply` which network it is."""
    return ["--apply", *_network_options(network), *(["--rss-norm"] if network.rss_norm else [])]


def check_trained(
    argv: list[str], finished: Finished, network: Network, weights_path: Path, history: Path, earlier_updates: int = 0
) -> None:
    """Judge a training by how it ended and by what it wrote.

    BART 0.8.00 and 1.0.00 abort while freeing memory after everything is written if an algorithm was named. Complete
    files count as success then, also where a script or container ran BART and returns 134; any other failure is one,
    also BART's own errors, which are aborts too. Weights that are not finite, which BART reports as success, are those
    of a training that diverged; `earlier_updates` are those of the stages before.

    Raises:
        ToolError: The training failed.
        DivergedError: It diverged.
        InputError: BART reports success, and a file that it should have written is missing or damaged.
    """
    freed_wrongly = any(_INVALID_FREE.search(line) for line in finished.stderr)
    if finished.returncode != 0 and (finished.signal_number != signal.SIGABRT or not freed_wrongly):
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
                f"{split.coils}: reconet --trajectory is right for even numbers of pixels only, found {x} x {y}"
            )
    named = {"pattern": split.pattern, "trajectory": split.trajectory}
    return [f"--{name}={path}" for name, path in named.items() if path]


def _validation(split: Split | None) -> list[str]:
    return [f"--valid-data={_sub_options(_files(split))}"] if split else []


def _files(split: Split) -> dict[str, Path]:
    """Return the files of validation slices by the names of their sub-options."""
    paths = {
        "kspace": split.kspace,
        "coil": split.coils,
        "pattern": split.pattern,
        "ref": split.reference,
        "trajectory": split.trajectory,
    }
    return {name: path for name, path in paths.items() if path}


def check_path(path: Path) -> None:
    """Refuse a path that cannot be named in a sub-option, as those of the history and of validation slices are.

    Raises:
        InputError: The path has a comma, at which `reconet` splits sub-options.
    """
    if "," in str(path):
        raise InputError(f"{path}: reconet takes no comma in the path of its history or of validation slices")


def _device(gpu: bool) -> list[str]:
    return ["--gpu"] if gpu else []


def check_algorithm(toolbox: Toolbox, network: Network, training: Training) -> None:
    """Refuse what a BART cannot train.

    Raises:
        InputError: It does not have the algorithm for this network; with the reason.
    """
    if training.algorithm == "admm":
        raise InputError("algorithm: reconet has no ADMM for weights")
    if training.algorithm != "ipalm" or toolbox.version >= (1, 0):
        return
    if network.kind != "varnet":
        raise InputError(
            f"algorithm: BART {toolbox.version_text} has iPALM only as the default of VarNet; "
            f"for {network.kind} '-T ipalm' runs Adam"
        )
    if training.ipalm != IpalmRules():
        raise InputError(f"ipalm: BART {toolbox.version_text} ignores the sub-options of --iPALM; leave the defaults")


def _training_options(network: Network, training: Training, epochs: int, history: Path) -> list[str]:
    # iPALM is VarNet's default in every version, and in 0.8.00 its name stands for Adam.
    unnamed = training.algorithm == "ipalm" and network.kind == "varnet" and training.ipalm == IpalmRules()
    algorithm: dict[str, Any] = {
        **({} if unnamed else {training.algorithm: ""}),
        "learning-rate": training.learning_rate,
        "epochs": epochs,
        "export-history": history,
        "learning-rate-min": training.final_learning_rate,
        "cosine-annealing-mod": training.cosine_epochs,
        "epochs-warmup": training.warmup_epochs or None,
        "weight-decay": training.weight_decay or None,
        "clip-norm": training.clip_norm,
        "clip-value": training.clip_value,
        "batchnorm-momentum": training.batch_norm_momentum,
    }
    adam = {
        "epsilon": training.adam.epsilon,
        "beta1": training.adam.beta_1,
        "beta2": training.adam.beta_2,
        "reset-momentum": training.adam.reset_epochs,
    }
    losses = [f"--train-loss={_sub_options(training.loss_weights(network))}", f"-T{_sub_options(algorithm)}"]
    # In BART the constants of Adam and of iPALM are sub-options of their own.
    if training.algorithm == "adam":
        losses.append(f"--adam={_sub_options(adam)}")
    if training.algorithm == "ipalm" and not unnamed:
        losses.append(f"--iPALM={_sub_options(_ipalm(training.ipalm))}")
    return losses


def _ipalm(rules: IpalmRules) -> dict[str, Any]:
    return {
        "L-min": rules.smallest,
        "L-max": rules.largest,
        "L-reduce": rules.reduce,
        "L-increase": rules.increase,
        "alpha": rules.alpha,
        "beta": rules.beta,
        "convex": "" if rules.step == "convex" else None,
        "non-trivial-step-size": None if rules.step == "trivial" else "",
        "no-momentum-reduction": None if rules.reduce_momentum else "",
    }


def _sub_options(options: Mapping[Any, Any]) -> str:
    """Write `a=1,b` for `{"a": 1, "b": "", "c": None}`."""
    words = []
    for name, value in options.items():
        if value is not None:
            # Nine digits are more than BART's single precision holds.
            text = f"{value:.9g}" if isinstance(value, float) else str(value)
            words.append(f"{name}={text}" if text else str(name))
    return ",".join(words)


def _network_options(network: Network) -> list[str]:
    block = f"F={network.filters},X={network.kernel_x},Y={network.kernel_y}"
    options = [f"--network={network.kind}", f"--iterations={network.iterations}"]
    if isinstance(network, VarNetSettings):
        options.append(f"--varnet-block={block},W={network.basis}")
    else:
        options.append(f"--resnet-block={block},L={network.layers}{_without(network)}")
    consistency = [network.data_consistency, f"max-cg-iter={network.max_cg_iterations}"]
    if network.fixed_lambda is not None:
        consistency.append(f"fix-lambda={network.fixed_lambda}")
    start = network.sense_initialization
    if start is not None:
        given = {"sense": "", "fix-lambda": start.fixed_lambda, "max-cg-iter": start.max_cg_iterations}
        if start.initial_lambda is not None:
            # Whether both are one weight depends on where they start.
            given |= {"fix-lambda": -1, "lambda-init": start.initial_lambda}
            consistency.append(f"lambda-init={network.initial_lambda:.9g}")
        options.append(f"--initial-reco={_sub_options(given)}")
    options.append("--data-consistency=" + ",".join(consistency))
    options.append("--shared-weights" if network.shared_weights else "--no-shared-weights")
    options.append("--shared-lambda" if network.shared_lambda else "--no-shared-lambda")
    return options + (["--normalize"] if network.normalize else [])


def _without(network: ModlSettings) -> str:
    return ("" if network.batch_norm else ",no-batch-normalization") + ("" if network.bias else ",no-bias")
