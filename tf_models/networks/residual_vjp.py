"""The derivative of MoDL's regularizer in training, layer by layer, for TensorFlow on a CPU.

It stores only the results of the convolutions and recomputes what lies between two of them. Automatic differentiation
stores the features several times for each layer, and TensorFlow on a CPU, which starts every operation that it can,
even more often.
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
    """Compute the block and its vector-Jacobian product with the statistics of the batch, like `vjp`.

    Args:
        block: The layers.
        image: `(batch, y, x, 2 * maps)`.
        *arrays: Weights of one iteration, from `ResidualBlock.arrays_of`.

    Returns:
        z, same shape as the image, and a function from the gradient by z to the gradients by the image and each array.
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
            # The first convolution, that of an image, is cheap: it is recomputed with the second.
            stages[0], results[1] = _chain(stages[0], stage), features
        else:
            stages.append(stage)
            results.append(features)
    z = join_maps([first + results.pop(), *others])

    def gradients(upstream: Tensor) -> list[Tensor]:
        grad_first, *grad_others = split_maps(upstream)
        grad_features, grad_arrays = grad_first, [ops.zeros_like(array) for array in arrays]
        for stage, features in zip(reversed(stages), reversed(results), strict=True):
            _, product = vjp(stage, after(features, grad_features), *arrays)
            grad_features, *stage_grads = product(grad_features)
            grad_features = after(grad_features, *stage_grads)
            grad_arrays = [total + gradient for total, gradient in zip(grad_arrays, stage_grads, strict=True)]
        return [join_maps([grad_first + grad_features, *grad_others]), *grad_arrays]

    return z, gradients


def _chain(first: Callable[..., Tensor], second: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda features, *arrays: second(first(features, *arrays), *arrays)
