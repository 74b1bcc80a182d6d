"""The regularizer block of VarNet and the constraint of its filters."""

from __future__ import annotations

import keras
from keras import ops

from bart_bridge.reconet.network_settings import VarNetSettings
from tf_models.backend.complex_arrays import join_maps, split_maps
from tf_models.backend.ops import Tensor, value_of
from tf_models.backend.projections import project_zero_mean_unit_sphere
from tf_models.kernels.field_of_experts import field_of_experts


@keras.saving.register_keras_serializable("bart_tf")
class ZeroMeanUnitNorm(keras.constraints.Constraint):
    """Project each complex filter `(iteration, y, x, in, out, 2)` to zero mean and unit norm, as BART does.

    See `tf_models.backend.projections.project_zero_mean_unit_sphere`.
    """

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected filters."""
        return project_zero_mean_unit_sphere(w)


class VariationalBlock(keras.layers.Layer):
    """VarNet's regularizer u - R(u), where R is the gradient of a field of experts.

    ```
    R(u) = 1/F sum_f K_f^T phi_f(K_f u)
    K_f u = Re(k_f) * Re(u) + Im(k_f) * Im(u)        real
    phi_f(z) = sum_j w_jf exp(-(z - mu_j)^2 / (2 sigma^2))
    ```

    The W means mu_j are equally spaced on [-1, 1]. The image is padded by reflection, edge pixels included. As in BART,
    sigma = 2 / W and the sum is divided by the number of filters F.

    The layer holds the weights of all iterations and is called with the number of one: `layer(image, iteration=0)`.

    Args:
        network: Sizes and options of the network.
        precision: `bfloat16` or `float16` for features and convolutions. Defaults to None, the layer's precision.
        **kwargs: As of `keras.layers.Layer`.

    Attributes:
        conv: Filters k, `(iteration, y, x, 1, filter, 2)`; the first axis is 1 if the iterations share weights.
        rbf: Weights w of the Gaussians, `(iteration, basis, filter)`.

    References:
        Hammernik et al. (2018), doi 10.1002/mrm.26977, equations 6 and 7.
    """

    def __init__(self, network: VarNetSettings, precision: str | None = None, **kwargs: object) -> None:
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

    def arrays_of(self, iteration: int) -> list[Tensor]:
        """Return the filters `(y, x, 1, filter, 2)` and the weights of the Gaussians `(basis, filter)`."""
        index = 0 if self.network.shared_weights else iteration
        return [value_of(self.conv)[index], value_of(self.rbf)[index]]

    def compute(self, image: Tensor, conv: Tensor, rbf: Tensor) -> Tensor:
        """Return u - R(u) with given weights for images `(batch, y, x, 2 * maps)`, same shape."""
        # (y, x, 2, filter): real and imaginary part of the image are two input channels.
        kernel = ops.transpose(conv[:, :, 0], (0, 1, 3, 2))
        first, *others = split_maps(image)
        return join_maps([first - field_of_experts(first, kernel, rbf, self.precision), *others])

    def call(self, image: Tensor, iteration: int, training: bool = False) -> Tensor:
        """Return u - R(u) for images `(batch, y, x, 2 * maps)`, same shape."""
        return self.compute(image, *self.arrays_of(iteration))
