"""TensorFlow 1 checkpoints of the original MoDL and of the original VarNet.

A checkpoint has a prefix, such as `model-50`, and at least two files: `model-50.index` and
`model-50.data-00000-of-00001`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bart_bridge.errors import InputError, first_fault
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.weights import Weights
from tf_models.networks.build import build
from tf_models.networks.modl_original import MoDLOriginal, ModlOriginalSettings
from tf_models.networks.varnet import VarNet

Arrays: TypeAlias = dict[str, NDArray[np.inexact]]
Activation = Literal["tensorflow-icg", "optox"]

# The Gaussians of optox are normalised differently from those of TensorFlow-ICG, which BART has too.
ACTIVATION_SCALE: dict[Activation, float] = {"tensorflow-icg": 1.0, "optox": 0.4}
_VARNET = ("k1", "w1", "lambda")
_FILE = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")


def prefix(path: Path) -> Path:
    """Return the prefix of a checkpoint for its prefix or one of its files."""
    return path.with_name(_FILE.sub("", path.name))


def is_checkpoint(path: Path) -> bool:
    """Return whether a path is the prefix or a file of a checkpoint."""
    name = prefix(path)
    return name.with_name(f"{name.name}.index").is_file()


def read(path: Path) -> Arrays:
    """Read the variables of a network from a checkpoint, without those of its optimizer.

    Args:
        path: Prefix of the checkpoint, or one of its files.

    Returns:
        Variables by their names in the file.

    Raises:
        InputError: The checkpoint is missing, damaged or of another network, or a value is not finite.
    """
    import tensorflow as tf

    path = prefix(path)
    if not is_checkpoint(path):
        raise InputError(f"{path}: no TensorFlow checkpoint with this prefix{_checkpoints_beside(path)}")
    try:
        reader = tf.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
        # An optimizer keeps `Wts/Layer1/W/Adam` beside `Wts/Layer1/W`.
        names = [
            name
            for name in shapes
            if name in _VARNET or (name.startswith("Wts/") and name.rpartition("/")[0] not in shapes)
        ]
        arrays = {name: np.asarray(reader.get_tensor(name)) for name in sorted(names)}
    except (tf.errors.OpError, ValueError, RuntimeError, LookupError, MemoryError) as error:
        raise InputError(f"{path}: damaged checkpoint ({' '.join(str(error).split())[:200]})") from None
    if not arrays:
        raise InputError(
            f"{path}: neither variables of MoDL (Wts/...) nor of VarNet ({', '.join(_VARNET)}), "
            f"found {', '.join(sorted(shapes)[:5]) or 'none'}"
        )
    for name, values in arrays.items():
        if values.dtype.kind not in "fc":
            raise InputError(f"{path}: variable '{name}' must hold numbers, found {values.dtype}")
        if not np.isfinite(values).all():
            raise InputError(f"{path}: variable '{name}' must be finite, found NaN or infinity")
    return arrays


def is_varnet(arrays: Arrays) -> bool:
    """Return whether variables are VarNet's; the others are MoDL's."""
    return any(name in arrays for name in _VARNET)


def modl_settings(path: Path, arrays: Arrays, **settings: Any) -> ModlOriginalSettings:
    """Return the network of a checkpoint of MoDL, which does not store the number of its iterations.

    Args:
        path: Checkpoint, for messages.
        arrays: The variables.
        **settings: Fields of `ModlOriginalSettings` other than `layers` and `filters`, above all `iterations`.

    Raises:
        InputError: A variable is missing, unknown or has another shape; the first one is named.
    """
    first = arrays.get("Wts/Layer1/W")
    layers = sum(name.endswith("/W") for name in arrays)
    if first is None or first.ndim != 4:
        raise InputError(
            f"{path}: variable 'Wts/Layer1/W' (3, 3, 2, filters) "
            + ("is missing" if first is None else f"is needed, found {first.shape}")
        )
    try:
        network = ModlOriginalSettings(layers=layers, filters=first.shape[-1], **settings)
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None
    _check(path, arrays, _modl_shapes(network))
    return network


def modl(path: Path, arrays: Arrays, **settings: Any) -> MoDLOriginal:
    """Build MoDL from the variables of a checkpoint.

    The authors' first image axis is BART's x and our last one, so the kernels are transposed.

    Args:
        path: Checkpoint, for messages.
        arrays: The variables.
        **settings: See `modl_settings`.

    Raises:
        InputError: See `modl_settings`.
    """
    model = MoDLOriginal(modl_settings(path, arrays, **settings))
    for name, variable in model.named_variables().items():
        variable.assign(arrays[name].swapaxes(0, 1) if name.endswith("/W") else arrays[name])
    return model


def varnet_settings(path: Path, arrays: Arrays) -> VarNetSettings:
    """Return the network of a checkpoint of VarNet.

    Raises:
        InputError: A variable is missing or has another shape; the first one is named.
    """
    filters, basis = (arrays[name].shape if name in arrays else () for name in ("k1", "w1"))
    if len(filters) == 5 and len(basis) == 3:
        iterations, kernel_x, kernel_y, _, count = filters
        shapes = {
            "k1": (iterations, kernel_x, kernel_y, 1, count),
            "w1": (iterations, count, basis[2]),
            "lambda": (iterations, 1),
        }
        _check(path, arrays, shapes)
        try:
            return VarNetSettings(
                iterations=iterations, filters=count, kernel_x=kernel_x, kernel_y=kernel_y, basis=basis[2]
            )
        except ValidationError as error:
            raise InputError(f"{path}: {first_fault(error)}") from None
    for name, shape in {"k1": "(T, x, y, 1, filters)", "w1": "(T, filters, basis)"}.items():
        if name not in arrays:
            raise InputError(f"{path}: variable '{name}' {shape} is missing")
    raise InputError(
        f"{path}: 'k1' (T, x, y, 1, filters) and 'w1' (T, filters, basis) are needed, found {filters} and {basis}"
    )


def varnet(path: Path, arrays: Arrays, activation: Activation) -> VarNet:
    """Build VarNet (Hammernik et al. 2018, doi 10.1002/mrm.26977) from the variables of a checkpoint.

    ```
    conv = k1,   rbf = s w1,   lambda = lambda;   s = 1 for tensorflow-icg, s = 0.4 for optox
    ```

    Args:
        path: Checkpoint, for messages.
        arrays: The variables `k1 (T, x, y, 1, filters)` complex, `w1 (T, filters, basis)` and `lambda (T, 1)`.
        activation: The TensorFlow operator that computed the activations in training.

    Raises:
        InputError: See `varnet_settings`.
    """
    network = varnet_settings(path, arrays)
    model: VarNet = build(network, varnet_weights(arrays, activation))
    return model


def varnet_weights(arrays: Arrays, activation: Activation) -> Weights:
    """Return VarNet's variables as complex64 weights of `bart_bridge.reconet.weights`; see `varnet`."""
    return {
        "lambda": arrays["lambda"][:, 0].astype(np.complex64),
        "conv": arrays["k1"].transpose(0, 2, 1, 3, 4).astype(np.complex64),
        "rbf": (ACTIVATION_SCALE[activation] * arrays["w1"].transpose(0, 2, 1)).astype(np.complex64),
    }


