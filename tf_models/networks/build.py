"""Networks from settings and weights."""

from __future__ import annotations

from bart_bridge.reconet.network_settings import Loss, MemoryPlan, Network, Precision, VarNetSettings
from bart_bridge.reconet.weights import Weights
from tf_models.networks.modl import Modl
from tf_models.networks.unrolled import UnrolledNetwork
from tf_models.networks.varnet import VarNet


def build(
    network: Network,
    weights: Weights,
    loss: dict[Loss, float] | None = None,
    dtype: str = "float32",
    memory: MemoryPlan = "plain",
    precision: Precision = "float32",
) -> UnrolledNetwork:
    """Return the Keras model of a network with the given weights.

    Args:
        network: Sizes and options; they decide between `VarNet` and `Modl`.
        weights: All weights of the network by their names, as `bart_bridge.reconet.weights` reads and makes them.
        loss: Weight of each training loss by its name. Defaults to BART's loss for the network.
        dtype: `float32` (default), or `float64` to compute in double precision.
        memory: Memory plan, see `UnrolledNetwork`. Defaults to `plain`.
        precision: Precision of features, see `UnrolledNetwork`. Defaults to `float32`.
    """
    model: UnrolledNetwork
    if isinstance(network, VarNetSettings):
        model = VarNet(network, loss, memory=memory, precision=precision, dtype=dtype)
    else:
        model = Modl(network, loss, memory=memory, precision=precision, dtype=dtype)
    model.set_named_weights(weights)
    return model
