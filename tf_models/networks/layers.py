"""The blocks of one unrolled iteration. Each layer holds the weights of all iterations and is called with one's number.

Weights and images have a trailing axis of 2 for complex numbers; images of several maps have one of 2 * maps, and as in
BART only the first map is regularized. Inside the MoDL block, features are `(batch, y, x,
2 * channels)`: first the real parts of all channels, then the imaginary parts.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from bart_bridge.reconet.network_settings import ModlSettings, Network, VarNetSettings
from tf_models.backend.ops import Tensor, narrow, value_of, widen
from tf_models.backend.projections import project_zero_mean_unit_sphere
from tf_models.kernels.field_of_experts import field_of_experts
from tf_models.kernels.normalization import batch_statistics, normalize
from tf_models.kernels.same_conv import same_conv
from tf_models.operators.sense import SenseNormal, complex_multiply, each_map, of_all_maps, solve_regularized
from tf_models.training.data_parallel import count


@keras.saving.register_keras_serializable("bart_tf")
class ZeroMeanUnitNorm(keras.constraints.Constraint):
    """Project each complex filter `(iteration, y, x, in, out, 2)` to zero mean and unit norm, as BART does.

    The projection takes the complex mean over the pixels away, then divides by the complex l2 norm.
    """

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected filters."""
        return project_zero_mean_unit_sphere(w)