def _modl_shapes(network: ModlOriginalSettings) -> dict[str, tuple[int, ...]]:
    channels = [2, *[network.filters] * (network.layers - 1), 2]
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (channels_in, channels_out) in enumerate(pairwise(channels), start=1):
        shapes[f"Wts/Layer{number}/W"] = (3, 3, channels_in, channels_out)
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            shapes[f"Wts/Layer{number}/BN/{name}"] = (channels_out,)
    return shapes | {"Wts/lam1": ()}


def _check(path: Path, arrays: Arrays, expected: dict[str, tuple[int, ...]]) -> None:
    for name, shape in expected.items():
        if name not in arrays:
            raise InputError(f"{path}: variable '{name}' {shape} is missing")
        if arrays[name].shape != shape:
            raise InputError(f"{path}: variable '{name}' must have shape {shape}, found {arrays[name].shape}")
        kind = "complex" if name == "k1" else "float"
        if not arrays[name].dtype.name.startswith(kind):
            raise InputError(f"{path}: variable '{name}' must be {kind}, found {arrays[name].dtype}")
    unknown = sorted(arrays.keys() - expected.keys())
    if unknown:
        raise InputError(f"{path}: variable '{unknown[0]}' does not belong to the network")


def _checkpoints_beside(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    names = sorted(str(file.with_suffix("")) for file in folder.glob("*.index"))
    return f" (found: {', '.join(names)})" if names else ""
