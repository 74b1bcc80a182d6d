"""CUDA graphs for PyTorch: a GPU gets all kernels of a function in one call, instead of one by one from Python.

A step of MoDL of the published size keeps an H200 busy for 0.13 s, and Python needs longer than that to start its
kernels.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, TypeAlias

from tf_models.backend import fallback
from tf_models.backend.exporting import is_exporting
from tf_models.backend.ops import Tensor

# Takes arrays and constants, and starts the same kernels for each call with arrays of these shapes.
Function: TypeAlias = Callable[..., Tensor]
# What starts a recorded function, and the array that it writes each time.
Recording: TypeAlias = tuple[Callable[[], None], Tensor]

# Shapes that are kept: those of batches in training and in validation, and of the last batch of each. With more, a
# step records one graph in the time of some of its twenty solves, and starts it for the others.
_MOST_GRAPHS = 4
# Numbers in all arrays: twice those of ten slices of MoDL's published data. With more, a GPU takes longer than Python,
# and the arrays of a graph take memory that nothing else can use.
_MOST_NUMBERS = 2**25


def record_on_gpu(compute: Callable[[], Tensor]) -> Recording:
    """Record the kernels that a function starts on the current device, without running them."""
    import torch

    stream, pool = _stream_and_pool(torch.cuda.current_device())
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        # Other threads may go on to allocate.
        graph.capture_begin(pool, capture_error_mode="thread_local")
        try:
            result = compute()
        except Exception:
            # The failed graph may have taken the shared memory with it.
            _stream_and_pool.cache_clear()
            with suppress(RuntimeError):
                graph.capture_end()
            raise
        graph.capture_end()
    return graph.replay, result


@cache
def _stream_and_pool(device: int) -> tuple[Any, Any]:
    """Return the stream on which graphs are recorded and the memory that they share, which is bound to the stream."""
    import torch

    return torch.cuda.Stream(device), torch.cuda.graph_pool_handle()


class _Graph:
    """A function on arrays of its own, recorded once."""

    def __init__(
        self,
        record: Callable[[Callable[[], Tensor]], Recording],
        function: Function,
        arrays: Sequence[Tensor],
        constants: tuple[Hashable, ...],
    ) -> None:
        import torch

        self._inputs = [torch.empty_like(array) for array in arrays]
        self._copy(arrays)
        # What compiles or allocates at its first call cannot be recorded.
        function(self._inputs, *constants)
        self._replay, self._result = record(lambda: function(self._inputs, *constants))

    def __call__(self, arrays: Sequence[Tensor]) -> Tensor:
        self._copy(arrays)
        self._replay()
        # The next call overwrites it.
        return self._result.clone()

    def _copy(self, arrays: Sequence[Tensor]) -> None:
        for own, array in zip(self._inputs, arrays, strict=True):
            own.copy_(array)


class Graphs:
    """Recorded functions, each for arrays of some shapes; the ones that were used last are kept.

    All graphs share the memory of their intermediate results, because they run one after the other: on the device's
    default stream alone.

    Args:
        record: Records a function without arguments. Defaults to `record_on_gpu`.
        most: The largest number of graphs, at least 1. Defaults to 4.

    Attributes:
        works: Whether functions are recorded. The first one that cannot be is reported in one line; this and all later
            ones run without graphs.
    """

    def __init__(
        self, record: Callable[[Callable[[], Tensor]], Recording] = record_on_gpu, most: int = _MOST_GRAPHS
    ) -> None:
        self.works = True
        self._record, self._most = record, most
        self._graphs: dict[Hashable, _Graph] = {}
        # PyTorch computes derivatives in a thread of its own.
        self._lock = threading.Lock()

    def run(self, function: Function, arrays: Sequence[Tensor], *constants: Hashable) -> Tensor:
        """Return `function(arrays, *constants)`, an array of its own, without a derivative.

        Args:
            function: Starts the same kernels for all arrays of some shapes, and waits for none of their results.
            arrays: On one device.
            *constants: What else the function takes.
        """
        import torch

        with torch.no_grad(), self._lock:
            graph = self._graph(function, arrays, constants) if self.works else None
            if graph is not None:
                return graph(arrays)
        return function(arrays, *constants)

    def _graph(self, function: Function, arrays: Sequence[Tensor], constants: tuple[Hashable, ...]) -> _Graph | None:
        """Return the graph for these arguments, or None if they cannot be recorded."""
        # Also the types of constants: 2 == 2.0 == True.
        key = function, *((type(constant), constant) for constant in constants)
        key += tuple((array.shape, array.stride(), array.dtype, array.device) for array in arrays)
        graph = self._graphs.pop(key, None)
        if graph is None:
            try:
                graph = _Graph(self._record, function, arrays, constants)
            # Whatever goes wrong in drivers, or if memory is short: the function does the work without.
            except Exception as error:  # noqa: BLE001
                self.works = False
                self._graphs.clear()
                fallback.report("CUDA graphs do not work here; conjugate gradients run without, more slowly", error)
                return None
        # The last one is the one that was used last. Others go when it is there, so that the shared memory stays.
        self._graphs[key] = graph
        while len(self._graphs) > self._most:
            del self._graphs[next(iter(self._graphs))]
        return graph


_GRAPHS = Graphs()


def run(function: Function, arrays: Sequence[Tensor], *constants: Hashable) -> Tensor:
    """Return `function(arrays, *constants)`: as a graph on a GPU, if the arrays are not too large; see `Graphs.run`."""
    return _GRAPHS.run(function, arrays, *constants) if _pays(arrays) else function(arrays, *constants)


def _pays(arrays: Sequence[Tensor]) -> bool:
    import torch

    device = arrays[0].device
    if device.type != "cuda" or sum(array.numel() for array in arrays) > _MOST_NUMBERS:
        return False
    # Arrays of inference mode may not be written outside of it, as a graph's own are.
    if is_exporting() or torch.compiler.is_compiling() or torch.is_inference_mode_enabled():
        return False
    # Streams of a caller's own, and his graphs, would not wait for the shared memory.
    return device.index == torch.cuda.current_device() and torch.cuda.current_stream() == torch.cuda.default_stream()
