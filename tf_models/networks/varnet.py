"""The variational network."""

from __future__ import annotations

from typing import Any

import keras

from bart_bridge.reconet.network_settings import Loss, VarNetSettings
from tf_models.backend.ops import Tensor
from tf_models.kernels.triton_support import runs_as_triton_kernels
from tf_models.networks.checkpointed import Statistics
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.networks.variational_block import VariationalBlock

# Five slices of the published size; ten on PyTorch, where Python starts each kernel and takes longer than five.
_TRITON_PIXELS = {"jax": 600_000, "torch": 1_200_000}


@keras.saving.register_keras_serializable("bart_tf")
class VarNet(UnrolledNetwork):
    """The variational network as `bart reconet --network varnet` computes it.

    ```
    gradient-step:     x_t = x_{t-1} - R_t(x_{t-1}) - lambda_t (A^H A x_{t-1} - A^H y)
    proximal-mapping:  x_t = (A^H A + lambda_t)^-1 (A^H y + lambda_t (x_{t-1} - R_t(x_{t-1})))
    x_0 = A^H y
    ```

    `data_consistency` of the settings selects one of the two; BART's default is the gradient step. R_t is
    `tf_models.networks.variational_block.VariationalBlock`. Input and output: see `UnrolledNetwork`.

    Args:
        network: Sizes and options, or a dictionary of them.
        loss: Weight of each training loss by its name. Defaults to None, BART's loss for the network.
        **kwargs: As of `UnrolledNetwork`: `memory`, `precision` and those of `keras.Model`.

    Examples:
        With all weights 0, a network returns A^H y.

        >>> import numpy as np
        >>> from tf_models import VarNet
        >>> model = VarNet({"iterations": 2, "filters": 4, "kernel_x": 3, "kernel_y": 3})
        >>> inputs = {
        ...     "adjoint": np.ones((1, 8, 8, 2), np.float32),
        ...     "coils": np.ones((1, 3, 8, 8, 2), np.float32),
        ...     "psf": np.ones((1, 8, 8), np.float32),
        ... }
        >>> image = np.asarray(model(inputs))
        >>> image.shape, bool(np.allclose(image, inputs["adjoint"]))
        ((1, 8, 8, 2), True)

    References:
        Hammernik et al. (2018), doi 10.1002/mrm.26977.
    """

    network: VarNetSettings

    def __init__(
        self, network: VarNetSettings | dict[str, object], loss: dict[Loss, float] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(VarNetSettings.model_validate(network), loss, **kwargs)
        self.regularizer = VariationalBlock(
            self.network, self.feature_dtype, name="regularizer", dtype=self.dtype_policy
        )

    def regularized(
        self, image: Tensor, arrays: list[Tensor], statistics: Statistics | None
    ) -> tuple[Tensor, Statistics]:
        """Return x - R_t(x), and no statistics."""
        return self.regularizer.compute(image, *arrays), []

    def pixels_at_a_time(self, dtype: str) -> int:
        """Return how many pixels the lean plan computes at a time; the Triton kernels store few features."""
        network = self.network
        kernel_shape = (network.kernel_y, network.kernel_x, 2, network.filters)
        fast = self.feature_dtype is None and runs_as_triton_kernels(dtype, kernel_shape, network.basis)
        return _TRITON_PIXELS[keras.backend.backend()] if fast else super().pixels_at_a_time(dtype)

    def named_variables(self) -> dict[str, keras.Variable]:
        """Return `lambda`, `conv` and `rbf`."""
        return {**super().named_variables(), "conv": self.regularizer.conv, "rbf": self.regularizer.rbf}
