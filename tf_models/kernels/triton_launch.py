"""Starting a Triton kernel on arrays of JAX or PyTorch."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import keras

from tf_models.backend.ops import Tensor
from tf_models.kernels.triton_tiles import Shape


class Result(NamedTuple):
    """An array that a kernel writes."""

    shape: Shape
    dtype: str = "float32"


def launch(
    kernel: str, arrays: list[Tensor], numbers: list[int], results: list[Result], grid: Shape, **constants: int
) -> list[Tensor]:
    """Run a kernel and return the arrays that it has written.

    Args:
        kernel: Module in `tf_models.kernels` and name, `module.function`. Its arguments are the arrays, the numbers,
            the results and the constants, in this order.
        arrays: Its inputs.
        numbers: Sizes and strides; on PyTorch, they may change without a new compilation.
        results: What it writes.
        grid: Number of programs along each axis.
        **constants: What the kernel is compiled for, and `num_warps` and `num_stages`.
    """
    if keras.backend.backend() == "jax":
        import jax

        from tf_models.kernels.triton_call import triton_call

        shapes = [jax.ShapeDtypeStruct(*result) for result in results]
        written: list[Tensor] = list(
            triton_call(*arrays, *numbers, kernel=kernel, out_shape=shapes, grid=grid, **constants)
        )
        return written
    import torch

    module, function = kernel.split(".")
    # Values only: what calls this has a derivative of its own. Kernels take arrays dense in the order of their axes.
    inputs = [array.detach().contiguous() for array in arrays]
    outputs = [
        torch.empty(result.shape, dtype=getattr(torch, result.dtype), device=inputs[0].device) for result in results
    ]
    # Triton takes the current device.
    with torch.cuda.device_of(inputs[0]):
        function = getattr(importlib.import_module(f"tf_models.kernels.{module}"), function)
        function[grid](*inputs, *numbers, *outputs, **constants)
    return outputs
