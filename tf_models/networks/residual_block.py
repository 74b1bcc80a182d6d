"""The regularizer block of MoDL.

Features are `(batch, y, x, 2 * channels)`: first the real parts of all channels, then the imaginary parts.
"""

from __future__ import annotations

from functools import partial

import keras
from keras import ops

from bart_bridge.reconet.network_settings import ModlSettings
from tf_models.backend.complex_arrays import complex_multiply, join_maps, split_maps
from tf_models.backend.ops import Tensor, recomputed, value_of
from tf_models.backend.precision import cast_if, single_precision, to_single_precision
from tf_models.backend.replicas import replica_count
from tf_models.kernels.normalization import batch_statistics, normalize, values_per_channel
from tf_models.kernels.normalized_conv import normalized_conv
from tf_models.kernels.same_conv import same_conv
from tf_models.networks.batch_norm import BatchNorm


class ResidualBlock(keras.layers.Layer):
    """MoDL's regularizer z = x + N(x) with a network N of complex convolutions.

    ```
    h = crelu(BN(conv_0 x) + bias_0)
    h = crelu(BN(conv_i h) + bias_i)        for each hidden layer
    N(x) = gamma BN(conv_n h) + bias_n
    ```

    As in BART, convolutions pad with zeros, `crelu` is a ReLU of the real and of the imaginary part, and there is one
    complex gamma for each iteration. BN is batch normalization, see `BatchNorm`; biases and BN can be left out.

    The layer holds the weights of all iterations and is called with the number of one: `layer(image, iteration=0)`.

    Args:
        network: Sizes and options of the network.
        precision: `bfloat16` or `float16` for features and convolutions. Defaults to None, the layer's precision.
        **kwargs: As of `keras.layers.Layer`.

    Attributes:
        arrays: The variables by their names. The first axis has an entry for each iteration, or one that all share.
        norms: The batch norm of each convolution; empty without batch norm.

    References:
        Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356, figure 1.
    """

    def __init__(self, network: ModlSettings, precision: str | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.network, self.precision = network, precision
        filters, hidden, iterations = network.filters, network.layers - 2, network.iterations
        sets = 1 if network.shared_weights else iterations
        pixels = (network.kernel_y, network.kernel_x)
        shapes = {
            "conv_0": (sets, *pixels, 1, filters, 2),
            "conv_i": (sets, hidden, *pixels, filters, filters, 2),
            "conv_n": (sets, *pixels, filters, 1, 2),
        }
        if network.bias:
            shapes |= {"bias_0": (sets, filters, 2), "bias_i": (sets, hidden, filters, 2), "bias_n": (sets, 1, 2)}
        if network.batch_norm:
            shapes |= {"gamma": (iterations, 2)}
        self.arrays = {
            name: self.add_weight(name=name, shape=shape, initializer="zeros") for name, shape in shapes.items()
        }
        self.norms: list[BatchNorm] = []
        if network.batch_norm:
            channels = [filters] * (network.layers - 1) + [1]
            self.norms = [
                BatchNorm(count, iterations, name=f"bn_{layer}", dtype=self.dtype_policy)
                for layer, count in enumerate(channels)
            ]
        self.built = True

    def arrays_of(self, iteration: int) -> list[Tensor]:
        """Return the arrays of an iteration, in the order of `arrays`, without their first axis."""
        shared = self.network.shared_weights
        return [value_of(array)[0 if shared and name != "gamma" else iteration] for name, array in self.arrays.items()]

    def compute(
        self, image: Tensor, *arrays: Tensor, statistics: list[list[Tensor]] | None = None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Compute z with given weights, without side effects.

        Args:
            image: `(batch, y, x, 2 * maps)`.
            *arrays: Weights of one iteration, from `arrays_of`.
            statistics: Mean and variance of each batch norm. Defaults to None, those of the batch.

        Returns:
            z, `(batch, y, x, 2 * maps)`, and the statistics that were used.
        """
        used: list[list[Tensor]] = []
        first, *others = split_maps(image)
        features = first
        for stage in range(self.network.layers + 1):
            compute = recomputed(partial(self.stage, stage, used[-1] if used else None, statistics is None))
            features = compute(features, *arrays)
            if self.network.batch_norm and stage < self.network.layers:
                used.append(batch_statistics(features) if statistics is None else statistics[stage])
        return join_maps([first + features, *others]), used

    def stage(
        self, stage: int, statistics: list[Tensor] | None, of_batch: bool, features: Tensor, *arrays: Tensor
    ) -> Tensor:
        """Compute one stage: normalization, bias and activation of the previous convolution, then the next one.

        Args:
            stage: Number of the convolution that the stage ends with, from 0. The stage after the last one has no
                convolution and ends with N(x).
            statistics: Mean and variance of the features; None without batch norm, and in stage 0.
            of_batch: Whether they are the statistics of the features themselves, see `normalize`.
            features: Result of the previous convolution, `(batch, y, x, 2 * channels)`; in stage 0, the image.
            *arrays: Weights of one iteration, from `arrays_of`.
        """
        named, last = dict(zip(self.arrays, arrays, strict=True)), self.network.layers - 1
        bias = largest = None
        if stage > 0 and self.network.bias:
            bias = _real_bias(_layer_weights("bias", stage - 1, last, named))
        if stage == 0:
            features = cast_if(features, self.precision)
        elif statistics is not None and stage <= last and keras.backend.backend() == "torch":
            kernel = cast_if(_real_kernel(_layer_weights("conv", stage, last, named)), self.precision)
            return normalized_conv(features, statistics, bias, kernel, of_batch)
        elif statistics is not None:
            (mean, variance), inner = statistics, stage <= last
            features = normalize(features, mean, variance, bias if inner else None, inner, of_batch)
            largest = _largest_normalized(features, bias) if of_batch and inner else None
        elif stage <= last:
            features = ops.relu(features if bias is None else features + ops.cast(bias, features.dtype))
        if stage <= last:
            kernel = cast_if(_real_kernel(_layer_weights("conv", stage, last, named)), self.precision)
            return same_conv(features, kernel, largest)
        features = to_single_precision(features)
        if statistics is not None:
            features = complex_multiply(named["gamma"], features)
        return features if bias is None else features + bias

    def update(self, iteration: int, statistics: list[list[Tensor]], image: Tensor) -> None:
        """Update the running statistics of an iteration with those of a batch of images."""
        for norm, (mean, variance) in zip(self.norms, statistics, strict=True):
            norm.update(iteration, mean, variance, _values_per_channel(image))

    def statistics_of(self, iteration: int) -> list[list[Tensor]]:
        """Return the running statistics of an iteration, mean and variance of each batch norm."""
        return [norm.statistics_of(iteration) for norm in self.norms]

    def call(self, image: Tensor, iteration: int, training: bool = False) -> Tensor:
        """Return z for images `(batch, y, x, 2 * maps)`, same shape."""
        statistics = None if training else self.statistics_of(iteration)
        result, used = self.compute(image, *self.arrays_of(iteration), statistics=statistics)
        if training and self.norms:
            self.update(iteration, used, image)
        return result


def _layer_weights(name: str, layer: int, last: int, arrays: dict[str, Tensor]) -> Tensor:
    """Return the weights `conv` or `bias` of one layer."""
    if layer == 0:
        return arrays[f"{name}_0"]
    return arrays[f"{name}_n"] if layer == last else arrays[f"{name}_i"][layer - 1]


def _values_per_channel(features: Tensor) -> Tensor | float:
    """Return the number of values per channel in the whole batch."""
    return values_per_channel(features) * float(replica_count())


def _largest_normalized(features: Tensor, bias: Tensor | None) -> Tensor:
    """Return a bound of features that were normalized with their own statistics: of n numbers, sqrt(n)."""
    largest = ops.sqrt(ops.cast(_values_per_channel(features), single_precision(features)))
    return largest if bias is None else largest + ops.cast(ops.max(ops.abs(bias)), largest.dtype)


def _real_kernel(kernel: Tensor) -> Tensor:
    """Turn a complex kernel `(y, x, in, out, 2)` into a real one `(y, x, 2 * in, 2 * out)`."""
    if keras.backend.backend() == "torch":
        from tf_models.kernels import torch_conv

        return torch_conv.real_kernel(kernel)
    real, imaginary = kernel[..., 0], kernel[..., 1]
    from_real = ops.concatenate([real, imaginary], axis=-1)
    from_imaginary = ops.concatenate([-imaginary, real], axis=-1)
    return ops.concatenate([from_real, from_imaginary], axis=-2)


def _real_bias(bias: Tensor) -> Tensor:
    """Turn complex biases `(channel, 2)` into real ones `(2 * channel,)`."""
    return ops.reshape(ops.transpose(bias), (-1,))
