"""Read a command line of `bart reconet` for `bart-tf reconet`, which runs it with Keras.

Every option is either supported or rejected with an error that names it; none is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError, first_fault
from bart_bridge.reconet.commands import check_schedule
from bart_bridge.reconet.network_settings import MemoryPlan, ModlSettings, Network, VarNetSettings
from bart_bridge.reconet.options import (
    Options,
    Value,
    file,
    integer,
    last_value,
    read_value,
    split_arguments,
    sub_options,
)
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import versions

_NETWORK_OPTIONS = {
    *("network", "iterations", "normalize", "rss-norm", "test", "varnet-block", "resnet-block", "data-consistency"),
    *("initial-reco", "shared-weights", "no-shared-weights", "shared-lambda", "no-shared-lambda"),
}
# Values that mean the default to BART.
_UNSET_TRAINING: dict[str, float] = {
    "learning_rate": 0,
    "epochs": -1,
    "clip_norm": 0,
    "clip_value": 0,
    "final_learning_rate": 0,
    "cosine_epochs": 0,
}
_UNSET_ADAM: dict[str, float] = {"reset_epochs": -1}
_UNSET_IPALM: dict[str, float] = {"alpha": -1, "beta": -1}
_UNSET_CONSISTENCY: dict[str, float] = {"fixed_lambda": -1, "initial_lambda": -1}
_UNSET_INITIALIZATION: dict[str, float] = {"fixed_lambda": -2, "initial_lambda": -1, "max_cg_iterations": -1}
# The small networks of `--test`.
_TEST: dict[str, dict[str, Value]] = {
    "varnet": {"iterations": 2, "filters": 5, "kernel_x": 3, "kernel_y": 3, "basis": 5},
    "modl": {"iterations": 2, "layers": 3, "filters": 8},
}
_FILES = ("kspace", "coils", "weights", "reference or output")
Values = dict[str, Any]
_Model = type[VarNetSettings] | type[ModlSettings]


@dataclass(frozen=True)
class ReconetCommand:
    """A command line of `bart reconet`.

    Attributes:
        mode: `train`, `apply` or `eval`.
        network: The network.
        training: How it is trained.
        split: K-space, coils, pattern and trajectory; also the reference unless the mode is `apply`.
        weights: Weights file, written by `train` and read otherwise.
        output: Reconstruction to write; None unless the mode is `apply`.
        load: Weights to start from; None draws those of BART.
        history: Where the history of the training goes; None writes none.
        dump_epochs: Write the weights before every `dump_epochs`-th epoch too; None writes them only at the end.
        validation: Slices to measure after each epoch; None measures none.
        gpu: Whether to run on a GPU.
        memory: `lean` for `--lowmem`, otherwise `plain`.
        bart_version: The version of BART to answer as.
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
    bart_version: versions.Version


def parse(arguments: Sequence[str], installed: versions.Version = versions.NEWEST) -> ReconetCommand:
    """Read the arguments that follow `bart reconet`, and `--bart-version`, which BART does not have.

    Args:
        arguments: The options and files.
        installed: The version of BART to answer as without `--bart-version`. Defaults to the newest.

    Raises:
        InputError: An option is unknown, not supported or has a wrong value, or a file is missing.
    """
    options, files = split_arguments(arguments)
    modes = [mode for mode in ("train", "apply", "eval") if mode in options]
    if len(modes) != 1:
        raise InputError(f"reconet: exactly one of --train, --apply and --eval is needed, received {len(modes)}")
    if len(files) != 4:
        raise InputError(f"reconet: four files are needed ({', '.join(_FILES)}), not {len(files)}")
    bart_version = last_value(options, "bart-version", versions.parse) or installed
    try:
        network = _network(options)
        training, extra = _training(options, modes[0], network, bart_version)
    except ValidationError as error:
        raise InputError(f"reconet: {first_fault(error)}") from None
    if modes[0] == "train":
        check_schedule(bart_version, training)
    elif "valid-data" in options:
        raise InputError(f"reconet: --valid-data belongs to --train, received --{modes[0]}")
    kspace, coils, weights, last = (
        Path(read_value(what, file, name)).absolute() for what, name in zip(_FILES, files, strict=True)
    )
    pattern, trajectory, load = (_path(options, name) for name in ("pattern", "trajectory", "load"))
    applies = modes[0] == "apply"
    return ReconetCommand(
        mode=modes[0],
        network=network,
        training=training,
        split=Split(kspace, coils, pattern, None if applies else last, trajectory),
        weights=weights,
        output=last if applies else None,
        load=load,
        history=Path(extra["history"]).absolute() if "history" in extra else None,
        dump_epochs=extra["dump_epochs"] if extra.get("dump_epochs", 0) > 0 else None,
        validation=_validation(options),
        gpu="gpu" in options,
        memory="lean" if "lowmem" in options else "plain",
        bart_version=bart_version,
    )


def parse_network(arguments: Sequence[str]) -> tuple[Network, list[str]]:
    """Read the options of `bart reconet` that describe a network, and return the network and the files.

    Raises:
        InputError: An option is unknown, does not describe the network, or has a wrong value.
    """
    options, files = split_arguments(arguments)
    other = [name for name in options if name not in _NETWORK_OPTIONS]
    if other:
        raise InputError(f"reconet: --{other[0]} does not describe a network")
    try:
        return _network(options), files
    except ValidationError as error:
        raise InputError(f"reconet: {first_fault(error)}") from None


def _path(options: Options, name: str) -> Path | None:
    path = last_value(options, name, file)
    return Path(path).absolute() if path else None


