"""The derivative of MoDL's regularizer in training, layer by layer, from the results of its inner convolutions alone.

What comes between two convolutions is computed again when its derivative is due. An automatic derivative keeps features
several times for each layer, and TensorFlow on a CPU, which starts what it can in any order, some more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from keras import ops

from tf_models.backend.complex_arrays import join_maps, split_maps
from tf_models.backend.ops import Tensor, after, vjp
from tf_models.kernels.normalization import batch_statistics

if TYPE_CHECKING:
    from tf_models.networks.residual_block import ResidualBlock


def residual_vjp(
    block: ResidualBlock, image: Tensor, *arrays: Tensor
) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """Compute what `vjp` does of a block whose batch norm has the statistics of the batch.

    Args:
        block: Gives the layers.
        image: `(batch, y, x, 2 * maps)`.
        arrays: Of one iteration, from `ResidualBlock.arrays_of`.

    Returns:
        z, same shape as the image, and a function from the gradient by z to those by the image and by each array.
    """
    first, *others = split_maps(image)
    stages: list[Callable[..., Tensor]] = []
    results = [first]
    features = first
    for number in range(block.network.layers + 1):
        statistics = batch_statistics(features) if number > 0 else None
        stage = partial(block.stage, number, statistics, True)
        features = stage(features, *arrays)
        if number == 1:
            # The first convolution, that of an image, costs little: it is done again with the second.
            stages[0], results[1] = _chain(stages[0], stage), features
        else:
            stages.append(stage)
            results.append(features)
    z = join_maps([first + results.pop(), *others])

    def gradients(upstream: Tensor) -> list[Tensor]:
        own, *of_others = split_maps(upstream)
        of_features, of_arrays = own, [ops.zeros_like(array) for array in arrays]
        for stage, before in zip(reversed(stages), reversed(results), strict=True):
            _, product = vjp(stage, after(before, of_features), *arrays)
            of_features, *parts = product(of_features)
            of_features = after(of_features, *parts)
            of_arrays = [total + part for total, part in zip(of_arrays, parts, strict=True)]
        return [join_maps([own + of_features, *of_others]), *of_arrays]

    return z, gradients


def _chain(first: Callable[..., Tensor], second: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda features, *arrays: second(first(features, *arrays), *arrays)
