"""The kernels of `experts_jax_gpu` and `convolution_jax_gpu` in Triton's language, for one tile of the result each.

Capital letters are constants when a kernel is compiled: C channels, F filters, FP columns of a matrix product (F and
zeros), NB Gaussians, BM rows of the result in a program, BK values of the reduced axis in a step. Products are three of
TF32, or of half precision in the last two kernels.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl

# log2(e) / 2
HALF_LOG2_E = tl.constexpr(0.7213475204444817)


@triton.jit
def convolve_kernel(
    image, matrix, weights, values, pixels, height, width, image_y, image_x, convolved, result,
    K: tl.constexpr, LINE: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, NB: tl.constexpr, SLOPE: tl.constexpr,
    BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Convolution as a product of patches `(pixel, K)` by filters `(K, FP)`; a line of a patch has LINE values."""
    pixel = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = tl.minimum(pixel, pixels - 1)
    row = inside // width
    start = ((row // height) * image_y + row % height) * image_x * 2 + (inside % width) * 2
    filters = tl.arange(0, FP)
    sums = tl.zeros((BM, FP), tl.float32)
    for first in range(0, K, BK):
        k = first + tl.arange(0, BK)
        # Behind the last value of a patch, the filters are 0.
        offset = tl.where(k < K, (k // LINE) * (image_x * 2) + k % LINE, 0)
        patches = tl.load(image + start[:, None] + offset[None, :])
        sums = tl.dot(patches, tl.load(matrix + k[:, None] * FP + filters[None, :]), sums, input_precision="tf32x3")
    place = pixel[:, None] * F + filters[None, :]
    exists = (pixel < pixels)[:, None] & (filters < F)[None, :]
    tl.store(convolved + place, sums, mask=exists)
    # In units of t = (z - mu) / sigma sqrt(log2(e) / 2), a Gaussian is 2^(-t^2).
    unit: tl.constexpr = NB / 2 * HALF_LOG2_E**0.5
    z = (tl.load(values + place, mask=exists, other=0.0) if SLOPE else sums) * unit
    total = tl.zeros((BM, FP), tl.float32)
    for number in range(NB):
        distance = z - (number * (2.0 / (NB - 1)) - 1.0) * unit
        weight = tl.load(weights + number * F + filters, mask=filters < F, other=0.0)
        part = tl.exp2(-distance * distance) * weight[None, :]
        total += part * distance if SLOPE else part
    if SLOPE:
        total = total * sums * (-(NB / 2) / HALF_LOG2_E**0.5)
    tl.store(result + place, total, mask=exists)


@triton.jit
def transposed_kernel(
    features, matrix, rows, height, groups, width, features_y, features_x, pad_y, pad_x, result,
    SIZE_Y: tl.constexpr, F: tl.constexpr, ROW: tl.constexpr, GROUP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Both channels of GROUP neighbouring pixels as a product of the features around them, ROW values in a line."""
    group = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = tl.minimum(group, rows - 1)
    line = inside // groups
    x = (inside % groups) * GROUP
    y = line % height - pad_y
    columns = tl.arange(0, 2 * GROUP)
    sums = tl.zeros((BM, 2 * GROUP), tl.float32)
    for size_y in range(SIZE_Y):
        start = (((line // height) * features_y + y + size_y) * features_x + x - pad_x) * F
        in_y = (y + size_y >= 0) & (y + size_y < features_y)
        for first in range(0, ROW, BK):
            k = first + tl.arange(0, BK)
            column = (x - pad_x)[:, None] + (k // F)[None, :]
            exists = in_y[:, None] & (column >= 0) & (column < features_x)
            values = tl.load(features + start[:, None] + k[None, :], mask=exists, other=0.0)
            weights = tl.load(matrix + (size_y * ROW + k)[:, None] * (2 * GROUP) + columns[None, :])
            sums = tl.dot(values, weights, sums, input_precision="tf32x3")
    place = (line * width + x)[:, None] * 2 + columns[None, :]
    exists = (group < rows)[:, None] & (x[:, None] + (columns // 2)[None, :] < width)
    tl.store(result + place, sums, mask=exists)


@triton.jit
def filters_kernel(
    image, features, pixels, height, width, image_y, image_x, tiles, rows, result,
    K: tl.constexpr, LINE: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Sums over the pixels of a program of patches by features, `(program, rows, FP)`."""
    program = tl.program_id(0)
    k = tl.program_id(1) * BM + tl.arange(0, BM)
    offset = tl.where(k < K, (k // LINE) * (image_x * 2) + k % LINE, 0)
    filters = tl.arange(0, FP)
    sums = tl.zeros((BM, FP), tl.float32)
    for tile in range(tiles):
        pixel = (program * tiles + tile) * BK + tl.arange(0, BK)
        inside = tl.minimum(pixel, pixels - 1)
        row = inside // width
        start = ((row // height) * image_y + row % height) * image_x * 2 + (inside % width) * 2
        patches = tl.load(image + start[:, None] + offset[None, :])
        exists = (pixel < pixels)[:, None] & (filters < F)[None, :]
        values = tl.load(features + pixel[:, None] * F + filters[None, :], mask=exists, other=0.0)
        sums = tl.dot(tl.trans(patches), values, sums, input_precision="tf32x3")
    tl.store(result + (program * rows + k)[:, None] * FP + filters[None, :], sums)


@triton.jit
def rbf_kernel(
    values, upstream, pixels, tiles, result,
    F: tl.constexpr, FP: tl.constexpr, NB: tl.constexpr, NBP: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Sums over the pixels of a program of upstream times each Gaussian, `(program, NBP, FP)`."""
    filters, numbers = tl.arange(0, FP), tl.arange(0, NBP)
    unit: tl.constexpr = NB / 2 * HALF_LOG2_E**0.5
    sums = tl.zeros((NBP, FP), tl.float32)
    for tile in range(tiles):
        pixel = (tl.program_id(0) * tiles + tile) * BM + tl.arange(0, BM)
        place = pixel[:, None] * F + filters[None, :]
        exists = (pixel < pixels)[:, None] & (filters < F)[None, :]
        z = tl.load(values + place, mask=exists, other=0.0) * unit
        factor = tl.load(upstream + place, mask=exists, other=0.0)
        for number in range(NB):
            distance = z - (number * (2.0 / (NB - 1)) - 1.0) * unit
            part = tl.sum(tl.exp2(-distance * distance) * factor, axis=0)
            sums += tl.where((numbers == number)[:, None], part[None, :], 0.0)
    tl.store(result + (tl.program_id(0) * NBP + numbers)[:, None] * FP + filters[None, :], sums)


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
