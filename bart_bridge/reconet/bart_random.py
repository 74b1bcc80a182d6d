"""The weights that `bart reconet --train` starts from without `--load`, bit for bit.

References:
    BART, versions 0.8.00 and 1.0.00 (commit 697e84f2 changed the generator): `src/num/rand.c` and `src/num/philox.inc`,
    the generators; `src/nn/init.c` and `src/networks/cnn.c`, the distributions; `src/iter/proj.c`, the projection of
    VarNet's filters.
    J. K. Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC11 (2011), doi 10.1145/2063384.2063405.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import Network, VarNetSettings
from bart_bridge.reconet.weights import Weights
from bart_bridge.tools import versions

Words = NDArray[np.uint64]
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Generator(Protocol):
    """One of BART's generators of random numbers."""

    def normal(self, count: int) -> NDArray[np.complex64]:
        """Draw complex Gaussian numbers with E|z|^2 = 2."""


class RandR:
    """glibc's `rand_r`, BART's generator up to version 0.9.

    ```
    state <- 1103515245 state + 12345 mod 2^32
    ```

    A number consists of the upper 11, 10 and 10 bits below the topmost bit of three successive states.

    Args:
        seed: The first state. Defaults to that of BART.
    """

    def __init__(self, seed: int = 123) -> None:
        self._state = np.uint32(seed)

    def normal(self, count: int) -> NDArray[np.complex64]:
        """Draw complex Gaussian numbers with E|z|^2 = 2 by the polar method."""
        accepted = np.empty((0, 2))
        while len(accepted) < count:
            pairs = 2 * self._uniform(2 * (count - len(accepted))).reshape(-1, 2) - 1
            accepted = np.concatenate([accepted, pairs[_square(pairs) <= 1]])
        return _polar(accepted)

    def _uniform(self, count: int) -> NDArray[np.float64]:
        """Draw numbers in [0, 1]."""
        powers = np.multiply.accumulate(np.full(3 * count, 1103515245, np.uint32), dtype=np.uint32)
        sums = np.add.accumulate(np.concatenate([np.ones(1, np.uint32), powers[:-1]]), dtype=np.uint32)
        states = np.asarray(powers * self._state + sums * np.uint32(12345), np.uint32)
        self._state = states[-1]
        high, middle, low = (states >> np.uint32(16)).reshape(-1, 3).T
        numbers = (((high & 2047) << 10) ^ (middle & 1023)) << 10 ^ (low & 1023)
        return numbers / (2**31 - 1)


class Philox:
    """Philox-4x32-10, BART's generator since version 1.0.

    Number i of draw n has a generator of its own, whose key is made of the counters n and i.

    Args:
        seed: Seed of the key. Defaults to that of `reconet`.
    """

    def __init__(self, seed: int = 0) -> None:
        self._key = philox(seed, 0x210B521AD19CDD42, 0x5DF75C80F3A19DD3)[0]
        self._draws = 0

    def normal(self, count: int) -> NDArray[np.complex64]:
        """Draw complex Gaussian numbers with E|z|^2 = 2 by the polar method."""
        keys = philox(self._key, self._draws, np.arange(count))[0]
        self._draws += 1
        pairs, missing, tries = np.empty((count, 2)), np.arange(count), 0
        while len(missing):
            words = np.stack(philox(keys[missing], tries, 0), axis=-1)
            # A double has 53 bits.
            pairs[missing] = 2 * ((words >> np.uint64(11)) * 2.0**-53) - 1
            missing = missing[_square(pairs[missing]) > 1]
            tries += 1
        return _polar(pairs)


def philox(key: ArrayLike, counter_low: ArrayLike, counter_high: ArrayLike) -> tuple[Words, Words]:
    """Compute Philox-4x32-10 of keys and counters of 64 bits; the arguments are broadcast.

    Returns:
        Two words of 64 random bits each.
    """
    key, low, high = (np.asarray(word, np.uint64) for word in (key, counter_low, counter_high))
    key_0, key_1 = key & _LOW, key >> _HALF
    word_0, word_1, word_2, word_3 = low & _LOW, low >> _HALF, high & _LOW, high >> _HALF
    for _ in range(10):
        product_0, product_2 = np.uint64(0xD2511F53) * word_0, np.uint64(0xCD9E8D57) * word_2
        word_0, word_1 = (product_2 >> _HALF) ^ word_1 ^ key_0, product_2 & _LOW
        word_2, word_3 = (product_0 >> _HALF) ^ word_3 ^ key_1, product_0 & _LOW
        key_0, key_1 = (key_0 + np.uint64(0x9E3779B9)) & _LOW, (key_1 + np.uint64(0xBB67AE85)) & _LOW
    return word_0 << _HALF | word_1, word_2 << _HALF | word_3


def _square(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    return pairs[:, 0] * pairs[:, 0] + pairs[:, 1] * pairs[:, 1]


def _polar(pairs: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Turn pairs `(number, 2)`, uniform in the unit circle, into Gaussian numbers (polar method of Marsaglia)."""
    square = _square(pairs)
    real, imaginary = (pairs * np.sqrt(-2 * np.log(square) / square)[:, None]).T
    return (real + 1j * imaginary).astype(np.complex64)


def initial(network: Network, version: versions.Version) -> Weights:
    """Draw the weights that a version of BART starts from; each call gives the same ones.

    The distributions are those of `weights.initial`. VarNet's filters are what BART's first projection makes of them.

    Args:
        network: The network.
        version: The version of BART.
    """
    generator: Generator = Philox() if versions.PHILOX.is_in(version) else RandR()
    result = weights.initial(network, seed=0)
    for array in weights.layout(network):
        if array.name.startswith("conv"):
            # BART draws each layer of each iteration by itself.
            size = prod(array.bart_dims[:4])
            draws = [
                _filters(network, generator.normal(size).reshape(array.bart_dims[:4], order="F"))
                for _ in range(prod(array.bart_dims[4:]))
            ]
            stored = np.stack(draws, axis=-1).reshape(array.bart_dims, order="F")
            result[array.name] = weights.named(array, stored)
        if array.name == "rbf":
            result["rbf"][:] = _ramp(array.bart_dims[1])[:, None]
    return result


def _filters(network: Network, normal: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return filters `[out, in, x, y]` made of Gaussian numbers with E|z|^2 = 2, rounded as BART rounds."""
    normal = normal * np.float32(sqrt(0.5))
    if not isinstance(network, VarNetSettings):
        return normal * np.float32(sqrt(2 / prod(normal.shape[:3])))
    count = prod(normal.shape[1:])
    taps = normal.reshape(-1, count, order="F") * (np.float32(1) / np.sqrt(np.float32(count)))
    # `cumsum` adds one by one, as BART does; `sum` adds in pairs.
    taps = taps - (np.cumsum(taps, axis=1)[:, -1:] * np.float32(1 / count))
    squares = taps.real * taps.real + taps.imag * taps.imag
    norm = np.sqrt(np.cumsum(squares, axis=1)[:, -1:])
    projected: NDArray[np.complex64] = taps.real / norm + 1j * (taps.imag / norm)
    return projected.reshape(normal.shape, order="F")


def _ramp(count: int) -> NDArray[np.float32]:
    """Return the activations of VarNet, which rise from -0.04 to 0.04."""
    least, greatest = -np.float32(0.04), np.float32(0.04)
    steps = np.arange(count, dtype=np.float32) * (greatest - least)
    return (float(least) + steps / np.float64(count - 1)).astype(np.float32)
