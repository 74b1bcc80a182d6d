"""PyTorch's compiler for single functions, so that their elementwise operations are one pass over the arrays.

`torch.compile` takes 40 microseconds to find what it has compiled, which is as long as a kernel of a small image takes,
and a step of MoDL has hundreds of such calls. Its compiler itself, TorchInductor, takes 12 for the same function.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache, wraps
from itertools import repeat
from typing import Any

from tf_models.backend import fallback
from tf_models.backend.devices import runs_on_torch_gpu
from tf_models.backend.exporting import is_exporting

# Tensors in lists and tuples, and constants.
Function = Callable[..., Any]

_MOST_SHAPES = 64
_TRACED = threading.local()
_COMPILING = threading.Lock()
# Stands for a tensor that is not there yet.
_ANY_TENSOR = object()


def compiled_on_torch_gpu(function: Function) -> Function:
    """Compile a function for PyTorch on a GPU, without a derivative; elsewhere, return what it returns uncompiled.

    It is compiled for each shape, order of memory and type of the arrays, and for each value of other arguments.
    TensorFlow and JAX compile whole steps, which `torch.compile` does not with Keras's layers in them.

    Args:
        function: Takes tensors, lists and tuples of them, and hashable constants; returns a tensor or a tuple of them.
    """

    @cache
    def compiled() -> Function:
        return _Compiled(function)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        return (compiled() if runs_on_torch_gpu() and not _is_compiling() and not is_exporting() else function)(
            *arguments
        )

    return call


def _is_compiling() -> bool:
    """Return whether PyTorch compiles the caller, with this function in it."""
    import torch

    return getattr(_TRACED, "active", False) or torch.compiler.is_compiling()


class _Compiled:
    """A function for each shape; if it does not compile, one line says so and the function itself does the work."""

    def __init__(self, function: Function) -> None:
        self._function, self._works = function, True
        self._versions: dict[Hashable, Function] = {}

    def __call__(self, *arguments: Any) -> Any:
        tensors: list[Any] = []
        key = _collect(arguments, tensors)
        version = self._versions.get(key) or self._new_version(key, arguments, tensors)
        return version(*tensors)

    def _new_version(self, key: Hashable, arguments: tuple[Any, ...], tensors: list[Any]) -> Function:
        # PyTorch computes derivatives in a thread of its own.
        with _COMPILING:
            version = self._versions.get(key)
            if version is None and self._works and len(self._versions) < _MOST_SHAPES:
                version = self._versions[key] = self._compile(arguments, tensors)
        return version or self._uncompiled(arguments)

    def _compile(self, arguments: tuple[Any, ...], tensors: list[Any]) -> Function:
        import torch

        try:
            with warnings.catch_warnings(), torch.no_grad():
                # PyTorch warns of its own modules.
                warnings.simplefilter("ignore")
                version = _compile(self._function, arguments, tensors)
                # Kernels are compiled when they run.
                version(*tensors)
        except torch.cuda.OutOfMemoryError:
            raise
        # Whatever goes wrong in compilers and drivers, the function itself does the work.
        except Exception as error:  # noqa: BLE001
            self._works = False
            name = self._function.__name__.strip("_")
            fallback.report(f"PyTorch does not compile {name}; it runs without, more slowly", error)
            return self._uncompiled(arguments)
        return version

    def _uncompiled(self, arguments: tuple[Any, ...]) -> Function:
        constants = _replace(arguments, repeat(_ANY_TENSOR))
        return lambda *tensors: self._function(*_replace(constants, iter(tensors)))


def _compile(function: Function, arguments: tuple[Any, ...], tensors: list[Any]) -> Function:
    """Return a function from the tensors in the arguments alone to the result."""
    from torch import _inductor as inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    constants = _replace(arguments, repeat(_ANY_TENSOR))
    is_single: list[bool] = []

    def flat(*tensors: Any) -> tuple[Any, ...]:
        result = function(*_replace(constants, iter(tensors)))
        is_single.append(not isinstance(result, tuple))
        return (result,) if is_single[-1] else result

    _TRACED.active = True
    try:
        graph = make_fx(flat, tracing_mode="fake")(*[tensor.detach() for tensor in tensors])
    finally:
        _TRACED.active = False
    compiled = inductor.compile(graph, [tensor.detach() for tensor in tensors])
    return (lambda *tensors: compiled(*tensors)[0]) if is_single[-1] else lambda *tensors: tuple(compiled(*tensors))


def _collect(arguments: Sequence[Any], tensors: list[Any]) -> Hashable:
    """Append the tensors in the arguments, and return what a function is compiled for."""
    import torch

    key: list[Hashable] = []
    for argument in arguments:
        if isinstance(argument, torch.Tensor):
            tensors.append(argument)
            key.append((argument.shape, argument.stride(), argument.dtype, argument.device))
        elif isinstance(argument, list | tuple):
            key.append(_collect(argument, tensors))
        else:
            # 2 == 2.0 == True
            key.append((type(argument), argument))
    return tuple(key)


def _replace(arguments: Sequence[Any], tensors: Iterator[Any]) -> tuple[Any, ...]:
    """Return the arguments with other tensors, in the order of `_collect`; lists become tuples."""
    import torch

    def replaced(argument: Any) -> Any:
        if isinstance(argument, torch.Tensor) or argument is _ANY_TENSOR:
            return next(tensors)
        return _replace(argument, tensors) if isinstance(argument, list | tuple) else argument

    return tuple(map(replaced, arguments))
