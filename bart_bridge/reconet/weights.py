"""Named weights to and from BART's weight files, which know positions only.

A named array is the transposed BART array without its z axis: BART's `[out, in, x, y, z, iteration]` becomes
`(iteration, y, x, in, out)`, the layout of a Keras convolution kernel, and `[channel, iteration]` becomes
`(iteration, channel)`. All values are complex64, also the real ones.

BART stores hidden layers last one first; named arrays have them in the order in which they are applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files import multi_cfl
from bart_bridge.reconet.network_settings import ModlSettings, Network, VarNetSettings

Weights = dict[str, NDArray[np.complex64]]

# Arrays whose weights are real; the others are complex.
REAL = ("lambda_init", "lambda", "rbf")


@dataclass(frozen=True)
class WeightArray:
    """One array of a weights file.

    Attributes:
        name: `lambda`, `lambda_init` of a SENSE initialization with a trained lambda of its own, `conv`, ...
        bart_dims: Its dimensions in the file.
        shape: Its shape as a named array.
        hidden_layers: Whether axis 1 of the named array runs over hidden layers.
    """

    name: str
    bart_dims: tuple[int, ...]
    shape: tuple[int, ...]
    hidden_layers: bool = False


def layout(network: Network) -> list[WeightArray]:
    """List the arrays of a network's weights file in BART's order."""
    iterations = network.iterations
    lambdas = 1 if network.shared_lambda else iterations
    trained = [] if network.start_of_own_lambda() is None else [WeightArray("lambda_init", (1,), (1,))]
    trained += [] if network.fixed_lambda is not None else [WeightArray("lambda", (lambdas,), (lambdas,))]
    sets = 1 if network.shared_weights else iterations
    arrays = _varnet(network, sets) if isinstance(network, VarNetSettings) else _modl(network, sets)
    return trained + arrays


def _varnet(network: VarNetSettings, sets: int) -> list[WeightArray]:
    filters, kx, ky, basis = network.filters, network.kernel_x, network.kernel_y, network.basis
    return [
        WeightArray("conv", (filters, 1, kx, ky, 1, sets), (sets, ky, kx, 1, filters)),
        WeightArray("rbf", (filters, basis, sets), (sets, basis, filters)),
    ]


def _modl(network: ModlSettings, sets: int) -> list[WeightArray]:
    filters, kx, ky, hidden, t = (
        network.filters,
        network.kernel_x,
        network.kernel_y,
        network.layers - 2,
        network.iterations,
    )
    arrays = [
        WeightArray("conv_0", (filters, 1, kx, ky, 1, sets), (sets, ky, kx, 1, filters)),
        WeightArray(
            "conv_i", (filters, filters, kx, ky, 1, hidden, sets), (sets, hidden, ky, kx, filters, filters), True
        ),
        WeightArray("conv_n", (1, filters, kx, ky, 1, sets), (sets, ky, kx, filters, 1)),
    ]
    if network.bias:
        arrays += [
            WeightArray("bias_0", (filters, sets), (sets, filters)),
            WeightArray("bias_i", (filters, hidden, sets), (sets, hidden, filters), True),
            WeightArray("bias_n", (1, sets), (sets, 1)),
        ]
    if network.batch_norm:
        # The axis of 2 holds mean and variance.
        arrays += [
            WeightArray("gamma", (1, 1, 1, 1, 1, t), (t,)),
            WeightArray("bn_0", (filters, 1, 1, 1, 1, 2, t), (t, 2, filters)),
            WeightArray("bn_i", (filters, 1, 1, 1, 1, 2, hidden, t), (t, hidden, 2, filters), True),
            WeightArray("bn_n", (1, 1, 1, 1, 1, 2, t), (t, 2, 1)),
        ]
    return arrays


def read(path: str | Path, network: Network) -> Weights:
    """Read a BART weights file.

    Raises:
        InputError: The file is damaged, does not belong to the network, or has a value that is not finite; the first
            array of that kind is named.
    """
    stored, expected = multi_cfl.read(path), layout(network)
    for array, found in zip(expected, stored, strict=False):
        if found.shape != array.bart_dims:
            raise InputError(
                f"{path}: array '{array.name}' must have dimensions {array.bart_dims}, found {found.shape}"
            )
    if len(stored) != len(expected):
        raise InputError(f"{path}: {network.kind} has {len(expected)} arrays, the file {len(stored)}")
    weights: Weights = {}
    for array, values in zip(expected, stored, strict=True):
        if not np.isfinite(values).all():
            raise InputError(f"{path}: array '{array.name}' must be finite, found NaN or infinity")
        named = values.transpose().reshape(array.shape)
        weights[array.name] = named[:, ::-1] if array.hidden_layers else named
    return weights


def write(path: str | Path, network: Network, weights: Weights) -> None:
    """Write a BART weights file.

    Args:
        path: Name of the file.
        network: The network whose weights these are.
        weights: Every array of `layout(network)` by its name, in its shape.

    Raises:
        InputError: An array is missing, unknown or has another shape.
    """
    expected = layout(network)
    names = [array.name for array in expected]
    if set(names) != set(weights):
        raise InputError(f"{network.kind} needs the arrays {', '.join(names)}, received {', '.join(weights)}")
    stored = []
    for array in expected:
        values = weights[array.name]
        if values.shape != array.shape:
            raise InputError(f"array '{array.name}' must have shape {array.shape}, received {values.shape}")
        ordered = values[:, ::-1] if array.hidden_layers else values
        stored.append(ordered.reshape(array.bart_dims[::-1]).transpose())
    multi_cfl.write(path, stored)


def initial(network: Network, seed: int) -> Weights:
    """Draw initial weights with the distributions of `reconet`, so that both engines can start from the same ones.

    VarNet: activations rise from -0.04 to 0.04, filters are complex Gaussian with zero mean and unit norm.
    MoDL: convolutions are complex Gaussian with E|k|^2 = 2 / (out * in * x); everything else, also batch norm's factor
    gamma and both of its statistics, is 0, so that the untrained network is a conjugate gradient SENSE reconstruction.
    """
    generator = np.random.default_rng(seed)
    weights = {array.name: np.zeros(array.shape, np.complex64) for array in layout(network)}
    if "lambda" in weights:
        weights["lambda"][:] = network.initial_lambda
    if "lambda_init" in weights:
        weights["lambda_init"][:] = network.start_of_own_lambda()
    for array in layout(network):
        if array.name.startswith("conv"):
            weights[array.name][:] = _complex_normal(generator, array.shape) * np.sqrt(2 / prod(array.bart_dims[:3]))
    if isinstance(network, VarNetSettings):
        weights["rbf"] += np.linspace(-0.04, 0.04, network.basis)[:, None]
        conv = weights["conv"]
        conv -= conv.mean(axis=(1, 2), keepdims=True)
        conv /= np.sqrt(np.sum(np.abs(conv) ** 2, axis=(1, 2), keepdims=True))
    return weights


def random(network: Network, seed: int) -> Weights:
    """Draw weights of which none is 0, also where training starts from 0: for comparisons, which zeros would blind."""
    weights = initial(network, seed)
    generator = np.random.default_rng([seed, 1])
    for name, values in weights.items():
        if name.startswith(("bias", "gamma", "bn")):
            values[:] = 0.3 * np.sqrt(2) * _complex_normal(generator, values.shape)
        if name.startswith("bn"):
            values[..., 1, :] = generator.uniform(0.5, 1.5, size=values[..., 1, :].shape)
    return weights


def truncate(weights: Weights, network: Network, iterations: int) -> tuple[Network, Weights]:
    """Return the network that stops after so many unrolled iterations, and its weights."""
    shorter = network.model_copy(update={"iterations": iterations})
    return shorter, {array.name: weights[array.name][: array.shape[0]] for array in layout(shorter)}


def expand(weights: Weights, source: Network, target: Network) -> Weights:
    """Repeat weights of a network with one iteration for all iterations of another, as `reconet --load` does.

    Raises:
        InputError: The networks differ in more than that.
    """
    if source.iterations != 1 or source != target.model_copy(update={"iterations": 1}):
        raise InputError("only weights of the same network with one iteration can be repeated for more")
    return {array.name: np.broadcast_to(weights[array.name], array.shape).copy() for array in layout(target)}


def _complex_normal(generator: Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Complex Gaussian numbers with E|z|^2 = 1."""
    real, imaginary = generator.normal(scale=np.sqrt(0.5), size=(2, *shape))
    return (real + 1j * imaginary).astype(np.complex64)
