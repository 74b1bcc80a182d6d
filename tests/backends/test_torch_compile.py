"""Functions that PyTorch compiles on a GPU. Here a CPU traces them as a GPU does; what it traces runs uncompiled."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import keras
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="needs KERAS_BACKEND=torch")


@pytest.fixture
def compiled(monkeypatch):
    """The decorator, and how many times something was compiled with it."""
    from torch import _inductor as inductor

    from tf_models.backend import torch_compile

    graphs = []
    monkeypatch.setattr(torch_compile, "runs_on_torch_gpu", lambda: True)
    if not torch.cuda.is_available():
        monkeypatch.setattr(inductor, "compile", lambda graph, inputs: graphs.append(graph) or graph)
    else:
        compile_graph = inductor.compile
        monkeypatch.setattr(
            inductor, "compile", lambda graph, inputs: graphs.append(graph) or compile_graph(graph, inputs)
        )
    return torch_compile.compiled_on_torch_gpu, graphs


def numbers(*shape, seed=0):
    return keras.ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def mixed(factor, arrays, pair):
    """Take a constant, and tensors in a list and in a tuple with another constant."""
    first, second = arrays
    third, exponent = pair
    return factor * first + second, third**exponent


def test_structures_and_constants_are_those_of_each_call(compiled):
    decorate, graphs = compiled
    function = decorate(mixed)
    for factor, exponent in [(2, 2), (3, 2), (2, 3)]:
        for seed in range(2):
            arrays = [numbers(4, seed=3 * seed + number) for number in range(3)]
            results = function(factor, arrays[:2], (arrays[2], exponent))
            assert isinstance(results, tuple)
            for result, expected in zip(results, mixed(factor, arrays[:2], (arrays[2], exponent)), strict=True):
                torch.testing.assert_close(result, expected)
    assert len(graphs) == 3


def test_each_shape_order_and_type_is_compiled_once(compiled):
    decorate, graphs = compiled
    function, array = decorate(lambda array: array.sum(0)), numbers(4, 4)
    for values in (array, array[:2], array.mT, array.double(), array + 1):
        torch.testing.assert_close(function(values), values.sum(0))
    assert len(graphs) == 4


def test_constants_of_other_types_are_others(compiled):
    decorate, graphs = compiled
    function, array = decorate(lambda array, factor: array * factor), torch.arange(3)
    for factor in (2, 2.0, True, 1):
        assert function(array, factor).dtype == (array * factor).dtype
    assert len(graphs) == 4


def test_more_shapes_than_are_kept_run_uncompiled(compiled, monkeypatch):
    from tf_models.backend import torch_compile

    monkeypatch.setattr(torch_compile, "_MOST_SHAPES", 2)
    decorate, graphs = compiled
    inner = decorate(lambda array: array + 1)
    function = decorate(lambda array: 2 * inner(array))
    for size in (1, 2, 3, 4, 1):
        torch.testing.assert_close(function(numbers(size)), 2 * (numbers(size) + 1))
    # The last two are uncompiled, and what they call is compiled.
    assert [len(graph.graph.nodes) for graph in graphs] == [4, 4, 3, 3]


@pytest.mark.parametrize("inference_first", [False, True])
def test_inference_mode_shares_what_is_compiled(inference_first, compiled, capsys):
    decorate, graphs = compiled
    function = decorate(lambda array: 2 * array)
    for inference in (inference_first, not inference_first):
        with torch.inference_mode(inference):
            torch.testing.assert_close(function(numbers(3)), 2 * numbers(3))
    assert len(graphs) == 1
    assert not capsys.readouterr().err


def test_threads_compile_a_function_once(compiled, capsys):
    decorate, graphs = compiled
    together = Barrier(4)

    @decorate
    def doubled(array):
        time.sleep(0.05)
        return 2 * array

    def compute(_):
        together.wait()
        return doubled(numbers(3))

    with ThreadPoolExecutor(4) as threads:
        for result in threads.map(compute, range(4)):
            torch.testing.assert_close(result, 2 * numbers(3))
    assert len(graphs) == 1
    assert not capsys.readouterr().err


def test_an_array_that_comes_twice_may_be_two_arrays_later(compiled):
    decorate, graphs = compiled
    function = decorate(lambda first, second: first - 2 * second)
    first, second = numbers(3), numbers(3, seed=1)
    torch.testing.assert_close(function(first, first), -first)
    torch.testing.assert_close(function(first, second), first - 2 * second)
    assert len(graphs) == 1


def test_a_compiled_function_may_call_another(compiled):
    decorate, graphs = compiled
    inner = decorate(lambda array: array + 1)
    outer = decorate(lambda array: 2 * inner(array))
    torch.testing.assert_close(outer(numbers(3)), 2 * (numbers(3) + 1))
    assert len(graphs) == 1


def test_results_have_no_derivative(compiled):
    decorate, _ = compiled
    array = numbers(3).requires_grad_()
    with torch.no_grad():
        assert not decorate(lambda array: array * 2)(array).requires_grad


def test_what_does_not_compile_is_named_in_one_line(compiled, capsys):
    decorate, graphs = compiled

    @decorate
    def waits_for_a_number(array, power):
        return array * float(array.sum()) ** power

    for power in (1, 2, 1):
        torch.testing.assert_close(waits_for_a_number(numbers(3), power), numbers(3) * float(numbers(3).sum()) ** power)
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not compile waits_for_a_number" in line
    assert not graphs
