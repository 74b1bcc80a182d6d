"""The kernels of `normalization_jax_gpu` in Triton's language: sums over the pixels of a program for each channel.

Capital letters are constants when a kernel is compiled: C channels, BM pixels in a step.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl


@triton.jit
def statistics_kernel(features, pixels, tiles, result, C: tl.constexpr, BM: tl.constexpr):
    """Mean of each channel and sum of the squared distances from it, `(program, 2, C)`."""
    channels = tl.arange(0, C)
    mean, squares = tl.zeros((C,), tl.float32), tl.zeros((C,), tl.float32)
    count = 0.0
    for tile in range(tiles):
        start = (tl.program_id(0) * tiles + tile) * BM
        pixel = start + tl.arange(0, BM)
        exists = (pixel < pixels)[:, None]
        values = tl.load(features + pixel[:, None] * C + channels[None, :], mask=exists, other=0.0)
        more = tl.minimum(tl.maximum(pixels - start, 0), BM).to(tl.float32)
        tile_mean = tl.sum(values, axis=0) / tl.maximum(more, 1.0)
        distance = tl.where(exists, values - tile_mean[None, :], 0.0)
        # Chan, Golub and LeVeque (1983): the sums of two sets from those of each.
        apart = tile_mean - mean
        share = more / tl.maximum(count + more, 1.0)
        squares += tl.sum(distance * distance, axis=0) + apart * apart * (count * share)
        mean += apart * share
        count += more
    place = result + tl.program_id(0) * (2 * C) + channels
    tl.store(place, mean)
    tl.store(place + C, squares)


@triton.jit
def upstream_kernel(
    upstream, features, affine, pixels, tiles, result, C: tl.constexpr, RECTIFY: tl.constexpr, BM: tl.constexpr
):
    """Sums of the gradient, where the result is positive, and of its product with the normalized features.

    `affine` are mean, scale and bias, `(3, C)`; the result is `(program, 2, C)`.
    """
    channels = tl.arange(0, C)
    mean, scale, bias = tl.load(affine + channels), tl.load(affine + C + channels), tl.load(affine + 2 * C + channels)
    sums, products = tl.zeros((BM, C), tl.float32), tl.zeros((BM, C), tl.float32)
    for tile in range(tiles):
        pixel = (tl.program_id(0) * tiles + tile) * BM + tl.arange(0, BM)
        exists = (pixel < pixels)[:, None]
        place = pixel[:, None] * C + channels[None, :]
        gradient = tl.load(upstream + place, mask=exists, other=0.0)
        normalized = (tl.load(features + place, mask=exists, other=0.0) - mean[None, :]) * scale[None, :]
        if RECTIFY:
            gradient = tl.where(normalized + bias[None, :] > 0, gradient, 0.0)
        sums += gradient
        products += gradient * normalized
    place = result + tl.program_id(0) * (2 * C) + channels
    tl.store(place, tl.sum(sums, axis=0))
    tl.store(place + C, tl.sum(products, axis=0))
