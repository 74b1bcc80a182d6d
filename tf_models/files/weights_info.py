"""Descriptions of models and TensorFlow 1 checkpoints; for BART's files see `bart_bridge.reconet.weights_info`."""

from __future__ import annotations

from math import prod
from pathlib import Path

from bart_bridge.reconet import weights_info
from bart_bridge.reconet.weights_info import WeightsInfo
from tf_models.files import tf1_checkpoints
from tf_models.files.model_files import Model
from tf_models.networks.modl_original import MoDLOriginal, ModlOriginalSettings


def describe_model(model: Model) -> WeightsInfo:
    """Describe one of our networks."""
    if not isinstance(model, MoDLOriginal):
        return weights_info.describe(model.network, model.named_weights(), model.network.iterations)
    shapes = {name: tuple(variable.shape) for name, variable in model.named_variables().items()}
    return _modl_original(model.network, shapes, float(model.weighting), model.network.iterations)


def describe_checkpoint(path: Path) -> WeightsInfo:
    """Describe a TensorFlow 1 checkpoint of the original MoDL or VarNet.

    Raises:
        InputError: See `tf_models.files.tf1_checkpoints.read`.
    """
    arrays = tf1_checkpoints.read(path)
    if tf1_checkpoints.is_varnet(arrays):
        network = tf1_checkpoints.varnet_settings(path, arrays)
        named = tf1_checkpoints.varnet_weights(arrays, "tensorflow-icg")
        return weights_info.describe(network, named, network.iterations)
    settings = tf1_checkpoints.modl_settings(path, arrays)
    shapes = {name: values.shape for name, values in arrays.items()}
    return _modl_original(settings, shapes, float(arrays["Wts/lam1"]), None)


def _modl_original(
    network: ModlOriginalSettings, shapes: dict[str, tuple[int, ...]], value: float, iterations: int | None
) -> WeightsInfo:
    counts = {name: prod(shape) for name, shape in shapes.items()}
    statistics = sum(count for name, count in counts.items() if "/moving_" in name)
    return WeightsInfo(
        network="MoDL of its authors (MoDLOriginal)",
        sizes={"filters": f"{network.filters} real", "kernel": "3 x 3", "layers": network.layers},
        iterations=iterations,
        complex_parameters=0,
        real_parameters=sum(counts.values()) - statistics,
        statistics=statistics,
        lambdas=(value,),
    )
