"""Read a command line of `bart reconet`: what `bart-tf reconet` does instead of BART.

Every option is either understood or refused by its name; none is ignored.
"""

from __future__ import annotations

import getopt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bart_bridge.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.settings import MemoryPlan, ModlSettings, Network, Training, VarNetSettings

_SHORT = "teagl:b:I:nN:T:"
_LONG = (
    *("train", "eval", "apply", "gpu", "load=", "batch-size=", "iterations=", "normalize", "network=", "test"),
    *("resnet-block=", "varnet-block=", "data-consistency=", "initial-reco=", "shared-weights", "no-shared-weights"),
    *("shared-lambda", "no-shared-lambda", "rss-norm", "pattern=", "valid-data=", "train-loss=", "train-algo="),
    *("adam=", "iPALM=", "load-memory", "lowmem", "trajectory="),
    # Known to BART and not to us; listed so that they are refused by name.
    *("mask=", "valid-loss=", "export-graph=", "unet="),
)
_NAMES = {
    **{"t": "train", "e": "eval", "a": "apply", "g": "gpu", "l": "load", "b": "batch-size", "I": "iterations"},
    **{"n": "normalize", "N": "network", "T": "train-algo"},
}
# Sub-options of BART, each with the field of our settings; long and short names where BART has both.
_VARNET_BLOCK = {
    **{"F": "filters", "filters": "filters", "W": "basis", "basis": "basis"},
    **{"X": "kernel_x", "filter-x": "kernel_x", "Y": "kernel_y", "filter-y": "kernel_y"},
    **{"Z": "kernel_z", "filter-z": "kernel_z"},
}
_RESNET_BLOCK = {
    **{name: field for name, field in _VARNET_BLOCK.items() if field != "basis"},
    **{"L": "layers", "layers": "layers", "no-batch-normalization": "no_batch_norm", "no-bias": "no_bias"},
}
_DATA_CONSISTENCY = {
    **{"fix-lambda": "fixed_lambda", "lambda-init": "initial_lambda", "max-cg-iter": "max_cg_iterations"},
    **{"gradient-step": "gradient-step", "proximal-mapping": "proximal-mapping"},
}
_INITIAL_RECO = {
    **{"sense": "sense", "tickhonov": "sense", "max-cg-iter": "max_cg_iterations"},
    **{"fix-lambda": "fixed_lambda", "lambda-init": "initial_lambda"},
}
_TRAINING = {
    **{"r": "learning_rate", "learning-rate": "learning_rate", "e": "epochs", "epochs": "epochs"},
    **{"sgd": "sgd", "adam": "adam", "ipalm": "ipalm"},
    **{"weight-decay": "weight_decay", "epochs-warmup": "warmup_epochs"},
    **{"clip-norm": "clip_norm", "clip-value": "clip_value"},
    **{"learning-rate-min": "final_learning_rate", "cosine-annealing-mod": "cosine_epochs"},
    **{"batchnorm-momentum": "batch_norm_momentum", "export-history": "history", "dump-mod": "dump_epochs"},
    **{"batchgen-same": "batchgen-same"},
}
_ADAM = {
    **{"s": "adam", "adam": "adam", "epsilon": "adam_epsilon", "beta1": "adam_beta_1", "beta2": "adam_beta_2"},
    **{"reset-momentum": "adam_reset_epochs"},
}
_IPALM = {
    **{"s": "ipalm", "ipalm": "ipalm", "L-min": "smallest", "L-max": "largest", "L-reduce": "reduce"},
    **{"L-increase": "increase", "alpha": "alpha", "beta": "beta", "convex": "convex"},
    **{"non-trivial-step-size": "nonconvex", "no-momentum-reduction": "no_momentum_reduction"},
}
_VALIDATION = {
    **{"k": "kspace", "kspace": "kspace", "c": "coils", "coil": "coils", "p": "pattern", "pattern": "pattern"},
    **{"r": "reference", "ref": "reference", "t": "trajectory", "trajectory": "trajectory"},
}
_OF_THE_NETWORK = {
    *("network", "iterations", "normalize", "rss-norm", "test", "varnet-block", "resnet-block", "data-consistency"),
    *("initial-reco", "shared-weights", "no-shared-weights", "shared-lambda", "no-shared-lambda"),
}
_LOSSES = ("mse", "mad", "nmse", "mse-magnitude", "mad-magnitude", "nmse-magnitude", "ssim")
# BART's very small networks for tests.
_TEST = {
    "varnet": {"iterations": 2, "filters": 5, "kernel_x": 3, "kernel_y": 3, "basis": 5},
    "modl": {"iterations": 2, "layers": 3, "filters": 8},
}
Values = dict[str, Any]


