"""The plain memory plan on JAX and TensorFlow: one compiled iteration in a loop, instead of a copy of it for each.

Automatic differentiation stores the intermediate results of all iterations. What is compiled does not grow with their
number.
"""

from __future__ import annotations

import keras
from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.networks.checkpointed import Iterations, Statistics, split_statistics, statistics_buffer


def scan(iterations: Iterations, image: Tensor, training: bool) -> tuple[Tensor, list[Statistics]]:
    """Compute all iterations of a network.

    Args:
        iterations: The iterations; `backward` is not used.
        image: Initial image, `(batch, y, x, 2 * maps)`.
        training: Whether batch norm uses the statistics of the batch.

    Returns:
        The last image, and for each iteration the statistics of the batch; empty without batch norm or training.
    """
    if keras.backend.backend() == "tensorflow":
        return _while_loop(iterations, image, training)
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


def _while_loop(iterations: Iterations, image: Tensor, training: bool) -> tuple[Tensor, list[Statistics]]:
    """Do what `scan` does; `keras.ops.scan` has no derivative within a function that XLA compiles."""
    import tensorflow as tf

    data = iterations.prepare(*iterations.measured)
    running = iterations.running_statistics
    uses_batch_statistics = training and bool(running)
    buffers = [statistics_buffer(running, image)] if uses_batch_statistics else []

    def step(number: Tensor, image: Tensor, buffers: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        weights = [array[number if array.shape[0] > 1 else 0] for array in iterations.weights]
        statistics = [] if training else [[array[number] for array in pair] for pair in running]
        image, used = iterations.forward(image, weights, data, statistics or None)
        if uses_batch_statistics:
            flat = ops.concatenate([array for pair in used for array in pair])
            # `set_item` has no derivative within a function that XLA compiles.
            row = ops.arange(iterations.count)[:, None] == number
            buffers = [ops.where(row, ops.stop_gradient(flat), buffers[0])]
        return number + 1, image, buffers

    _, image, buffers = tf.while_loop(
        lambda number, *_: number < iterations.count,
        step,
        (tf.constant(0), image, buffers),
        # XLA has to know how much the derivative stores.
        maximum_iterations=iterations.count,
        parallel_iterations=1,
    )
    if not uses_batch_statistics:
        return image, []
    stored = ops.stop_gradient(buffers[0])
    return image, [split_statistics(stored[number], running) for number in range(iterations.count)]
