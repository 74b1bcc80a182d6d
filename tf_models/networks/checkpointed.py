"""The lean memory plan: the same network, of which training keeps one image for each unrolled iteration.

What is inside an iteration (features, coil images, conjugate gradients) is computed again when its derivative is due,
one iteration after the other. Where slices do not depend on each other, they are taken one at a time (a few on a CPU),
so that the memory of an iteration is that of one slice: always but in the training of a network with batch norm, whose
statistics, and their derivative, are those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import ops

from tf_models.backend.ops import (
    Tensor,
    delay,
    fetch,
    loop,
    put,
    runs_on_tensorflow_cpu,
    shelf,
    store,
    take,
    value_of,
    vjp,
    write,
)
from tf_models.networks.residual_vjp import residual_vjp
from tf_models.operators.sense import SenseNormal

if TYPE_CHECKING:
    from tf_models.networks.unrolled import UnrolledNetwork

# What is computed at a time on a CPU, if it is more than one slice.
_CPU_PIXELS = 2**16


def unroll(
    network: UnrolledNetwork, image: Tensor, adjoint: Tensor, coils: Tensor, psf: Tensor, training: bool
) -> tuple[Tensor, list[list[list[Tensor]]]]:
    """Compute all iterations of a network.

    Args:
        network: Gives the blocks and their weights.
        image: Initial image, `(batch, y, x, 2 * maps)`.
        adjoint: A^H y, same shape; a constant to the derivative.
        coils: `(batch, coil, y, x, 2 * maps)`.
        psf: `(batch, y, x)`.
        training: Whether batch norm uses the statistics of the batch.

    Returns:
        The last image, and for each iteration and each batch norm the statistics of the batch; those only in training.
    """
    iterations = network.network.iterations
    lambdas = network.data_consistency.lambdas
    arrays = [value_of(variable) for variable in network.regularizer_arrays()]
    kept = network.stacked_statistics()
    stored = [] if training else kept
    collects = training and bool(kept)
    in_turn = not collects
    whole = None if in_turn else SenseNormal(coils, psf)
    together = max(1, _CPU_PIXELS // (image.shape[1] * image.shape[2])) if runs_on_tensorflow_cpu() else 1
    turns = (ops.shape(image)[0] + together - 1) // together

    def weights_of(iteration: Tensor, arrays: tuple[Tensor, ...]) -> tuple[list[Tensor], Tensor]:
        of_block = [array[_place(array, iteration)] for array in arrays]
        if lambdas is None:
            return of_block, network.data_consistency.weight(0)
        return of_block[1:], of_block[0]

    def regularized(image: Tensor, block: list[Tensor], iteration: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        statistics = [[array[iteration] for array in pair] for pair in stored] or None
        return network.regularized(image, block, statistics)

    def forwards(iteration: Tensor, image: Tensor, arrays: tuple[Tensor, ...]) -> tuple[Tensor, list[list[Tensor]]]:
        block, weight = weights_of(iteration, arrays)
        if whole is not None:
            result, used = regularized(image, block, iteration)
            return network.data_consistency.compute(image, result, adjoint, whole, weight), used

        def one(number: Tensor, results: Tensor) -> Tensor:
            before, constant, *sense = (take(array, number, together) for array in (image, adjoint, coils, psf))
            result, _ = regularized(before, block, iteration)
            after = network.data_consistency.compute(before, result, constant, SenseNormal(*sense), weight)
            return put(results, number, together, after)

        return loop(turns, one, ops.zeros_like(image)), []

    def backwards(
        iteration: Tensor, before: Tensor, after: Tensor, upstream: Tensor, arrays: tuple[Tensor, ...]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients by the image before an iteration and by its weights."""
        block, weight = weights_of(iteration, arrays)

        def part(
            before: Tensor, after: Tensor, upstream: Tensor, constant: Tensor, normal: SenseNormal
        ) -> tuple[Tensor, list[Tensor]]:
            if collects and runs_on_tensorflow_cpu():
                result, product = residual_vjp(network.regularizer, before, *block)
            else:
                function = _first(lambda image, *block: regularized(image, list(block), iteration))
                result, product = vjp(function, before, *block)
            upstream = delay(upstream, result)
            direct, of_result, of_weight = network.data_consistency.gradient(
                before, result, after, upstream, constant, normal, weight
            )
            of_image, *of_block = product(of_result)
            return direct + of_image, of_block if lambdas is None else [of_weight, *of_block]

        if whole is not None:
            return part(before, after, upstream, adjoint, whole)

        def one(number: Tensor, state: tuple[Tensor, list[Tensor]]) -> tuple[Tensor, list[Tensor]]:
            images, sums = state
            *own, constant, own_coils, own_psf = (
                take(array, number, together) for array in (before, after, upstream, adjoint, coils, psf)
            )
            of_image, of_weights = part(own[0], own[1], own[2], constant, SenseNormal(own_coils, own_psf))
            sums = [total + gradient for total, gradient in zip(sums, of_weights, strict=True)]
            return put(images, number, together, of_image), sums

        like = block if lambdas is None else [weight, *block]
        return loop(turns, one, (ops.zeros_like(before), [ops.zeros_like(array) for array in like]))

    @ops.custom_gradient
    def all_iterations(image: Tensor, *arrays: Tensor) -> Any:
        def forth(iteration: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            image, images, *statistics = state
            after, used = forwards(iteration, image, arrays)
            if used:
                flat = ops.concatenate([array for pair in used for array in pair])
                statistics = [write(statistics[0], iteration, flat)]
            return (after, store(images, iteration, image), *statistics)

        images = shelf(iterations, image)
        buffers = [_statistics_buffer(kept, image)] if collects else []
        last, images, *buffers = loop(iterations, forth, (image, images, *buffers))

        def gradient(*arguments: Tensor, upstream: Tensor = None) -> tuple[Tensor, ...]:
            upstream = arguments[0] if upstream is None else upstream
            if collects:
                upstream = _unpack(upstream, last, buffers[0])[0]

            def back(number: Tensor, state: tuple[Any, ...]) -> tuple[Any, ...]:
                after, upstream, sums = state
                iteration = iterations - 1 - number
                before = fetch(images, iteration)
                upstream, gradients = backwards(iteration, before, after, upstream, arrays)
                places = [_place(array, iteration) for array in sums]
                sums = [
                    write(total, place, total[place] + part)
                    for total, place, part in zip(sums, places, gradients, strict=True)
                ]
                return before, upstream, sums

            start = (last, upstream, [ops.zeros_like(array) for array in arrays])
            _, of_image, of_arrays = loop(iterations, back, start)
            return (of_image, *of_arrays)

        return _pack(last, buffers[0]) if collects else last, gradient

    everything = arrays if lambdas is None else [value_of(lambdas), *arrays]
    result = all_iterations(image, *everything)
    if not collects:
        return result, []
    result, flat = _unpack(result, image, _statistics_buffer(kept, image))
    return result, [_split(ops.stop_gradient(flat[iteration]), kept) for iteration in range(iterations)]


def _place(array: Tensor, iteration: Tensor) -> Tensor:
    """Return where an iteration's weights are: all share what is there once."""
    return iteration if array.shape[0] > 1 else 0


def _first(function: Callable[..., tuple[Tensor, Any]]) -> Callable[..., Tensor]:
    return lambda *arguments: function(*arguments)[0]


# PyTorch's custom gradients have one result: images and statistics travel as one vector.


def _pack(image: Tensor, statistics: Tensor) -> Tensor:
    return ops.concatenate([ops.reshape(image, (-1,)), ops.reshape(statistics, (-1,))])


def _unpack(packed: Tensor, image: Tensor, statistics: Tensor) -> tuple[Tensor, Tensor]:
    count = statistics.shape[0] * statistics.shape[1]
    return ops.reshape(packed[:-count], (-1, *image.shape[1:])), ops.reshape(packed[-count:], statistics.shape)


def _statistics_buffer(kept: list[list[Tensor]], image: Tensor) -> Tensor:
    """Make room for statistics of the sizes of those that the network keeps, `(iteration, all of them)`."""
    count = sum(array.shape[1] for pair in kept for array in pair)
    return ops.zeros((kept[0][0].shape[0], count), image.dtype)


def _split(flat: Tensor, kept: list[list[Tensor]]) -> list[list[Tensor]]:
    """Cut the statistics of an iteration into mean and variance of each batch norm."""
    pairs, start = [], 0
    for pair in kept:
        sizes = [array.shape[1] for array in pair]
        ends = [start, start + sizes[0], start + sum(sizes)]
        pairs.append([flat[ends[0] : ends[1]], flat[ends[1] : ends[2]]])
        start = ends[2]
    return pairs
