"""Keras model files of our networks: checked before Keras reads them, written atomically."""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np
from keras import ops
from pydantic import BaseModel, ValidationError

from bart_bridge.errors import InputError, first_fault
from bart_bridge.files import atomic, cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, Network, VarNetSettings
from tf_models.networks.build import build
from tf_models.networks.modl import Modl
from tf_models.networks.modl_original import MoDLOriginal, ModlOriginalSettings
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.networks.varnet import VarNet

Model: TypeAlias = VarNet | Modl | MoDLOriginal

_SETTINGS: dict[str, type[BaseModel]] = {
    "VarNet": VarNetSettings,
    "Modl": ModlSettings,
    "MoDLOriginal": ModlOriginalSettings,
}
# What zipfile and json raise for a file of other content, whatever it is.
_DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, RuntimeError),
    *(zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, zlib.error),
)


def load(path: str | Path) -> Model:
    """Load one of our networks from a `.keras` file, for inference.

    Raises:
        InputError: The file is missing or damaged, its network is not `VarNet`, `Modl` or `MoDLOriginal`, or its
            weights do not belong to the network or are not finite.
    """
    path = Path(path)
    _check(path)
    try:
        model: Model = keras.saving.load_model(path, compile=False)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, OSError) as error:
        raise InputError(f"{path}: weights do not belong to the network ({_short(error)})") from None
    for variable in model.variables:
        if not np.isfinite(ops.convert_to_numpy(variable)).all():
            raise InputError(f"{path}: '{variable.path}' must be finite, found NaN or infinity")
    return model


def save(model: Model, path: str | Path) -> None:
    """Write a `.keras` file atomically: a reader finds the old one, the new one or none.

    Raises:
        InputError: The name does not end with `.keras`.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise InputError(f"{path}: the name of a Keras model must end with .keras")
    with atomic.new_file(path) as temporary:
        model.save(temporary)


def from_bart(path: Path, network: Network) -> UnrolledNetwork:
    """Build the Keras model of a BART weights file.

    Raises:
        InputError: The file is damaged or does not belong to the network, or an array that is real in the network has
            imaginary parts. The error names the first such array.
    """
    arrays = weights.read(path, network)
    model = build(network, arrays)
    for name, values in model.named_weights().items():
        if not np.array_equal(values, arrays[name]):
            raise InputError(f"{path}: array '{name}' has imaginary parts where {network.kind} has real numbers")
    return model


def to_bart(model: Model, path: Path) -> None:
    """Write the weights of a Keras model, and its statistics of batch norm, for `bart reconet`.

    Raises:
        InputError: BART does not have this network.
    """
    if isinstance(model, MoDLOriginal):
        raise InputError(
            "MoDLOriginal cannot become weights of BART, whose MoDL has complex filters and no scale in batch norm"
        )
    weights.write(path, model.network, model.named_weights())


def _check(path: Path) -> None:
    """Check a model file before Keras, which trusts it, reads it."""
    if path.suffix != ".keras" and cfl.exists(path):
        raise InputError(
            f"{path}: a .keras file is needed, these are BART's; bart-tf weights from-bart makes one of them"
        )
    if not path.is_file():
        raise InputError(f"{path}: {'a folder, not a Keras model' if path.is_dir() else 'no such file'}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise InputError(f"{path}: damaged Keras model ('{damaged}' has a wrong checksum)")
            config = json.loads(archive.read("config.json"))
            kind, settings = config["class_name"], config["config"].get("network")
    except _DAMAGED as error:
        raise _unreadable(path, error) from None
    if kind not in _SETTINGS:
        raise InputError(f"{path}: a network of bart-tf is needed ({', '.join(_SETTINGS)}), found '{kind}'")
    try:
        _SETTINGS[kind].model_validate(settings)
    except ValidationError as error:
        raise InputError(f"{path}: {kind}: {first_fault(error)}") from None


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    return InputError(f"{path}: not a Keras model, or a damaged one ({_short(error)})")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