def _network(options: Options) -> Network:
    kinds = {kind for _, kind in sub_options(options, "network")}
    if len(kinds) != 1:
        raise InputError("reconet: --network=varnet or --network=modl is needed")
    (kind,) = kinds
    model: _Model = VarNetSettings if kind == "varnet" else ModlSettings
    values: Values = {"normalize": "normalize" in options, "rss_norm": "rss-norm" in options}
    block, other = ("varnet-block", "resnet-block") if kind == "varnet" else ("resnet-block", "varnet-block")
    if other in options:
        raise InputError(f"reconet: --{other} does not belong to {kind}")
    values |= dict(sub_options(options, block))
    if values.pop("kernel_z", 1) != 1:
        raise InputError(f"reconet: --{block}: Z must be 1, networks of bart-tf are two-dimensional")
    consistency = sub_options(options, "data-consistency")
    if len({step for field, step in consistency if field == "data_consistency"}) > 1:
        raise InputError("reconet: --data-consistency: gradient-step and proximal-mapping exclude each other")
    values |= _without_unset(dict(consistency), _UNSET_CONSISTENCY)
    for name in ("weights", "lambda"):
        for option, shared in ((f"shared-{name}", True), (f"no-shared-{name}", False)):
            if option in options:
                values[f"shared_{name}"] = shared
    start = _without_unset(dict(sub_options(options, "initial-reco")), _UNSET_INITIALIZATION)
    if start.pop("sense", False):
        values["sense_initialization"] = _initialization(start, values, model)
    if "iterations" in options:
        values["iterations"] = last_value(options, "iterations", integer)
    if "test" in options:
        # As in BART, `--test` takes precedence over other options.
        values |= _TEST[str(kind)]
    return model.model_validate(values)


def _without_unset(values: Values, unset: dict[str, float]) -> Values:
    """Leave out values that mean the default to BART."""
    return {name: value for name, value in values.items() if name not in unset or value != unset[name]}


def _initialization(start: Values, network: Values, model: _Model) -> Values:
    """Return the settings of the SENSE initialization; as in BART, only a trained lambda has a start value."""
    defaults = {name: field.default for name, field in model.model_fields.items()}
    network = defaults | network
    proximal = network["data_consistency"] == "proximal-mapping"
    initial_lambda = start.pop("initial_lambda", None)
    if "fixed_lambda" not in start:
        trained = proximal and network["fixed_lambda"] is None
        return start | ({"initial_lambda": initial_lambda} if trained else {})
    if start["fixed_lambda"] != -1:
        return start
    default = network["initial_lambda"] if proximal else 0.1
    del start["fixed_lambda"]  # -1: train it
    return start | {"initial_lambda": default if initial_lambda is None else initial_lambda}


def _training(options: Options, mode: str, network: Network, bart_version: versions.Version) -> tuple[Training, Values]:
    """Return the training, and the fields `history` and `dump_epochs`, which are no settings of a training."""
    pairs = {name: sub_options(options, name) for name in ("train-algo", "adam", "iPALM")}
    algorithms = [str(value) for name in pairs for field, value in pairs[name] if field == "algorithm"]
    if len(algorithms) > 1:
        raise InputError(f"reconet: name one training algorithm, not {' and '.join(algorithms)}")
    if mode == "train" and algorithms == ["ipalm"] and not versions.NAMED_IPALM.is_in(bart_version):
        raise InputError(
            f"reconet: BART {versions.text(bart_version)} trains with Adam if ipalm is named: name adam, or nothing "
            "for the iPALM of varnet, or add --bart-version 1.0"
        )
    algorithm = algorithms[0] if algorithms else ("ipalm" if isinstance(network, VarNetSettings) else "adam")
    values, adam, ipalm = (
        {field: value for field, value in pairs[name] if field not in ("algorithm", "batches")} for name in pairs
    )
    for name, constants in (("adam", adam), ("iPALM", ipalm)):
        if mode == "train" and constants and algorithms != [name.lower()]:
            raise InputError(f"reconet: BART ignores --{name} unless {name} is named too; add -T {name.lower()}")
    extra: Values = {name: values.pop(name) for name in ("history", "dump_epochs") if name in values}
    # As in BART, weight 0 removes a loss.
    losses = {loss: weight for loss, weight in dict(sub_options(options, "train-loss")).items() if weight != 0}
    settings: Values = _without_unset(values, _UNSET_TRAINING) | {"algorithm": algorithm, "loss": losses or None}
    if algorithm == "adam":
        settings["adam"] = _without_unset(adam, _UNSET_ADAM)
    if algorithm == "ipalm":
        settings["ipalm"] = _ipalm_rules(_without_unset(ipalm, _UNSET_IPALM))
    if "batch-size" in options:
        settings["batch_size"] = last_value(options, "batch-size", integer)
    settings.setdefault("epochs", 1)  # as in BART
    return Training.model_validate(settings), extra


def _ipalm_rules(values: Values) -> Values:
    """Combine the two flags of the step size: `convex` has an effect only with `non-trivial-step-size`."""
    convex, adapted = values.pop("convex", False), values.pop("adapted", False)
    return values | {"step": ("convex" if convex else "nonconvex") if adapted else "trivial"}


def _validation(options: Options) -> Split | None:
    files: Values = dict(sub_options(options, "valid-data"))
    if not files:
        return None
    missing = {"kspace", "coils", "reference"} - files.keys()
    if missing:
        raise InputError(f"reconet: --valid-data needs kspace, coil and ref, missing: {', '.join(sorted(missing))}")
    paths: dict[str, Any] = {name: Path(path).absolute() for name, path in files.items()}
    return Split(**paths)
