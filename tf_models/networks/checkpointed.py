"""The lean memory plan: training stores one image for each unrolled iteration (gradient checkpointing).

Everything inside an iteration (features, coil images, conjugate gradients) is recomputed when its derivative is due,
one iteration after the other. Where slices are independent, they are computed one at a time (a few on a CPU, and where
a slice needs little), so that the memory of an iteration is that of one slice. Only the training of a network with
batch norm needs the whole batch at once: its statistics, and their derivative, are those of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from keras import ops

from tf_models.backend.devices import runs_on_tensorflow_cpu
from tf_models.backend.ops import ArrayList, Tensor, chunk, custom_gradient, sequential_fori_loop, set_chunk, set_item

# Mean and variance of each batch norm.
Statistics: TypeAlias = list[list[Tensor]]
# What `Iterations.prepare` returns; `unroll` does not look into it.
Data: TypeAlias = Any

# On a CPU, as many slices are computed at a time as have this number of pixels, at least one.
_CPU_PIXELS = 2**16


@dataclass(frozen=True)
class Iterations:
    """The unrolled iterations of a network, as functions without side effects.

    Attributes:
        count: Number of iterations.
        weights: Arrays with one entry of the first axis for each iteration, or a single one that all share.
        measured: Arrays with one entry of the first axis for each slice.
        prepare: Takes `measured`, of all slices or some, and returns the data for `forward` and `backward`.
        forward: Takes the image before an iteration, the weights of the iteration, the data and the statistics of the
            batch norms (None for those of the batch); returns the image after it and the statistics that were used.
        backward: Takes the images before and after an iteration, the gradient by the image after it, and the weights,
            data and statistics as `forward`; returns the gradients by the image before it and by each weight.
        running_statistics: Stored statistics of each batch norm, with iterations as the first axis; empty without batch
            norm.
        pixels_at_a_time: As many independent slices as have this number of pixels are computed at a time, at least one.
            Defaults to 0. On a CPU, it is another number.
    """

    count: int
    weights: list[Tensor]
    measured: tuple[Tensor, ...]
    prepare: Callable[..., Data]
    forward: Callable[[Tensor, list[Tensor], Data, Statistics | None], tuple[Tensor, Statistics]]
    backward: Callable[[Tensor, Tensor, Tensor, list[Tensor], Data, Statistics | None], tuple[Tensor, list[Tensor]]]
    running_statistics: Statistics
    pixels_at_a_time: int = 0


def unroll(iterations: Iterations, image: Tensor, training: bool) -> tuple[Tensor, list[Statistics]]:
    """Compute all iterations of a network; the derivative recomputes them.

    Args:
        iterations: The iterations. Their weights and the image are differentiated, measured arrays are constants.
        image: Initial image, `(batch, y, x, 2 * maps)`.
        training: Whether batch norm uses the statistics of the batch.

    Returns:
        The last image, and for each iteration the statistics of the batch; empty without batch norm or training.
    """
    plan = _Plan(iterations, image, training)
    result = custom_gradient(plan.forward, plan.backward)(image, *iterations.weights)
    if not plan.uses_batch_statistics:
        return result, []
    running = iterations.running_statistics
    result, batch_statistics = _unpack(result, image, statistics_buffer(running, image))
    return result, [
        split_statistics(ops.stop_gradient(batch_statistics[number]), running) for number in range(iterations.count)
    ]


class _Kept(NamedTuple):
    """What the derivative needs of the forward pass."""

    images: ArrayList  # before each iteration
    last: Tensor  # image after the last iteration
    weights: list[Tensor]
    buffers: list[Tensor]  # one array with the batch statistics of all iterations, or none


class _Plan:
    """All iterations and their derivative, with the whole batch or a chunk of slices at a time."""

    def __init__(self, iterations: Iterations, image: Tensor, training: bool) -> None:
        self.iterations = iterations
        self.uses_batch_statistics = training and bool(iterations.running_statistics)
        self.running_statistics: Statistics = [] if training else iterations.running_statistics
        self.per_slice = not self.uses_batch_statistics
        self.full_batch = None if self.per_slice else iterations.prepare(*iterations.measured)
        pixels = image.shape[1] * image.shape[2]
        if runs_on_tensorflow_cpu():
            self.chunk_size = max(1, _CPU_PIXELS // pixels)
        else:
            self.chunk_size = _largest_divisor(image.shape[0], max(1, iterations.pixels_at_a_time // pixels))
        self.chunks = (ops.shape(image)[0] + self.chunk_size - 1) // self.chunk_size

    def forward(self, image: Tensor, *weights: Tensor) -> tuple[Tensor, _Kept]:
        """Return the last image, packed with batch statistics if there are any, and what `backward` needs."""

        def step(
            number: Tensor, state: tuple[Tensor, ArrayList, list[Tensor]]
        ) -> tuple[Tensor, ArrayList, list[Tensor]]:
            image, images, buffers = state
            result, statistics = self._iterate(number, image, weights)
            if statistics:
                flat = ops.concatenate([array for pair in statistics for array in pair])
                buffers = [set_item(buffers[0], number, flat)]
            return result, images.set(number, image), buffers

        images = ArrayList.empty(self.iterations.count, image)
        buffers = []
        if self.uses_batch_statistics:
            buffers = [statistics_buffer(self.iterations.running_statistics, image)]
        last, images, buffers = sequential_fori_loop(self.iterations.count, step, (image, images, buffers))
        result = _pack(last, buffers[0]) if buffers else last
        return result, _Kept(images, last, list(weights), buffers)

    def backward(self, kept: _Kept, upstream: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients by the initial image and by each weight."""
        images, last, weights, buffers = kept
        if buffers:
            upstream = _unpack(upstream, last, buffers[0])[0]

        def step(number: Tensor, state: tuple[Tensor, Tensor, list[Tensor]]) -> tuple[Tensor, Tensor, list[Tensor]]:
            result, upstream, grad_weights = state
            number = self.iterations.count - 1 - number
            image = images.get(number)
            upstream, gradients = self._iterate_backward(number, image, result, upstream, weights)
            indices = [_index(array, number) for array in grad_weights]
            grad_weights = [
                set_item(total, index, total[index] + gradient)
                for total, index, gradient in zip(grad_weights, indices, gradients, strict=True)
            ]
            return image, upstream, grad_weights

        start = (last, upstream, [ops.zeros_like(array) for array in weights])
        _, grad_image, grad_weights = sequential_fori_loop(self.iterations.count, step, start)
        return (grad_image, *grad_weights)

    def _iterate(self, number: Tensor, image: Tensor, weights: tuple[Tensor, ...]) -> tuple[Tensor, Statistics]:
        current, statistics = self._weights(number, weights), self._statistics(number)
        forward, prepare = self.iterations.forward, self.iterations.prepare
        if not self.per_slice:
            return forward(image, current, self.full_batch, statistics)

        def of_chunk(chunk_number: Tensor, results: Tensor) -> Tensor:
            slices, *measured = self._chunks(chunk_number, image, *self.iterations.measured)
            result, _ = forward(slices, current, prepare(*measured), statistics)
            return set_chunk(results, chunk_number, self.chunk_size, result)

        return sequential_fori_loop(self.chunks, of_chunk, ops.zeros_like(image)), []

    def _iterate_backward(
        self, number: Tensor, image: Tensor, result: Tensor, upstream: Tensor, weights: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients by the image before an iteration and by the weights of the iteration."""
        current, statistics = self._weights(number, weights), self._statistics(number)
        backward, prepare = self.iterations.backward, self.iterations.prepare
        if not self.per_slice:
            return backward(image, result, upstream, current, self.full_batch, statistics)

        def of_chunk(chunk_number: Tensor, state: tuple[Tensor, list[Tensor]]) -> tuple[Tensor, list[Tensor]]:
            grad_images, grad_weights = state
            arrays = (image, result, upstream, *self.iterations.measured)
            before, after, grad_after, *measured = self._chunks(chunk_number, *arrays)
            grad_image, gradients = backward(before, after, grad_after, current, prepare(*measured), statistics)
            grad_weights = [total + gradient for total, gradient in zip(grad_weights, gradients, strict=True)]
            return set_chunk(grad_images, chunk_number, self.chunk_size, grad_image), grad_weights

        start = (ops.zeros_like(image), [ops.zeros_like(array) for array in current])
        return sequential_fori_loop(self.chunks, of_chunk, start)

    def _weights(self, number: Tensor, weights: list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
        return [array[_index(array, number)] for array in weights]

    def _statistics(self, number: Tensor) -> Statistics | None:
        return [[array[number] for array in pair] for pair in self.running_statistics] or None

    def _chunks(self, number: Tensor, *arrays: Tensor) -> list[Tensor]:
        return [chunk(array, number, self.chunk_size) for array in arrays]


def _largest_divisor(slices: int | None, most: int) -> int:
    """Return the largest number up to `most` that divides the number of slices; 1 if that is not known."""
    return 1 if slices is None else max(size for size in range(1, most + 1) if slices % size == 0)


def _index(array: Tensor, iteration: Tensor) -> Tensor:
    """Return the index of an iteration's weights; a single entry is for all iterations."""
    return iteration if array.shape[0] > 1 else 0


# PyTorch's custom gradients have one result: image and statistics are packed into one vector.


def _pack(image: Tensor, statistics: Tensor) -> Tensor:
    return ops.concatenate([ops.reshape(image, (-1,)), ops.reshape(statistics, (-1,))])


def _unpack(packed: Tensor, image: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
    size = statistics.shape[0] * statistics.shape[1]
    return ops.reshape(packed[:-size], (-1, *image.shape[1:])), ops.reshape(packed[-size:], statistics.shape)


def statistics_buffer(running: Statistics, image: Tensor) -> Tensor:
    """Return zeros for statistics of the sizes of the running ones, `(iteration, size of all of them)`."""
    size = sum(array.shape[1] for pair in running for array in pair)
    return ops.zeros((running[0][0].shape[0], size), image.dtype)


def split_statistics(flat: Tensor, running: Statistics) -> Statistics:
    """Split the statistics of an iteration into mean and variance of each batch norm."""
    pairs, start = [], 0
    for pair in running:
        arrays = []
        for array in pair:
            arrays.append(flat[start : start + array.shape[1]])
            start += array.shape[1]
        pairs.append(arrays)
    return pairs
