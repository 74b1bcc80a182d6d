"""Model-based deep learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from bart_bridge.reconet.network_settings import Loss, ModlSettings
from bart_bridge.reconet.weights import Weights
from tf_models.backend.devices import runs_on_tensorflow_cpu
from tf_models.backend.ops import Tensor, value_of
from tf_models.kernels.triton_support import same_conv_runs_in_triton
from tf_models.networks.batch_norm import BatchNorm
from tf_models.networks.checkpointed import Statistics
from tf_models.networks.residual_block import ResidualBlock
from tf_models.networks.residual_vjp import residual_vjp
from tf_models.networks.unrolled import UnrolledNetwork

# Ten slices of the size of the published data.
_TRITON_PIXELS = 600_000


@keras.saving.register_keras_serializable("bart_tf")
class Modl(UnrolledNetwork):
    """MoDL as `bart reconet --network modl` computes it.

    ```
    z_t = x_{t-1} + N(x_{t-1})
    proximal-mapping:  x_t = (A^H A + lambda)^-1 (A^H y + lambda z_t)
    gradient-step:     x_t = z_t - lambda (A^H A x_{t-1} - A^H y)
    x_0 = A^H y
    ```

    `data_consistency` of the settings selects one of the two; BART's default is the proximal mapping. x + N(x) is
    `tf_models.networks.residual_block.ResidualBlock`. Input and output: see `UnrolledNetwork`.

    Args:
        network: Sizes and options, or a dictionary of them.
        loss: Weight of each training loss by its name. Defaults to None, BART's loss for the network.
        **kwargs: As of `UnrolledNetwork`: `memory`, `precision` and those of `keras.Model`.

    Examples:
        >>> from tf_models import Modl
        >>> model = Modl({"iterations": 2, "layers": 3, "filters": 4})
        >>> {name: tuple(variable.shape) for name, variable in model.named_variables().items() if "conv" in name}
        {'conv_0': (1, 3, 3, 1, 4, 2), 'conv_i': (1, 1, 3, 3, 4, 4, 2), 'conv_n': (1, 3, 3, 4, 1, 2)}

    References:
        Aggarwal et al. (2019), doi 10.1109/TMI.2018.2865356.
    """

    network: ModlSettings

    def __init__(
        self, network: ModlSettings | dict[str, object], loss: dict[Loss, float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(ModlSettings.model_validate(network), loss, **kwargs)
        self.regularizer = ResidualBlock(self.network, self.feature_dtype, name="regularizer", dtype=self.dtype_policy)

    def regularized(
        self, image: Tensor, arrays: list[Tensor], statistics: Statistics | None
    ) -> tuple[Tensor, Statistics]:
        """Return z_t and the statistics that were used."""
        return self.regularizer.compute(image, *arrays, statistics=statistics)

    def regularized_vjp(
        self, image: Tensor, arrays: list[Tensor], statistics: Statistics | None
    ) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
        """Return z_t, and a function from the gradient by it to those by image and arrays."""
        if statistics is None and self.regularizer.norms and runs_on_tensorflow_cpu():
            return residual_vjp(self.regularizer, image, *arrays)
        return super().regularized_vjp(image, arrays, statistics)

    def pixels_at_a_time(self, dtype: str) -> int:
        """Return how many pixels the lean plan computes at a time; the Triton kernels store few features."""
        network = self.network
        channels = 2 * network.filters
        kernel_shape = (network.kernel_y, network.kernel_x, channels, channels)
        fast = self.feature_dtype is None and same_conv_runs_in_triton(dtype, (1, 1, 1, channels), kernel_shape)
        return _TRITON_PIXELS if fast else super().pixels_at_a_time(dtype)

    @property
    def batch_norms(self) -> list[BatchNorm]:
        """The layers of batch norm, from the first to the last."""
        return list(self.regularizer.norms)

    def stacked_statistics(self) -> Statistics:
        """Return the running mean and variance of each batch norm, with iterations as the first axis."""
        return [
            [ops.stack([value_of(value) for value in values]) for values in (norm.mean, norm.variance)]
            for norm in self.regularizer.norms
        ]

    def update_statistics(self, iteration: int, statistics: Statistics, image: Tensor) -> None:
        """Update the running statistics of an iteration with those of a batch of images."""
        self.regularizer.update(iteration, statistics, image)

    def named_variables(self) -> dict[str, keras.Variable]:
        """Return `lambda`, the convolutions, the biases and `gamma`."""
        return {**super().named_variables(), **self.regularizer.arrays}

    def set_named_weights(self, weights: Weights) -> None:
        """Set weights and running statistics by their names, with the shapes of `bart_bridge.reconet.weights`."""
        super().set_named_weights(weights)
        for norm, (name, layer) in self._statistics():
            values = weights[name] if layer is None else weights[name][:, layer]
            for iteration, (mean, variance) in enumerate(values):
                norm.mean[iteration].assign(np.concatenate([mean.real, mean.imag]))
                norm.variance[iteration].assign(variance.real)

    def named_weights(self) -> Weights:
        """Return weights and running statistics by their names, in the order of `bart_bridge.reconet.weights`."""
        weights = super().named_weights()
        hidden = []
        for norm, (name, layer) in self._statistics():
            mean = np.stack([ops.convert_to_numpy(mean) for mean in norm.mean])
            variance = np.stack([ops.convert_to_numpy(variance) for variance in norm.variance])
            values = np.zeros((len(mean), 2, norm.channels), np.complex64)
            values[:, 0].real, values[:, 0].imag = mean[:, : norm.channels], mean[:, norm.channels :]
            values[:, 1].real = variance
            if layer is None:
                weights[name] = values
            else:
                hidden.append(values)
                weights[name] = np.stack(hidden, axis=1)
        return weights

    def _statistics(self) -> list[tuple[BatchNorm, tuple[str, int | None]]]:
        """Pair each batch norm with the name of its array and, for a hidden layer, the index in it."""
        hidden = [("bn_i", layer) for layer in range(self.network.layers - 2)]
        return list(zip(self.regularizer.norms, [("bn_0", None), *hidden, ("bn_n", None)], strict=False))
