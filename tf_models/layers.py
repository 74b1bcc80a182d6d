"""The blocks of one unrolled iteration. Each layer holds the weights of all iterations and is called with one's number.

Weights and images have a trailing axis of 2 for complex numbers. Inside the MoDL block, features are `(batch, y, x,
2 * channels)`: first the real parts of all channels, then the imaginary parts.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from bart_bridge.settings import ModlSettings, Network, VarNetSettings
from tf_models.operators import SenseNormal, Tensor, complex_multiply, solve_regularized


@keras.saving.register_keras_serializable("bart_tf")
class ZeroMeanUnitNorm(keras.constraints.Constraint):
    """Project each complex filter `(iteration, y, x, in, out, 2)` to zero mean and unit norm, as BART does.

    The projection takes the complex mean over the pixels away, then divides by the complex l2 norm.
    """

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected filters."""
        w = w - ops.mean(w, axis=(1, 2), keepdims=True)
        return w / ops.sqrt(ops.sum(w * w, axis=(1, 2, 5), keepdims=True))


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
        """Return the image after this step; all images are `(batch, y, x, 2)`."""
        weight = self.weight(iteration)
        if self.network.data_consistency == "gradient-step":
            return regularized - weight * (normal(image) - adjoint)
        right = adjoint + weight * regularized
        network = self.network
        return solve_regularized(normal, right, weight, network.max_cg_iterations, network.cg_derivative)


