"""Read and write BART's weights files, whose arrays have positions but no names.

A named array is the transposed BART array without its z axis: BART's `[out, in, x, y, z, iteration]` becomes
`(iteration, y, x, in, out)`, the layout of a Keras convolution kernel, and `[channel, iteration]` becomes
`(iteration, channel)`. All arrays are complex64, even those with real values.

BART stores the last hidden layer first. Named arrays have the hidden layers in the order in which they are applied.
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

# Arrays with real weights; all others are complex.
REAL = ("lambda_init", "lambda", "rbf")


@dataclass(frozen=True)
class WeightArray:
    """One array of a weights file.

    Attributes:
        name: `lambda`, `lambda_init` (the separate lambda of a SENSE initialization), `conv`, ...
        bart_dims: Dimensions in the file.
        shape: Shape of the named array.
        hidden_layers: Whether axis 1 of the named array counts hidden layers.
    """

    name: str
    bart_dims: tuple[int, ...]
    shape: tuple[int, ...]
    hidden_layers: bool = False


def stored_names(network: Network) -> list[str]:
    """List the names of the arrays in a network's weights file, in BART's order."""
    return [array.name for array in layout(network)]


def layout(network: Network) -> list[WeightArray]:
    """List the arrays of a network's weights file in BART's order."""
    lambda_count = 1 if network.shared_lambda else network.iterations
    lambdas = [] if network.separate_initial_lambda() is None else [WeightArray("lambda_init", (1,), (1,))]
    lambdas += [] if network.fixed_lambda is not None else [WeightArray("lambda", (lambda_count,), (lambda_count,))]
    sets = 1 if network.shared_weights else network.iterations
    return lambdas + (_varnet(network, sets) if isinstance(network, VarNetSettings) else _modl(network, sets))


def _varnet(network: VarNetSettings, sets: int) -> list[WeightArray]:
    filters, kx, ky, basis = network.filters, network.kernel_x, network.kernel_y, network.basis
    return [
        WeightArray("conv", (filters, 1, kx, ky, 1, sets), (sets, ky, kx, 1, filters)),
        WeightArray("rbf", (filters, basis, sets), (sets, basis, filters)),
    ]


def _modl(network: ModlSettings, sets: int) -> list[WeightArray]:
    filters, kx, ky = network.filters, network.kernel_x, network.kernel_y
    hidden, iterations = network.layers - 2, network.iterations
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
            WeightArray("gamma", (1, 1, 1, 1, 1, iterations), (iterations,)),
            WeightArray("bn_0", (filters, 1, 1, 1, 1, 2, iterations), (iterations, 2, filters)),
            WeightArray("bn_i", (filters, 1, 1, 1, 1, 2, hidden, iterations), (iterations, hidden, 2, filters), True),
            WeightArray("bn_n", (1, 1, 1, 1, 1, 2, iterations), (iterations, 2, 1)),
        ]
    return arrays


def read(path: str | Path, network: Network) -> Weights:
    """Read a BART weights file.

    Raises:
        InputError: The file is damaged, does not fit the network, or has a value that is not finite. The message names
            the first such array.
    """
    stored, expected = multi_cfl.read(path), layout(network)
    for array, values in zip(expected, stored, strict=False):
        if values.shape != array.bart_dims:
            raise InputError(
                f"{path}: array '{array.name}' must have dimensions {array.bart_dims}, found {values.shape}"
            )
    if len(stored) != len(expected):
        raise InputError(f"{path}: {network.kind} has {len(expected)} arrays, the file {len(stored)}")
    weights: Weights = {}
    for array, values in zip(expected, stored, strict=True):
        if not np.isfinite(values).all():
            raise InputError(f"{path}: array '{array.name}' must be finite, found NaN or infinity")
        weights[array.name] = named(array, values)
    return weights


def named(array: WeightArray, stored: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return the named array of an array with BART's dimensions."""
    values = stored.transpose().reshape(array.shape)
    return values[:, ::-1] if array.hidden_layers else values


def write(path: str | Path, network: Network, weights: Weights) -> None:
    """Write a BART weights file.

    Args:
        path: Name of the file.
        network: The network.
        weights: The arrays of `layout(network)` by name.

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
    """Draw initial weights from the distributions of `reconet`, so that both engines can start from the same weights.

    VarNet: activations rise from -0.04 to 0.04, and filters are complex Gaussian with zero mean and unit norm.
    MoDL: convolutions are complex Gaussian with E|k|^2 = 2 / (out * in * x). Everything else is 0, including gamma and
    the statistics of batch norm, so that the untrained network is a conjugate gradient SENSE reconstruction.

    Args:
        network: The network.
        seed: Seed of the random numbers.
    """
    generator = np.random.default_rng(seed)
    weights = {array.name: np.zeros(array.shape, np.complex64) for array in layout(network)}
    if "lambda" in weights:
        weights["lambda"][:] = network.initial_lambda
    if "lambda_init" in weights:
        weights["lambda_init"][:] = network.separate_initial_lambda()
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
    """Draw weights that are nowhere 0, for comparisons: weights that start at 0 would hide differences."""
    weights = initial(network, seed)
    generator = np.random.default_rng([seed, 1])
    for name, values in weights.items():
        if name.startswith(("bias", "gamma", "bn")):
            values[:] = 0.3 * np.sqrt(2) * _complex_normal(generator, values.shape)
        if name.startswith("bn"):
            values[..., 1, :] = generator.uniform(0.5, 1.5, size=values[..., 1, :].shape)
    return weights


def truncate(weights: Weights, network: Network, iterations: int) -> tuple[Network, Weights]:
    """Return the network with only the first `iterations` unrolled iterations, and its weights."""
    shorter = network.model_copy(update={"iterations": iterations})
    return shorter, {array.name: weights[array.name][: array.shape[0]] for array in layout(shorter)}


def expand(weights: Weights, source: Network, target: Network) -> Weights:
    """Repeat the weights of a network with one iteration for all iterations of a network, as `reconet --load` does.

    Raises:
        InputError: The networks differ in more than the number of iterations, or `source` has several.
    """
    if source.iterations != 1 or source != target.model_copy(update={"iterations": 1}):
        raise InputError("only the weights of one iteration can be repeated, for the same network with more")
    return {array.name: np.broadcast_to(weights[array.name], array.shape).copy() for array in layout(target)}


def _complex_normal(generator: Generator, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Draw complex Gaussian numbers with E|z|^2 = 1."""
    real, imaginary = generator.normal(scale=np.sqrt(0.5), size=(2, *shape))
    return (real + 1j * imaginary).astype(np.complex64)
