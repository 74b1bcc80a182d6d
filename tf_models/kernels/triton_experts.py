"""The kernels of `experts_triton` in Triton's language, for one tile of the result each.

Numbers are pairs of halves, see `tf_models.kernels.jax_gpu.halves`; a product of single precision is three of half
precision. A row of a product is GROUP neighbouring pixels of a line, or of several lines. So the patches of a row are
few runs of neighbouring numbers, which it shares between its pixels.

Capital letters are constants when a kernel is compiled: F filters, FP columns of a matrix product (F and zeros), LINE
numbers of a line of a patch and zeros, NB Gaussians, BM rows of the result in a program, BK numbers of the reduced
axis in a step.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, N803

import triton
import triton.language as tl

# log2(e) / 2
HALF_LOG2_E = tl.constexpr(0.7213475204444817)
# Pixels of a row of `convolve_kernel` and `filters_kernel`.
GROUP = tl.constexpr(4)


@triton.jit
def multiply(left_high, left_low, right_high, right_low):
    """Return the product of two matrices in single precision, without what is below its last digit."""
    part = tl.dot(left_low, right_high)
    part = tl.dot(left_high, right_low, part)
    return tl.dot(left_high, right_high, part)


@triton.jit
def from_centre(t, block, NB: tl.constexpr, BLOCK: tl.constexpr):
    """Return t in relation to the centre of a block of Gaussians, see `activation`."""
    unit: tl.constexpr = NB / 2 * HALF_LOG2_E**0.5
    distance: tl.constexpr = 2 * unit / (NB - 1)
    x = t - (block * (BLOCK * distance) + ((BLOCK - 1) / 2 * distance - unit))
    return tl.clamp(x, -9.0, 9.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def activation(z, polynomials, filters, FP: tl.constexpr, NB: tl.constexpr, BLOCK: tl.constexpr, SLOPE: tl.constexpr):
    """Return sum_j w_j g_j(z), or its derivative by z, where g_j = exp(-(z - mu_j)^2 / (2 sigma^2)).

    In units of t = z / sigma sqrt(log2(e) / 2), a Gaussian is 2^(-(t - t_j)^2), and the t_j lie at equal distances d.
    So the n Gaussians of a block, at o_k from its centre, are one of them times powers of another number, and their sum
    is a polynomial:

    ```
    sum_k w_k 2^(-(x - o_k)^2) = 2^(-x^2 - (n - 1) d x) sum_k (w_k 2^(-o_k^2)) r^k,   r = 2^(2 d x)
    ```

    `polynomials` `(blocks * BLOCK, FP)` has w_k 2^(-o_k^2), and behind them come the same times o_k. Far from a block,
    where its sum is below 1e-10 of its weights, x ends at a value at which no power of r is too large for single
    precision.
    """
    unit: tl.constexpr = NB / 2 * HALF_LOG2_E**0.5
    distance: tl.constexpr = 2 * unit / (NB - 1)
    blocks: tl.constexpr = (NB + BLOCK - 1) // BLOCK
    t = z * unit
    total = tl.zeros_like(z)
    for block in range(blocks):
        x = from_centre(t, block, NB, BLOCK)
        ratio = tl.exp2(x * (2 * distance))
        last = polynomials + (block * BLOCK + BLOCK - 1) * FP + filters
        sums = tl.broadcast_to(tl.load(last)[None, :], z.shape)
        if SLOPE:
            behind: tl.constexpr = blocks * BLOCK * FP
            moments = tl.broadcast_to(tl.load(last + behind)[None, :], z.shape)
        for number in tl.static_range(1, BLOCK):
            sums = sums * ratio + tl.load(last - number * FP)[None, :]
            if SLOPE:
                moments = moments * ratio + tl.load(last + behind - number * FP)[None, :]
        gaussian = tl.exp2(-x * (x + (BLOCK - 1) * distance))
        total += gaussian * (moments - x * sums if SLOPE else sums)
    return total * (NB / 2 / HALF_LOG2_E**0.5) if SLOPE else total


@triton.jit
def store_pixel(
    sums, place, exists, polynomials, filters, values, scale, convolved, result_high, result_low,
    F: tl.constexpr, FP: tl.constexpr, NB: tl.constexpr, BLOCK: tl.constexpr, SLOPE: tl.constexpr,
):  # fmt: skip
    """Store what `convolve_kernel` computes for one pixel of each row."""
    tl.store(convolved + place, sums, mask=exists)
    z = tl.load(values + place, mask=exists, other=0.0) if SLOPE else sums
    total = activation(z, polynomials, filters, FP, NB, BLOCK, SLOPE)
    total = (total * sums if SLOPE else total) * scale
    high = total.to(tl.float16)
    tl.store(result_high + place, high, mask=exists)
    tl.store(result_low + place, (total - high.to(tl.float32)).to(tl.float16), mask=exists)


@triton.jit
def convolve_kernel(
    high, low, matrix_high, matrix_low, polynomials, units, values, groups, line_groups, height, width, image_y,
    image_x, convolved, result_high, result_low,
    SIZE_Y: tl.constexpr, LINE: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, NB: tl.constexpr, BLOCK: tl.constexpr,
    SLOPE: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Convolution with filters `(SIZE_Y, GROUP, LINE, FP)`, and its activation or its product with the slope."""
    group = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = tl.minimum(group, groups - 1)
    line = inside // line_groups
    x = inside % line_groups * 4
    start = tl.multiple_of((line // height * image_y + line % height) * image_x * 2 + x * 2, 8)
    k, filters = tl.arange(0, LINE), tl.arange(0, FP)
    patches = start[:, None] + k[None, :]
    weights = k[:, None] * FP + filters[None, :]
    sums_0 = tl.zeros((BM, FP), tl.float32)
    sums_1 = tl.zeros((BM, FP), tl.float32)
    sums_2 = tl.zeros((BM, FP), tl.float32)
    sums_3 = tl.zeros((BM, FP), tl.float32)
    for y in range(SIZE_Y):
        shift = tl.multiple_of(y * image_x * 2, 8)
        left_high, left_low = tl.load(high + shift + patches), tl.load(low + shift + patches)
        at = y * (GROUP * LINE * FP) + weights
        step: tl.constexpr = LINE * FP
        sums_0 += multiply(left_high, left_low, tl.load(matrix_high + at), tl.load(matrix_low + at))
        at += step
        sums_1 += multiply(left_high, left_low, tl.load(matrix_high + at), tl.load(matrix_low + at))
        at += step
        sums_2 += multiply(left_high, left_low, tl.load(matrix_high + at), tl.load(matrix_low + at))
        at += step
        sums_3 += multiply(left_high, left_low, tl.load(matrix_high + at), tl.load(matrix_low + at))
    unit, scale = tl.load(units), tl.load(units + 1)
    for pixel in tl.static_range(GROUP):
        place = (line * width + x + pixel)[:, None] * F + filters[None, :]
        exists = ((group < groups) & (x + pixel < width))[:, None] & (filters < F)[None, :]
        if pixel == 0:
            sums = sums_0
        elif pixel == 1:
            sums = sums_1
        elif pixel == 2:
            sums = sums_2
        else:
            sums = sums_3
        store_pixel(
            sums * unit, place, exists, polynomials, filters, values, scale, convolved, result_high, result_low,
            F, FP, NB, BLOCK, SLOPE,
        )  # fmt: skip


@triton.jit
def transposed_kernel(
    high, low, matrix_high, matrix_low, units, groups, line_groups, height, width, features_y, features_x, pad_y, pad_x,
    result,
    SIZE_Y: tl.constexpr, F: tl.constexpr, ROW: tl.constexpr, GROUP_Y: tl.constexpr, GROUP_X: tl.constexpr,
    BM: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Both channels of GROUP_Y x GROUP_X pixels as a product of the features around them, ROW numbers in a line."""
    group = tl.program_id(0) * BM + tl.arange(0, BM)
    inside = tl.minimum(group, groups - 1)
    x = inside % line_groups * GROUP_X
    lines = (height + GROUP_Y - 1) // GROUP_Y
    y = inside // line_groups % lines * GROUP_Y
    number = inside // line_groups // lines
    columns = tl.arange(0, 2 * GROUP_Y * GROUP_X)
    sums = tl.zeros((BM, 2 * GROUP_Y * GROUP_X), tl.float32)
    for size_y in range(SIZE_Y + GROUP_Y - 1):
        feature_y = y + size_y - pad_y
        start = tl.multiple_of(((number * features_y + feature_y) * features_x + x - pad_x) * F, F & -F)
        in_y = (feature_y >= 0) & (feature_y < features_y)
        for first in range(0, ROW, BK):
            k = first + tl.arange(0, BK)
            column = (x - pad_x)[:, None] + (k // F)[None, :]
            exists = in_y[:, None] & (column >= 0) & (column < features_x)
            place = start[:, None] + k[None, :]
            at = (size_y * ROW + k)[:, None] * (2 * GROUP_Y * GROUP_X) + columns[None, :]
            sums += multiply(
                tl.load(high + place, mask=exists, other=0.0), tl.load(low + place, mask=exists, other=0.0),
                tl.load(matrix_high + at), tl.load(matrix_low + at),
            )  # fmt: skip
    result_y = y[:, None] + (columns // (2 * GROUP_X))[None, :]
    result_x = x[:, None] + (columns // 2 % GROUP_X)[None, :]
    place = ((number[:, None] * height + result_y) * width + result_x) * 2 + (columns % 2)[None, :]
    exists = (group < groups)[:, None] & (result_y < height) & (result_x < width)
    tl.store(result + place, sums * tl.load(units), mask=exists)


@triton.jit
def filters_kernel(
    high, low, features_high, features_low, units, groups, line_groups, height, width, image_y, image_x, tiles, result,
    LINE: tl.constexpr, LINES: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """Sums over the rows of a program of patches by features, `(program, block, GROUP, LINES, LINE, FP)`.

    A block has LINES lines of a patch. There is a sum for each pixel of a row, which the filters take from another
    place of the line.
    """
    k, filters = tl.arange(0, LINES * LINE), tl.arange(0, FP)
    offset = tl.multiple_of((tl.program_id(0) * LINES + k // LINE) * image_x * 2, 8) + k % LINE
    sums_0 = tl.zeros((LINES * LINE, FP), tl.float32)
    sums_1 = tl.zeros((LINES * LINE, FP), tl.float32)
    sums_2 = tl.zeros((LINES * LINE, FP), tl.float32)
    sums_3 = tl.zeros((LINES * LINE, FP), tl.float32)
    for tile in range(tiles):
        group = (tl.program_id(1) * tiles + tile) * BK + tl.arange(0, BK)
        inside = tl.minimum(group, groups - 1)
        line = inside // line_groups
        x = inside % line_groups * 4
        start = tl.multiple_of((line // height * image_y + line % height) * image_x * 2 + x * 2, 8)
        patches = start[:, None] + offset[None, :]
        left_high, left_low = tl.trans(tl.load(high + patches)), tl.trans(tl.load(low + patches))
        for pixel in tl.static_range(GROUP):
            place = (line * width + x + pixel)[:, None] * F + filters[None, :]
            exists = ((group < groups) & (x + pixel < width))[:, None] & (filters < F)[None, :]
            part = multiply(
                left_high, left_low,
                tl.load(features_high + place, mask=exists, other=0.0),
                tl.load(features_low + place, mask=exists, other=0.0),
            )  # fmt: skip
            if pixel == 0:
                sums_0 += part
            elif pixel == 1:
                sums_1 += part
            elif pixel == 2:
                sums_2 += part
            else:
                sums_3 += part
    unit = tl.load(units)
    size: tl.constexpr = LINES * LINE * FP
    place = result + (tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)) * (GROUP * size)
    place += k[:, None] * FP + filters[None, :]
    tl.store(place, sums_0 * unit)
    tl.store(place + size, sums_1 * unit)
    tl.store(place + 2 * size, sums_2 * unit)
    tl.store(place + 3 * size, sums_3 * unit)


@triton.jit
def rbf_kernel(
    values, upstream, pixels, tiles, result,
    F: tl.constexpr, FP: tl.constexpr, NB: tl.constexpr, NBP: tl.constexpr, BLOCK: tl.constexpr, BM: tl.constexpr,
):  # fmt: skip
    """Sums over the pixels of a program of upstream times 2^(o_k^2) times each Gaussian, `(program, NBP, FP)`.

    Those of a block follow from each other by a product, see `activation`.
    """
    filters, numbers = tl.arange(0, FP), tl.arange(0, NBP)
    unit: tl.constexpr = NB / 2 * HALF_LOG2_E**0.5
    distance: tl.constexpr = 2 * unit / (NB - 1)
    sums = tl.zeros((NBP, FP), tl.float32)
    for tile in range(tiles):
        pixel = (tl.program_id(0) * tiles + tile) * BM + tl.arange(0, BM)
        place = pixel[:, None] * F + filters[None, :]
        exists = (pixel < pixels)[:, None] & (filters < F)[None, :]
        t = tl.load(values + place, mask=exists, other=0.0) * unit
        factor = tl.load(upstream + place, mask=exists, other=0.0)
        for block in range((NB + BLOCK - 1) // BLOCK):
            x = from_centre(t, block, NB, BLOCK)
            ratio = tl.exp2(x * (2 * distance))
            part = tl.exp2(-x * (x + (BLOCK - 1) * distance)) * factor
            for number in tl.static_range(BLOCK):
                total = tl.sum(part, axis=0)
                sums += tl.where((numbers == block * BLOCK + number)[:, None], total[None, :], 0.0)
                part = part * ratio
    tl.store(result + (tl.program_id(0) * NBP + numbers)[:, None] * FP + filters[None, :], sums)
