"""The variational network."""

from __future__ import annotations

from typing import Any

import keras

from bart_bridge.reconet.network_settings import Loss, VarNetSettings
from tf_models.backend.ops import Tensor
from tf_models.networks.checkpointed import Statistics
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.networks.variational_block import VariationalBlock


@keras.saving.register_keras_serializable("bart_tf")
class VarNet(UnrolledNetwork):
    """Variational network (Hammernik et al. 2018, doi 10.1002/mrm.26977) as computed by `reconet --network varnet`.

        x_t = x_{t-1} - R_t(x_{t-1}) - lambda_t (A^H A x_{t-1} - A^H y),   x_0 = A^H y

    or with `data_consistency="proximal-mapping"` x_t = (A^H A + lambda_t)^-1 (A^H y + lambda_t (x - R_t(x))). R_t is
    `tf_models.networks.variational_block.VariationalBlock`. Inputs, output and arguments: `UnrolledNetwork`.
    """

    network: VarNetSettings

    def __init__(
        self, network: VarNetSettings | dict[str, Any], loss: dict[Loss, float] | None = None, **kwargs: Any
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

    def named_variables(self) -> dict[str, Any]:
        """Return `lambda`, `conv` and `rbf`."""
        return {**super().named_variables(), "conv": self.regularizer.conv, "rbf": self.regularizer.rbf}