@dataclass(frozen=True)
class ReconetCommand:
    """A command line of `bart reconet`.

    Attributes:
        mode: What to do.
        network: The network.
        training: How it is trained.
        split: k-space, coils, pattern, trajectory and, to train and evaluate, the reference.
        weights: Weights file to write in training and to read otherwise.
        output: Reconstruction to write; None unless the mode is `apply`.
        load: Weights to start from.
        history: Where the history of the training goes.
        dump_epochs: Write the weights before every so many epochs.
        validation: Slices to be measured after each epoch.
        gpu: Run on a GPU.
        memory: `lean` for `--lowmem`.
    """

    mode: Literal["train", "apply", "eval"]
    network: Network
    training: Training
    split: Split
    weights: Path
    output: Path | None
    load: Path | None
    history: Path | None
    dump_epochs: int | None
    validation: Split | None
    gpu: bool
    memory: MemoryPlan


def parse(arguments: Sequence[str]) -> ReconetCommand:
    """Read the arguments that follow `bart reconet`.

    Raises:
        InputError: An option is unknown, not supported here or has a wrong value, or a file is missing from the line.
    """
    options, files = _split(arguments)
    for name in ("mask", "valid-loss", "export-graph", "unet"):
        if name in options:
            raise InputError(f"reconet: --{name} is not supported by bart-tf")
    modes = [mode for mode in ("train", "apply", "eval") if mode in options]
    if len(modes) != 1:
        raise InputError(f"reconet: exactly one of --train, --apply and --eval is needed, received {len(modes)}")
    if len(files) != 4:
        raise InputError(
            f"reconet: four files are needed (kspace, coils, weights, reference or output), not {len(files)}"
        )
    try:
        network = _network(options)
        training, extra = _training(options, modes[0], network)
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"reconet: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    kspace, coils, weights, last = (Path(file).absolute() for file in files)
    pattern, trajectory = (
        Path(options[name]).absolute() if name in options else None for name in ("pattern", "trajectory")
    )
    applies = modes[0] == "apply"
    return ReconetCommand(
        mode=modes[0],
        network=network,
        training=training,
        split=Split(kspace, coils, pattern, None if applies else last, trajectory),
        weights=weights,
        output=last if applies else None,
        load=Path(options["load"]).absolute() if "load" in options else None,
        history=Path(extra["history"]).absolute() if "history" in extra else None,
        dump_epochs=int(extra["dump_epochs"]) if "dump_epochs" in extra else None,
        validation=_validation(options),
        gpu="gpu" in options,
        memory="lean" if "lowmem" in options else "plain",
    )


def parse_network(arguments: Sequence[str]) -> tuple[Network, list[str]]:
    """Read the options of `bart reconet` that say which network it is, and the files that follow.

    Raises:
        InputError: An option is unknown, says nothing about the network, or has a wrong value.
    """
    options, files = _split(arguments)
    other = [name for name in options if name not in _OF_THE_NETWORK]
    if other:
        raise InputError(f"reconet: --{other[0]} says nothing about the network")
    try:
        return _network(options), files
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"reconet: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return options by their long names, sub-options of a repeated one joined as BART does, and files."""
    try:
        pairs, files = getopt.getopt(list(arguments), _SHORT, list(_LONG))
    except getopt.GetoptError as error:
        raise InputError(f"reconet: {error}") from None
    options: dict[str, str] = {}
    for option, value in pairs:
        name = _NAMES.get(option.lstrip("-"), option.lstrip("-"))
        options[name] = f"{options[name]},{value}" if options.get(name) else value
    return options, files


def _sub_options(options: dict[str, str], name: str, known: dict[str, str]) -> Values:
    """Read `a=1,b` into values by our names; flags are True."""
    found: Values = {}
    for word in filter(None, options.get(name, "").split(",")):
        key, _, value = word.partition("=")
        if key not in known:
            raise InputError(f"reconet: --{name}: '{key}' is not supported by bart-tf (known: {', '.join(known)})")
        found[known[key]] = value or True
    return found


