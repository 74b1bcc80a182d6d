"""The regularizer block of VarNet and the constraint of its filters."""

from __future__ import annotations

from typing import Any

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

    The projection takes the complex mean over the pixels away, then divides by the complex l2 norm.
    """

    def __call__(self, w: Tensor) -> Tensor:
        """Return the projected filters."""
        return project_zero_mean_unit_sphere(w)


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
        first, *others = split_maps(image)
        return join_maps([first - field_of_experts(first, kernel, rbf, self.precision), *others])

    def call(self, image: Tensor, iteration: int, training: bool = False) -> Tensor:
        """Return u - R(u) for images `(batch, y, x, 2 * maps)`, same shape."""
        return self.compute(image, *self.arrays_of(iteration))
