"""Read the options of `bart reconet` as BART does, each with its type; `option_writer` writes them.

Whatever BART rejects is rejected. Two things that BART accepts are rejected too, because they are mistakes: a value
after a flag, which BART ignores, and an integer without digits, which BART reads as 0.
"""

from __future__ import annotations

import getopt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bart_bridge.errors import InputError

_SHORT = "teagl:b:I:nN:T:"
# Listed so that the error message names them.
_BART_ONLY = ("mask=", "valid-loss=", "export-graph=", "unet=", "nufft-conf=", "ksp-training", "no-precomp")
_LONG = (
    *("train", "eval", "apply", "gpu", "load=", "batch-size=", "iterations=", "normalize", "network=", "test"),
    *("resnet-block=", "varnet-block=", "data-consistency=", "initial-reco=", "shared-weights", "no-shared-weights"),
    *("shared-lambda", "no-shared-lambda", "rss-norm", "pattern=", "valid-data=", "train-loss=", "train-algo="),
    *("adam=", "iPALM=", "load-memory", "lowmem", "trajectory="),
    # Supported by bart-tf only.
    "bart-version=",
    *_BART_ONLY,
)
# Python's `getopt` completes abbreviated names, BART does not. With two candidates for each, nothing is completed.
_TWINS = tuple(name.rstrip("=") + "\0" for name in _LONG)
_NAMES = {
    **{"t": "train", "e": "eval", "a": "apply", "g": "gpu", "l": "load", "b": "batch-size", "I": "iterations"},
    **{"n": "normalize", "N": "network", "T": "train-algo"},
}
_INTEGER = re.compile(r"\s*[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
Options = dict[str, list[str]]
# Value of a sub-option after it was read.
Value = str | float
_T = TypeVar("_T")


def integer(text: str) -> int:
    """Read an integer of at most 32 bits; BART keeps no more of most integers."""
    if not _INTEGER.fullmatch(text) or len(text) > 20 or not -(2**31) <= int(text) < 2**31:
        raise ValueError("an integer")
    return int(text)


def number(text: str) -> float:
    """Read a decimal number; BART also accepts hexadecimal numbers, infinity and NaN."""
    if not _NUMBER.fullmatch(text):
        raise ValueError("a decimal number")
    return float(text)


def file(text: str) -> str:
    """Read a path."""
    if not Path(text).name:  # empty, or a folder such as `.`
        raise ValueError("a file")
    return text


@dataclass(frozen=True)
class _Argument:
    """A sub-option with a value: the field of our settings, and the function that reads the value."""

    field: str
    read: Callable[[str], Value]


@dataclass(frozen=True)
class _Flag:
    """A sub-option without a value: the field of our settings, and the value that it sets."""

    field: str
    value: Value = True


_Table = dict[str, _Argument | _Flag]


def _values(read: Callable[[str], Value], **fields: str) -> _Table:
    """Return the sub-options of one type, given as fields with the names of their sub-options."""
    return {name: _Argument(field, read) for field, names in fields.items() for name in names.split()}


_KERNEL = _values(integer, filters="F filters", kernel_x="X filter-x", kernel_y="Y filter-y", kernel_z="Z filter-z")
_LOSSES = ("mse", "mad", "nmse", "mse-magnitude", "mad-magnitude", "nmse-magnitude", "ssim")
_SUB_OPTIONS: dict[str, _Table] = {
    "network": {kind: _Flag("kind", kind) for kind in ("varnet", "modl")},
    "varnet-block": _KERNEL | _values(integer, basis="W basis"),
    "resnet-block": _KERNEL
    | _values(integer, layers="L layers")
    | {"no-batch-normalization": _Flag("batch_norm", False), "no-bias": _Flag("bias", False)},
    "data-consistency": _values(number, fixed_lambda="fix-lambda", initial_lambda="lambda-init")
    | _values(integer, max_cg_iterations="max-cg-iter")
    | {name: _Flag("data_consistency", name) for name in ("gradient-step", "proximal-mapping")},
    "initial-reco": _values(number, fixed_lambda="fix-lambda", initial_lambda="lambda-init")
    | _values(integer, max_cg_iterations="max-cg-iter")
    | {"sense": _Flag("sense"), "tickhonov": _Flag("sense")},
    "train-algo": _values(
        number,
        learning_rate="r learning-rate",
        weight_decay="weight-decay",
        clip_norm="clip-norm",
        clip_value="clip-value",
        final_learning_rate="learning-rate-min",
        batch_norm_momentum="batchnorm-momentum",
    )
    | _values(integer, epochs="e epochs", warmup_epochs="epochs-warmup", cosine_epochs="cosine-annealing-mod")
    | _values(integer, dump_epochs="dump-mod")
    | _values(file, history="export-history")
    | {name: _Flag("algorithm", name) for name in ("sgd", "adam", "ipalm")}
    | {"batchgen-same": _Flag("batches", "same")},
    "adam": _values(number, epsilon="epsilon", beta_1="beta1", beta_2="beta2")
    | _values(integer, reset_epochs="reset-momentum")
    | {name: _Flag("algorithm", "adam") for name in ("s", "adam")},
    "iPALM": _values(number, smallest="L-min", largest="L-max", reduce="L-reduce", increase="L-increase")
    | _values(number, alpha="alpha", beta="beta")
    | {name: _Flag("algorithm", "ipalm") for name in ("s", "ipalm")}
    | {"convex": _Flag("convex"), "non-trivial-step-size": _Flag("adapted")}
    | {"no-momentum-reduction": _Flag("reduce_momentum", False)},
    "train-loss": _values(number, **{name: name for name in _LOSSES}),
    "valid-data": _values(
        file, kspace="k kspace", coils="c coil", pattern="p pattern", reference="r ref", trajectory="t trajectory"
    ),
}


def split_arguments(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Return all values of each option by its long name, and the files.

    Raises:
        InputError: An option is unknown or not supported, lacks its value or has one that it does not take, or excludes
            another option.
    """
    try:
        pairs, files = getopt.getopt(list(arguments), _SHORT, [*_LONG, *_TWINS])
    except getopt.GetoptError as error:
        raise InputError(f"reconet: {error}") from None
    options: Options = {}
    for option, value in pairs:
        options.setdefault(_NAMES.get(option.lstrip("-"), option.lstrip("-")), []).append(value)
    for name in (name.rstrip("=") for name in _BART_ONLY):
        if name in options:
            raise InputError(f"reconet: --{name} is not supported by bart-tf")
    for name in ("weights", "lambda"):
        if len(options.get(f"shared-{name}", [])) + len(options.get(f"no-shared-{name}", [])) > 1:
            raise InputError(f"reconet: BART takes one of --shared-{name} and --no-shared-{name}, and takes it once")
    return options, files


def last_value(options: Options, name: str, read: Callable[[str], _T]) -> _T | None:
    """Return the last value of an option, or None if it is not given.

    Raises:
        InputError: A value has another type.
    """
    return [read_value(f"--{name}", read, text) for text in options[name]][-1] if name in options else None


def sub_options(options: Options, name: str) -> list[tuple[str, Value]]:
    """Read sub-options such as `a=1,b` from all occurrences of an option.

    Returns:
        Pairs of a field of our settings and its value, in the order of the command line.

    Raises:
        InputError: A sub-option is unknown or not supported, its value has another type, or a flag has a value.
    """
    table = _SUB_OPTIONS[name]
    pairs: list[tuple[str, Value]] = []
    for text in options.get(name, []):
        # BART accepts an empty list, and one comma at the end.
        for item in text.removesuffix(",").split(",") if text else []:
            key, equals, value = item.partition("=")
            sub_option = table.get(key)
            if sub_option is None:
                raise InputError(f"reconet: --{name}: '{key}' is not supported by bart-tf (known: {', '.join(table)})")
            if isinstance(sub_option, _Flag):
                if equals:
                    raise InputError(f"reconet: --{name}: {key} is a flag and takes no value, received '{value}'")
                pairs.append((sub_option.field, sub_option.value))
            else:
                pairs.append((sub_option.field, read_value(f"--{name}: {key}", sub_option.read, value)))
    return pairs


def read_value(name: str, read: Callable[[str], _T], text: str) -> _T:
    """Read a value.

    Raises:
        InputError: It has another type; the message has the name of what it is for.
    """
    try:
        return read(text)
    except ValueError as error:
        raise InputError(f"reconet: {name} needs {error}, received '{text}'") from None
