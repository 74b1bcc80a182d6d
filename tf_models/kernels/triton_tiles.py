"""What the calls of the Triton kernels from JAX and from PyTorch share: tiles, sizes that fit, and sizes of results."""

from __future__ import annotations

from typing import NamedTuple

from tf_models.backend.ops import Tensor

Shape = tuple[int, ...]

# A matrix product with more columns does not fit into the registers of a program.
MOST_FILTERS = 64
# Indices within the kernels have 32 bits.
LARGEST_INDEX = 2**31 - 1

# Of a field of experts. Neighbouring pixels of a line whose patches a program takes together, and pixels of the image
# that `transposed_conv` computes together.
GROUP, GROUP_Y, GROUP_X = 4, 2, 8
# The most Gaussians of a polynomial: with more of them, its powers lose digits.
MOST_TERMS = 6
# Groups, numbers of the reduced axis in a step, warps and stages of each kernel.
TRANSPOSED = {"BM": 64, "BK": 64, "num_warps": 4, "num_stages": 3}
FILTERS = {"BK": 32, "num_warps": 4, "num_stages": 3}
RBF = {"BM": 128, "num_warps": 2, "num_stages": 1}
# Lines of a patch in a program of `filter_gradient`.
FILTER_LINES = 2
FILTER_PROGRAMS, RBF_PROGRAMS = 132, 1056

# Of convolutions of many channels, likewise.
SAME_CONV = {"BM": 128, "num_warps": 4, "num_stages": 2}
KERNEL_GRADIENT = {"BK": 32, "num_warps": 4, "num_stages": 3}
KERNEL_GRADIENT_PROGRAMS = 132


class Halves(NamedTuple):
    """Numbers as `unit * (high + low)`, two arrays of float16 and a power of 2."""

    high: Tensor
    low: Tensor
    unit: Tensor


def experts_fit(shape: Shape, kernel_shape: Shape) -> bool:
    """Return whether the kernels of a field of experts can count all features of the images.

    Args:
        shape: Shape of the images, `(batch, y, x, 2)`.
        kernel_shape: `(y, x, 2, filter)`.
    """
    batch, height, width, channels = shape
    size_y, size_x, _, filters = kernel_shape
    padded = batch * (height + 2 * size_y) * (width + 2 * size_x + patch_line(size_x))
    return padded * max(channels, filters) <= LARGEST_INDEX


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


def convolve(kernel_shape: Shape) -> dict[str, int]:
    """Return groups, warps and stages of a program that convolves with filters `(y, x, 2, filter)` and activates."""
    warps = 4 if kernel_shape[3] <= MOST_FILTERS // 2 else 8
    return {"BM": 64, "num_warps": warps, "num_stages": _stages(kernel_shape)}


def slope(kernel_shape: Shape) -> dict[str, int]:
    """As `convolve`, of the program that multiplies by the slope."""
    return {"BM": 64, "num_warps": 4, "num_stages": _stages(kernel_shape)}


def _stages(kernel_shape: Shape) -> int:
    # Three of many and wide filters do not fit into the shared memory of an H200.
    return 3 if patch_line(kernel_shape[1]) * columns(kernel_shape[3]) < 64 * 64 else 2


def block(basis: int) -> int:
    """Return the Gaussians of a polynomial, about as many in each, so that they lie around its centre."""
    return -(-basis // -(-basis // MOST_TERMS))


def patch_line(size_x: int) -> int:
    """Return the numbers of a line of the patch of a group of pixels, and zeros, for filters of that width."""
    return max(16, power_of_2(2 * (size_x + GROUP - 1)))


def patch_margins(height: int, width: int, kernel_shape: Shape) -> tuple[int, int]:
    """Return the pixels below and to the right of a padded image that the patches of whole groups reach.

    Args:
        height: Pixels along y of the padded image.
        width: Likewise, along x.
        kernel_shape: `(y, x, 2, filter)`.
    """
    size_y, size_x = kernel_shape[:2]
    last_group = round_up(width - size_x + 1, GROUP) - GROUP
    # Lines of whole groups, so that each patch starts at a multiple of a group.
    reached = round_up(max(width, last_group + patch_line(size_x) // 2), GROUP)
    return round_up(size_y, FILTER_LINES) - size_y, reached - width


def features_shape(padded_shape: Shape, kernel_shape: Shape) -> Shape:
    """Return the shape of the valid convolution of a padded image with filters `(y, x, 2, filter)`."""
    batch, height, width, _ = padded_shape
    return batch, height - kernel_shape[0] + 1, width - kernel_shape[1] + 1, kernel_shape[3]


def trial_image(kernel_shape: Shape) -> Shape:
    """Return the shape of a small padded image, of which both convolutions of a field of experts leave some pixels."""
    size_y, size_x = kernel_shape[:2]
    return 1, 2 * size_y, 2 * size_x + 7, 2


def columns(filters: int) -> int:
    """Return the columns of a matrix product for that number of filters."""
    return max(16, power_of_2(filters))


def power_of_2(number: int) -> int:
    """Return the smallest power of 2 that is not smaller."""
    return 1 << (number - 1).bit_length()


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple that is not smaller."""
    return -(-number // multiple) * multiple
