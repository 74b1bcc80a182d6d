"""The plain memory plan on JAX: one compiled iteration in a loop, instead of a copy of it for each.

Automatic differentiation stores the intermediate results of all iterations. What is compiled does not grow with their
number.
"""

from __future__ import annotations

from tf_models.backend.ops import Tensor
from tf_models.networks.checkpointed import Iterations, Statistics


def scan(iterations: Iterations, image: Tensor, training: bool) -> tuple[Tensor, list[Statistics]]:
    """Compute all iterations of a network.

    Args:
        iterations: The iterations; `backward` is not used.
        image: Initial image, `(batch, y, x, 2 * maps)`.
        training: Whether batch norm uses the statistics of the batch.

    Returns:
        The last image, and for each iteration the statistics of the batch; empty without batch norm or training.
    """
    import jax

    data = iterations.prepare(*iterations.measured)
    uses_batch_statistics = training and bool(iterations.running_statistics)
    running: Statistics = [] if training else iterations.running_statistics
    own = [array if array.shape[0] > 1 else None for array in iterations.weights]

    def step(image: Tensor, entry: tuple[list[Tensor | None], Statistics]) -> tuple[Tensor, Statistics]:
        current, statistics = entry
        weights = [
            shared[0] if array is None else array for shared, array in zip(iterations.weights, current, strict=True)
        ]
        image, used = iterations.forward(image, weights, data, statistics or None)
        return image, used if uses_batch_statistics else []

    image, used = jax.lax.scan(step, image, (own, running), length=iterations.count)
    if not uses_batch_statistics:
        return image, []
    return image, [[[array[number] for array in pair] for pair in used] for number in range(iterations.count)]
