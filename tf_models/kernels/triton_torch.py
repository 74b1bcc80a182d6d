"""Starting a Triton kernel on arrays of PyTorch."""

from __future__ import annotations

from typing import Any

from tf_models.backend.ops import Tensor
from tf_models.kernels.triton_tiles import Shape


def launch(
    kernel: Any, arrays: list[Tensor], numbers: list[int], shapes: list[Shape], grid: Shape, **constants: int
) -> list[Tensor]:
    """Run a kernel and return the arrays that it has written, in single precision.

    Args:
        kernel: The kernel; its arguments are the arrays, the numbers, the results and the constants, in this order.
        arrays: Its inputs.
        numbers: Sizes and strides that may change without a new compilation.
        shapes: Shapes of the results.
        grid: Number of programs along each axis.
        **constants: What the kernel is compiled for, and `num_warps` and `num_stages`.
    """
    import torch

    # Values only: what calls this has a derivative of its own. Kernels take arrays dense in the order of their axes.
    inputs = [array.detach().contiguous() for array in arrays]
    results = [torch.empty(shape, dtype=torch.float32, device=inputs[0].device) for shape in shapes]
    # Triton takes the current device.
    with torch.cuda.device_of(inputs[0]):
        kernel[grid](*inputs, *numbers, *results, **constants)
    return results