class DataConsistency(keras.layers.Layer):
    """Bring an image back to the measured data.

    `gradient-step`:     x = r - lambda_t (A^H A x_0 - A^H y), r the regularized image, x_0 the image before it
    `proximal-mapping`:  x = (A^H A + lambda_t)^-1 (A^H y + lambda_t r), by conjugate gradients
    """

    def __init__(self, network: Network, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network
        self.lambdas = None
        if network.fixed_lambda is None:
            shape = (1 if network.shared_lambda else network.iterations,)
            self.lambdas = self.add_weight(
                name="lambda", shape=shape, initializer="zeros", constraint=keras.constraints.NonNeg()
            )
        self.built = True

    def weight(self, iteration: int) -> Tensor:
        """Return lambda of an iteration, a scalar."""
        if self.lambdas is None:
            return ops.convert_to_tensor(self.network.fixed_lambda, self.compute_dtype)
        return self.lambdas[0 if self.network.shared_lambda else iteration]

    def call(self, image: Tensor, regularized: Tensor, adjoint: Tensor, normal: SenseNormal, iteration: int) -> Tensor:
        """Return the image after this step; all images are `(batch, y, x, 2 * maps)`."""
        return self.compute(image, regularized, adjoint, normal, self.weight(iteration))

    def compute(
        self, image: Tensor, regularized: Tensor, adjoint: Tensor, normal: SenseNormal, weight: Tensor
    ) -> Tensor:
        """Return the image after this step with a given lambda, a scalar."""
        if self.network.data_consistency == "gradient-step":
            return regularized - weight * (normal(image) - adjoint)
        right = adjoint + weight * regularized
        network = self.network
        return solve_regularized(normal, right, weight, network.max_cg_iterations, network.cg_derivative)

    def gradient(
        self,
        image: Tensor,
        regularized: Tensor,
        result: Tensor,
        upstream: Tensor,
        adjoint: Tensor,
        normal: SenseNormal,
        weight: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of `compute` by image, regularized image and lambda, with what it returned at hand."""
        if self.network.data_consistency == "gradient-step":
            of_weight = -ops.sum((normal(image) - adjoint) * upstream)
            return -weight * normal(upstream), upstream, of_weight
        solved = solve_regularized(normal, upstream, weight, self.network.max_cg_iterations)
        return ops.zeros_like(image), weight * solved, ops.sum((regularized - result) * solved)


class VariationalBlock(keras.layers.Layer):
    """VarNet's regularizer: u - R(u), R the gradient of a field of experts.

    R(u) = 1/F sum_f K_f^T phi_f(K_f u) with real-valued z_f = Re(k_f) * Re(u) + Im(k_f) * Im(u) and
    phi_f(z) = sum_j w_fj exp(-(z - mu_j)^2 / (2 sigma^2)), mu_j equally spaced on [-1, 1], sigma = 2 / W.

    Hammernik et al. (2018), doi 10.1002/mrm.26977, equations 6 and 7. The image is continued by mirroring, edge pixel
    included. BART's sigma is 2 / W and its sum is divided by the number of filters F.
    """

    def __init__(self, network: VarNetSettings, precision: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network, self.precision = network, precision
        sets = 1 if network.shared_weights else network.iterations
        self.conv = self.add_weight(
            name="conv",
            shape=(sets, network.kernel_y, network.kernel_x, 1, network.filters, 2),
            initializer="zeros",
            constraint=ZeroMeanUnitNorm(),
        )
        self.rbf = self.add_weight(name="rbf", shape=(sets, network.basis, network.filters), initializer="zeros")
        self.built = True

    def arrays_of(self, iteration: Any) -> list[Tensor]:
        """Return filters `(y, x, 1, filter, 2)` and weights of the activation `(basis, filter)` of an iteration."""
        index = 0 if self.network.shared_weights else iteration
        return [value_of(self.conv)[index], value_of(self.rbf)[index]]

    def compute(self, image: Tensor, conv: Tensor, rbf: Tensor) -> Tensor:
        """Return u - R(u) for images `(batch, y, x, 2 * maps)`, same shape."""
        # (y, x, 2, filter): real and imaginary part of the image are two input channels.
        kernel = ops.transpose(conv[:, :, 0], (0, 1, 3, 2))
        first, *others = each_map(image)
        return of_all_maps([first - field_of_experts(first, kernel, rbf, self.precision), *others])

    def call(self, image: Tensor, iteration: int, training: bool = False) -> Tensor:
        """Return u - R(u) for images `(batch, y, x, 2 * maps)`, same shape."""
        return self.compute(image, *self.arrays_of(iteration))


class BatchNorm(keras.layers.Layer):
    """The statistics of BART's batch normalisation of complex features, for each unrolled iteration.

    `ResidualBlock` normalises with them, see `tf_models.kernels.normalization`:

        training:   y = (x - m_b) / sqrt(v_b + 1e-3),   m_b, v_b: mean and biased variance over batch, y and x
                    m <- 0.95 m + 0.05 m_b,   v <- 0.95 v + 0.05 v_b n / (n - 1),   n values per channel
        inference:  y = (x - m) / sqrt(v + 1e-3)

    The mean is complex, the variance mean |x - m|^2 one real number for both parts. As in BART, v starts at 0 without
    bias correction: after k updates it is too small by the factor 1 - 0.95^k, so train for 60 updates or more before
    applying a network. There is no scale or shift.

    Args:
        channels: Number of complex channels.
        iterations: Number of unrolled iterations.

    Attributes:
        momentum: Weight of the old statistics in an update; 0 takes over those of the last batch, which starts from
            proper statistics: one pass over a batch with it, then 0.95 again.
    """

    def __init__(self, channels: int, iterations: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.momentum = 0.95
        self.mean = [
            self.add_weight(name=f"mean_{t}", shape=(2 * channels,), initializer="zeros", trainable=False)
            for t in range(iterations)
        ]
        self.variance = [
            self.add_weight(name=f"variance_{t}", shape=(channels,), initializer="zeros", trainable=False)
            for t in range(iterations)
        ]
        self.built = True

    def statistics_of(self, iteration: int) -> list[Tensor]:
        """Return the stored mean and variance of an iteration."""
        return [value_of(variables[iteration]) for variables in (self.mean, self.variance)]

    def update(self, iteration: int, mean: Tensor, variance: Tensor, values: Tensor) -> None:
        """Take the statistics of a batch with so many values per channel into those that are stored."""
        self._update(self.mean[iteration], mean)
        self._update(self.variance[iteration], variance * values / (values - 1))

    def _update(self, statistic: Any, value: Tensor) -> None:
        statistic.assign(self.momentum * statistic + (1 - self.momentum) * ops.cast(value, statistic.dtype))


class ResidualBlock(keras.layers.Layer):
    """MoDL's regularizer: z = x + N(x) with a network N of complex convolutions.

        h = crelu(BN(conv_0 x) + bias_0);  h = crelu(BN(conv_i h) + bias_i) for the hidden layers
        N(x) = gamma BN(conv_n h) + bias_n

    Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356, figure 1, as in BART: zero padding, ReLU on the real and on
    the imaginary part, one complex gamma per iteration after the last layer.
    """

    def __init__(self, network: ModlSettings, precision: str | None = None, **kwargs: Any) -> None:
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

    def arrays_of(self, iteration: Any) -> list[Tensor]:
        """Return the arrays of an iteration, in the order of `arrays`, without their first axis."""
        shared = self.network.shared_weights
        return [value_of(array)[0 if shared and name != "gamma" else iteration] for name, array in self.arrays.items()]

    def compute(
        self, image: Tensor, *arrays: Tensor, statistics: list[list[Tensor]] | None = None
    ) -> tuple[Tensor, list[list[Tensor]]]:
        """Compute z without a change to the layer.

        Args:
            image: `(batch, y, x, 2 * maps)`.
            arrays: Of one iteration, from `arrays_of`.
            statistics: Mean and variance for each layer; by default those of the batch.

        Returns:
            z, `(batch, y, x, 2 * maps)`, and the statistics that were used.
        """
        used: list[list[Tensor]] = []
        first, *others = each_map(image)
        features = first
        for stage in range(self.network.layers + 1):
            features = self.stage(stage, used[-1] if used else None, statistics is None, features, *arrays)
            if self.network.batch_norm and stage < self.network.layers:
                used.append(batch_statistics(features) if statistics is None else statistics[stage])
        return of_all_maps([first + features, *others]), used

    def stage(
        self, stage: int, statistics: list[Tensor] | None, of_batch: bool, features: Tensor, *arrays: Tensor
    ) -> Tensor:
        """Compute from one convolution to the next: what comes after the one, then the other itself.

        Args:
            stage: Of the convolution to end with, counted from 0; one more than the last ends with N(x).
            statistics: Mean and variance for the features, where there is batch norm and a convolution before.
            of_batch: Whether they are those of the features themselves, see `normalize`.
            features: Result of the convolution before, `(batch, y, x, 2 * channels)`; of stage 0, the image.
            arrays: Of one iteration, from `arrays_of`.
        """
        named, last = dict(zip(self.arrays, arrays, strict=True)), self.network.layers - 1
        bias = None
        if stage > 0 and self.network.bias:
            bias = _real_bias(_of(stage - 1, last, "bias", named))
        if stage == 0:
            features = narrow(features, self.precision)
        elif statistics is not None:
            (mean, variance), inner = statistics, stage <= last
            features = normalize(features, mean, variance, bias if inner else None, inner, of_batch)
        elif stage <= last:
            features = ops.relu(features if bias is None else features + ops.cast(bias, features.dtype))
        if stage <= last:
            return same_conv(features, narrow(_real_kernel(_of(stage, last, "conv", named)), self.precision))
        features = widen(features)
        if statistics is not None:
            features = complex_multiply(named["gamma"], features)
        return features if bias is None else features + bias

    def update(self, iteration: int, statistics: list[list[Tensor]], image: Tensor) -> None:
        """Take the statistics of a batch of images into those that are stored."""
        for norm, (mean, variance) in zip(self.norms, statistics, strict=True):
            norm.update(iteration, mean, variance, _values(image))

    def statistics_of(self, iteration: int) -> list[list[Tensor]]:
        """Return the stored statistics of an iteration."""
        return [norm.statistics_of(iteration) for norm in self.norms]

    def call(self, image: Tensor, iteration: int, training: bool = False) -> Tensor:
        """Return z for images `(batch, y, x, 2 * maps)`, same shape."""
        statistics = None if training else self.statistics_of(iteration)
        result, used = self.compute(image, *self.arrays_of(iteration), statistics=statistics)
        if training and self.norms:
            self.update(iteration, used, image)
        return result


def _of(layer: int, last: int, kind: str, named: dict[str, Tensor]) -> Tensor:
    """Return the weights of a kind (`conv`, `bias`) of one layer."""
    if layer == 0:
        return named[f"{kind}_0"]
    return named[f"{kind}_n"] if layer == last else named[f"{kind}_i"][layer - 1]


def _values(features: Tensor) -> Tensor:
    """Return the number of values in a channel, of the whole batch."""
    return ops.cast(count() * ops.prod(ops.shape(features)[:3]), features.dtype)


def _real_kernel(kernel: Tensor) -> Tensor:
    """Write a complex kernel `(y, x, in, out, 2)` as a real one `(y, x, 2 * in, 2 * out)`."""
    real, imaginary = kernel[..., 0], kernel[..., 1]
    from_real = ops.concatenate([real, imaginary], axis=-1)
    from_imaginary = ops.concatenate([-imaginary, real], axis=-1)
    return ops.concatenate([from_real, from_imaginary], axis=-2)


def _real_bias(bias: Tensor) -> Tensor:
    """Write complex biases `(channel, 2)` as `(2 * channel)`."""
    return ops.reshape(ops.transpose(bias), (-1,))
