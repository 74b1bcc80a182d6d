"""The kernels of `convolution_jax_gpu` in Triton's language, for one tile of the result each.

Capital letters are constants when a kernel is compiled: C channels, F filters, BM rows of the result in a program, BK
rows of the reduced axis in a step. A product of single precision is three of half precision.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl


@triton.jit
def same_conv_kernel(
    high, low, matrix_high, matrix_low, units, first, rows, height, width, result,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, C: tl.constexpr, F: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Convolution of features with a margin of zeros, one product for each tap of the filters `(tap, C, F)`.

    Rows are the pixels with their margin, so that a tap is a distance that all of them share. Features and filters are
    pairs of halves, see `tf_models.kernels.jax_gpu.halves`.
    """
    row = first + tl.program_id(0) * BM + tl.arange(0, BM)
    line = width + SIZE_X - 1
    channels, filters = tl.arange(0, C), tl.arange(0, F)
    start = tl.minimum(row, first + rows - 1)[:, None] * C + channels[None, :]
    weights = channels[:, None] * F + filters[None, :]
    sums = tl.zeros((BM, F), tl.float32)
    for tap in range(SIZE_Y * SIZE_X):
        shift = ((tap // SIZE_X - SIZE_Y // 2) * line + tap % SIZE_X - SIZE_X // 2) * C
        left_low, left_high = tl.load(low + shift + start), tl.load(high + shift + start)
        right_high = tl.load(matrix_high + tap * (C * F) + weights)
        right_low = tl.load(matrix_low + tap * (C * F) + weights)
        part = tl.dot(left_low, right_high)
        part = tl.dot(left_high, right_low, part)
        # Added outside of the tensor cores, which round sums towards zero.
        sums += tl.dot(left_high, right_high, part)
    sums = sums * tl.load(units) * tl.load(units + 1)
    lines = height + SIZE_Y - 1
    x, y = row % line - SIZE_X // 2, (row // line) % lines - SIZE_Y // 2
    exists = (row < first + rows) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = (((row // (line * lines)) * height + y) * width + x)[:, None] * F + filters[None, :]
    tl.store(result + place, sums, mask=exists[:, None])


@triton.jit
def kernel_gradient_kernel(
    high, low, upstream_high, upstream_low, units, first, rows, width, tiles, result,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, C: tl.constexpr, F: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Sums over the rows of a program of shifted features by upstream, `(program, SIZE_Y * SIZE_X, C, F)`.

    Both have a margin of zeros and are pairs of halves. A program has one tap of the filters, or three neighbours along
    x, if SIZE_X is 3.
    """
    taps: tl.constexpr = 3 if SIZE_X == 3 else 1
    program, tap = tl.program_id(0), tl.program_id(1) * taps
    shift = ((tap // SIZE_X - SIZE_Y // 2) * (width + SIZE_X - 1) + tap % SIZE_X - SIZE_X // 2) * C
    channels, filters = tl.arange(0, C), tl.arange(0, F)
    sums = tl.zeros((C, F), tl.float32)
    sums_1 = tl.zeros((C, F), tl.float32)
    sums_2 = tl.zeros((C, F), tl.float32)
    for tile in range(tiles):
        row = first + (program * tiles + tile) * BK + tl.arange(0, BK)
        exists = (row < first + rows)[:, None]
        place = row[:, None] * F + filters[None, :]
        right_high = tl.load(upstream_high + place, mask=exists, other=0.0)
        right_low = tl.load(upstream_low + place, mask=exists, other=0.0)
        start = tl.minimum(row, first + rows - 1)[:, None] * C + channels[None, :]
        for number in tl.static_range(taps):
            left_high = tl.trans(tl.load(high + shift + number * C + start))
            left_low = tl.trans(tl.load(low + shift + number * C + start))
            part = tl.dot(left_low, right_high)
            part = tl.dot(left_high, right_low, part)
            part = tl.dot(left_high, right_high, part)
            if number == 0:
                sums += part
            elif number == 1:
                sums_1 += part
            else:
                sums_2 += part
    place = result + (program * (SIZE_Y * SIZE_X) + tap) * (C * F) + channels[:, None] * F + filters[None, :]
    unit, unit_upstream = tl.load(units), tl.load(units + 1)
    tl.store(place, sums * unit * unit_upstream)
    if taps == 3:
        tl.store(place + C * F, sums_1 * unit * unit_upstream)
        tl.store(place + 2 * C * F, sums_2 * unit * unit_upstream)