def _network(options: dict[str, str]) -> Network:
    kinds = _sub_options(options, "network", {"varnet": "varnet", "modl": "modl"})
    if len(kinds) != 1:
        raise InputError("reconet: --network=varnet or --network=modl is needed")
    kind = next(iter(kinds))
    model: type[VarNetSettings | ModlSettings] = VarNetSettings if kind == "varnet" else ModlSettings
    values: Values = {"normalize": "normalize" in options, "rss_norm": "rss-norm" in options}
    block, known = ("varnet-block", _VARNET_BLOCK) if kind == "varnet" else ("resnet-block", _RESNET_BLOCK)
    other = "resnet-block" if kind == "varnet" else "varnet-block"
    if other in options:
        raise InputError(f"reconet: --{other} does not belong to {kind}")
    values |= _sub_options(options, block, known)
    if str(values.pop("kernel_z", 1)) != "1":
        raise InputError(f"reconet: --{block}: Z must be 1, networks of bart-tf are two-dimensional")
    for field in ("batch_norm", "bias"):
        if values.pop(f"no_{field}", False):
            values[field] = False
    consistency = _sub_options(options, "data-consistency", _DATA_CONSISTENCY)
    for name in ("gradient-step", "proximal-mapping"):
        if consistency.pop(name, False):
            values["data_consistency"] = name
    values |= _lambda(consistency)
    for name in ("weights", "lambda"):
        for word, shared in ((f"shared-{name}", True), (f"no-shared-{name}", False)):
            if word in options:
                values[f"shared_{name}"] = shared
    start = _sub_options(options, "initial-reco", _INITIAL_RECO)
    if start.pop("sense", False):
        values["sense_initialization"] = _initialization(start, values, model)
    if "iterations" in options:
        values["iterations"] = options["iterations"]
    if "test" in options:
        # As in BART, they win over what is given beside them.
        values |= _TEST[kind]
    return model.model_validate(values)


def _initialization(start: Values, network: Values, model: type[VarNetSettings | ModlSettings]) -> Values:
    """As in BART, lambda of the initialization starts at a value of its own only where it is trained."""
    defaults = {name: field.default for name, field in model.model_fields.items()}
    network = defaults | network
    proximal = network["data_consistency"] == "proximal-mapping"
    initial_lambda = start.pop("initial_lambda", None)
    if "fixed_lambda" not in start:
        trained = proximal and network["fixed_lambda"] is None
        return start | ({"initial_lambda": initial_lambda} if trained else {})
    if float(start["fixed_lambda"]) != -1:
        return start
    default = network["initial_lambda"] if proximal else 0.1
    return _lambda(start) | {"initial_lambda": default if initial_lambda is None else initial_lambda}


def _lambda(values: Values) -> Values:
    """BART's -1 stands for a lambda that is trained."""
    trained = "fixed_lambda" in values and float(values["fixed_lambda"]) == -1
    return {name: value for name, value in values.items() if not (trained and name == "fixed_lambda")}


def _training(options: dict[str, str], mode: str, network: Network) -> tuple[Training, Values]:
    """Return the training, and of its options those that name files."""
    values = _sub_options(options, "train-algo", _TRAINING)
    adam = _sub_options(options, "adam", _ADAM)
    ipalm = _sub_options(options, "iPALM", _IPALM)
    named = [name for name in ("sgd", "adam", "ipalm") for found in (values, adam, ipalm) if found.pop(name, False)]
    chosen = sorted(set(named))
    values.pop("batchgen-same", None)
    if len(chosen) > 1:
        raise InputError(f"reconet: name one training algorithm, not {' and '.join(chosen)}")
    algorithm = chosen[0] if chosen else ("ipalm" if isinstance(network, VarNetSettings) else "adam")
    if mode == "train" and ipalm and chosen != ["ipalm"]:
        raise InputError("reconet: BART ignores --iPALM unless iPALM is named too; add -T ipalm")
    extra: Values = {name: values.pop(name) for name in ("history", "dump_epochs") if name in values}
    losses = _sub_options(options, "train-loss", {name: name for name in _LOSSES})
    values |= adam if algorithm == "adam" else {}
    values |= {"algorithm": algorithm, "loss": losses or None}
    if algorithm == "ipalm":
        values["ipalm"] = _ipalm_rules(ipalm)
    if "batch-size" in options:
        values["batch_size"] = options["batch-size"]
    values.setdefault("epochs", 1)  # as in BART
    return Training.model_validate(values), extra


def _ipalm_rules(values: Values) -> Values:
    """BART's -1 stands for an inertia that grows with the steps, and `convex` matters only with the other step size."""
    convex, adapted = values.pop("convex", False), values.pop("nonconvex", False)
    values["reduce_momentum"] = not values.pop("no_momentum_reduction", False)
    values["step"] = ("convex" if convex else "nonconvex") if adapted else "trivial"
    return {name: value for name, value in values.items() if name not in ("alpha", "beta") or float(value) != -1}


def _validation(options: dict[str, str]) -> Split | None:
    found = _sub_options(options, "valid-data", _VALIDATION)
    if not found:
        return None
    missing = {"kspace", "coils", "reference"} - found.keys()
    if missing:
        raise InputError(f"reconet: --valid-data needs kspace, coil and ref, missing: {', '.join(sorted(missing))}")
    paths: dict[str, Any] = {name: Path(path).absolute() for name, path in found.items()}
    return Split(**paths)
