"""What the calls of the Triton kernels from JAX and from PyTorch share: tiles, sizes that fit, and sizes of results."""

from __future__ import annotations

Shape = tuple[int, ...]

# A matrix product with more columns does not fit into the registers of a program.
MOST_FILTERS = 64
# Indices within the kernels have 32 bits.
LARGEST_INDEX = 2**31 - 1

# Of a field of experts. Pixels that a program computes, along x in `transposed_conv`.
GROUP = 8
# Pixels, values of the reduced axis in a step, warps and stages of each kernel; the fastest of those tried on an H200.
CONVOLVE = {"BM": 128, "BK": 32, "num_warps": 4, "num_stages": 1}
SLOPE = {"BM": 128, "BK": 32, "num_warps": 4, "num_stages": 1}
TRANSPOSED = {"BM": 64, "BK": 32, "num_warps": 2, "num_stages": 3}
FILTERS = {"BM": 128, "BK": 32, "num_warps": 4, "num_stages": 3}
RBF = {"BM": 64, "num_warps": 2, "num_stages": 1}
FILTER_PROGRAMS, RBF_PROGRAMS = 1056, 2112

# Of convolutions of many channels, likewise.
SAME_CONV = {"BM": 128, "num_warps": 4, "num_stages": 2}
KERNEL_GRADIENT = {"BK": 32, "num_warps": 4, "num_stages": 3}
KERNEL_GRADIENT_PROGRAMS = 132


def same_conv_fits(shape: Shape, kernel_shape: Shape) -> bool:
    """Return whether the kernels can compute a convolution and its derivative.

    Args:
        shape: Shape of the features, `(batch, y, x, channels)`.
        kernel_shape: `(y, x, channels, filters)`.
    """
    sizes = kernel_shape[2:]
    if any(size not in (16, 32, 64) for size in sizes):
        return False
    padded = shape[0] * (shape[1] + kernel_shape[0]) * (shape[2] + kernel_shape[1]) * max(sizes)
    return padded <= LARGEST_INDEX


def same_conv_layout(shape: Shape, size: tuple[int, int]) -> Shape:
    """Return batch, height, width, the first pixel inside of the margin, and the pixels from there to the last one.

    Args:
        shape: Shape of the features with the margin that filters of a size need, `(batch, y, x, channels)`.
        size: Size of the filters, y and x.
    """
    batch, lines, line = shape[:3]
    first = (size[0] // 2) * line + size[1] // 2
    return batch, lines - size[0] + 1, line - size[1] + 1, first, batch * lines * line - 2 * first


def features_shape(padded_shape: Shape, kernel_shape: Shape) -> Shape:
    """Return the shape of the valid convolution of a padded image with filters `(y, x, 2, filter)`."""
    batch, height, width, _ = padded_shape
    return batch, height - kernel_shape[0] + 1, width - kernel_shape[1] + 1, kernel_shape[3]


def columns(filters: int) -> int:
    """Return the columns of a matrix product for that number of filters."""
    return max(16, power_of_2(filters))


def power_of_2(number: int) -> int:
    """Return the smallest power of 2 that is not smaller."""
    return 1 << (number - 1).bit_length()


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple that is not smaller."""
    return -(-number // multiple) * multiple