class VariationalBlock(keras.layers.Layer):
    """The gradient of VarNet's regularizer, a field of experts.

    R(u) = 1/F sum_f K_f^T phi_f(K_f u) with real-valued z_f = Re(k_f) * Re(u) + Im(k_f) * Im(u) and
    phi_f(z) = sum_j w_fj exp(-(z - mu_j)^2 / (2 sigma^2)), mu_j equally spaced on [-1, 1], sigma = 2 / W.

    Hammernik et al. (2018), doi 10.1002/mrm.26977, equations 6 and 7. The image is continued by mirroring, edge pixel
    included. BART's sigma is 2 / W and its sum is divided by the number of filters F.
    """

    def __init__(self, network: VarNetSettings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network
        sets = 1 if network.shared_weights else network.iterations
        self.conv = self.add_weight(
            name="conv",
            shape=(sets, network.kernel_y, network.kernel_x, 1, network.filters, 2),
            initializer="zeros",
            constraint=ZeroMeanUnitNorm(),
        )
        self.rbf = self.add_weight(name="rbf", shape=(sets, network.basis, network.filters), initializer="zeros")
        self.built = True

    def call(self, image: Tensor, iteration: int) -> Tensor:
        """Return R(u) for images `(batch, y, x, 2)`, same shape."""
        index = 0 if self.network.shared_weights else iteration
        # (y, x, 2, filter): real and imaginary part of the image are two input channels.
        kernel = ops.transpose(self.conv[index][:, :, 0], (0, 1, 3, 2))
        padded = _mirror(_mirror(image, self.network.kernel_y - 1, axis=1), self.network.kernel_x - 1, axis=2)
        filtered = ops.conv(padded, kernel, padding="valid")
        activated = radial_basis_activation(filtered, self.rbf[index])
        # The transposed convolution, written as one with the flipped kernel, which is faster.
        flipped = ops.transpose(ops.flip(kernel, axis=(0, 1)), (0, 1, 3, 2))
        return ops.conv(activated, flipped, padding="valid") / self.network.filters


def radial_basis_activation(values: Tensor, weights: Tensor) -> Tensor:
    """Apply a sum of Gaussians to each channel; see `VariationalBlock`.

    Args:
        values: `(batch, y, x, filter)`.
        weights: `(basis, filter)`.

    Returns:
        `(batch, y, x, filter)`.
    """
    basis = weights.shape[0]
    sigma = 2 / basis
    centres = ops.cast(ops.linspace(-1.0, 1.0, basis), values.dtype)
    distance = (values[..., None, :] - centres[:, None]) / sigma
    return ops.sum(weights * ops.exp(-0.5 * distance * distance), axis=-2)


class BatchNorm(keras.layers.Layer):
    """BART's batch normalisation of complex features, with statistics for each unrolled iteration.

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
        epsilon: Added to the variance.
        momentum: Weight of the old statistics in an update; 0 takes over those of the last batch, which starts from
            proper statistics: one pass over a batch with it, then 0.95 again.
    """

    epsilon = 1e-3

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

    def call(self, features: Tensor, iteration: int, training: bool = False) -> Tensor:
        """Normalise features `(batch, y, x, 2 * channels)`."""
        if not training:
            return self._normalize(features, self.mean[iteration], self.variance[iteration])
        mean = ops.mean(features, axis=(0, 1, 2))
        squares = ops.mean(ops.square(features - mean), axis=(0, 1, 2))
        variance = squares[: self.channels] + squares[self.channels :]
        values = ops.cast(ops.prod(ops.shape(features)[:3]), variance.dtype)
        self._update(self.mean[iteration], mean)
        self._update(self.variance[iteration], variance * values / (values - 1))
        return self._normalize(features, mean, variance)

    def _normalize(self, features: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return (features - mean) * ops.tile(ops.rsqrt(variance + self.epsilon), 2)

    def _update(self, statistic: Any, value: Tensor) -> None:
        statistic.assign(self.momentum * statistic + (1 - self.momentum) * ops.stop_gradient(value))


class ResidualBlock(keras.layers.Layer):
    """MoDL's regularizer: z = x + N(x) with a network N of complex convolutions.

        h = crelu(BN(conv_0 x) + bias_0);  h = crelu(BN(conv_i h) + bias_i) for the hidden layers
        N(x) = gamma BN(conv_n h) + bias_n

    Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356, figure 1, as in BART: zero padding, ReLU on the real and on
    the imaginary part, one complex gamma per iteration after the last layer.
    """

    def __init__(self, network: ModlSettings, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network
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

    def call(self, image: Tensor, iteration: int, training: bool = False) -> Tensor:
        """Return z for images `(batch, y, x, 2)`, same shape."""
        features = image
        for layer in range(self.network.layers):
            features = ops.conv(features, _real_kernel(self._of(layer, "conv", iteration)), padding="same")
            if self.network.batch_norm:
                features = self.norms[layer](features, iteration=iteration, training=training)
            if layer == self.network.layers - 1:
                break
            if self.network.bias:
                features = features + _real_bias(self._of(layer, "bias", iteration))
            features = ops.relu(features)
        if self.network.batch_norm:
            features = complex_multiply(self.arrays["gamma"][iteration], features)
        if self.network.bias:
            features = features + _real_bias(self._of(layer, "bias", iteration))
        return image + features

    def _of(self, layer: int, kind: str, iteration: int) -> Tensor:
        """Return the weights of a kind (`conv`, `bias`) of one layer."""
        index = 0 if self.network.shared_weights else iteration
        if layer == 0:
            return self.arrays[f"{kind}_0"][index]
        if layer == self.network.layers - 1:
            return self.arrays[f"{kind}_n"][index]
        return self.arrays[f"{kind}_i"][index, layer - 1]


def _real_kernel(kernel: Tensor) -> Tensor:
    """Write a complex kernel `(y, x, in, out, 2)` as a real one `(y, x, 2 * in, 2 * out)`."""
    real, imaginary = kernel[..., 0], kernel[..., 1]
    from_real = ops.concatenate([real, imaginary], axis=-1)
    from_imaginary = ops.concatenate([-imaginary, real], axis=-1)
    return ops.concatenate([from_real, from_imaginary], axis=-2)


def _real_bias(bias: Tensor) -> Tensor:
    """Write complex biases `(channel, 2)` as `(2 * channel)`."""
    return ops.reshape(ops.transpose(bias), (-1,))


def _mirror(image: Tensor, width: int, axis: int) -> Tensor:
    """Continue an image on both sides by mirroring it, edge pixel included."""
    if width == 0:
        return image
    size = image.shape[axis]
    before = ops.flip(ops.take(image, range(width), axis=axis), axis=axis)
    after = ops.flip(ops.take(image, range(size - width, size), axis=axis), axis=axis)
    return ops.concatenate([before, image, after], axis=axis)
