"""`torch.compile` for single functions, so that their elementwise operations are one pass over the arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from tf_models.backend import fallback
from tf_models.backend.devices import runs_on_torch_gpu
from tf_models.backend.exporting import is_exporting

# Tensors in lists, tuples and dictionaries, as Keras passes them.
Function = Callable[..., Any]

_MOST_SHAPES = 64


def compiled_on_torch_gpu(function: Function) -> Function:
    """Compile a function for PyTorch on a GPU, without a derivative; elsewhere, return what it returns uncompiled.

    TensorFlow and JAX compile whole steps, which `torch.compile` does not with Keras's layers in them.
    """

    @cache
    def compiled() -> Function:
        return _compiled_by_torch(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return (compiled() if runs_on_torch_gpu() and not _is_compiling() and not is_exporting() else function)(
            *arguments
        )

    return call


def _is_compiling() -> bool:
    """Return whether PyTorch compiles the caller, with this function in it."""
    import torch

    return torch.compiler.is_compiling()


def _compiled_by_torch(function: Function) -> Function:
    """Return the compiled function; if it does not compile, say so in one line and go on with the function itself."""
    import torch

    # By default PyTorch compiles a function for eight shapes, then no more.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_SHAPES)
    compiled = torch.compile(function, fullgraph=True, dynamic=False)
    # Whether it compiles, once that is known.
    works: list[bool] = []

    def call(*arguments: Any) -> Any:
        if works == [False]:
            return function(*arguments)
        try:
            with warnings.catch_warnings():
                # PyTorch warns of caches within Keras.
                warnings.simplefilter("ignore")
                result = compiled(*arguments)
        except torch.cuda.OutOfMemoryError:
            raise
        # Whatever goes wrong in compilers and drivers, the function itself does the work.
        except Exception as error:  # noqa: BLE001
            if not works:
                works.append(False)
                name = function.__name__.strip("_")
                fallback.report(f"torch.compile does not compile {name}; it runs without, more slowly", error)
            # Else PyTorch compiles no more than a few sizes.
            return function(*arguments)
        if not works:
            works.append(True)
        return result

    return call
