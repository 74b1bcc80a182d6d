"""CUDA graphs of PyTorch: their arrays, shapes and fallback without a GPU, where a function runs instead of a graph."""

import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from tests.helper import relative_difference

torch = pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="needs KERAS_BACKEND=torch")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def numbers(*shape, seed=0):
    return keras.ops.convert_to_tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


class Recorder:
    """Records as a GPU does, but for the kernels: each replay runs the function again, on the same arrays."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, compute):
        self.recorded += 1
        result = compute()

        def replay():
            self.replayed += 1
            result.copy_(compute())

        return replay, result


def weighted_sum(arrays, factor):
    first, second = arrays
    return first + factor * second


@pytest.fixture
def graphs():
    from tf_models.kernels.torch_graphs import Graphs

    recorder = Recorder()
    return Graphs(recorder), recorder


def test_a_graph_computes_with_the_arrays_of_each_call(graphs):
    graphs, recorder = graphs
    pairs = [(numbers(3, 2, seed=seed), numbers(2, seed=seed + 1)) for seed in range(4)]
    results = [graphs.run(weighted_sum, pair, 3) for pair in pairs]
    # Compared at the end: a result of its own outlives the next call.
    for result, (first, second) in zip(results, pairs, strict=True):
        torch.testing.assert_close(result, first + 3 * second)
    assert (recorder.recorded, recorder.replayed) == (1, 4)


def test_arrays_that_were_changed_in_place_are_new_ones(graphs):
    graphs, _ = graphs
    first, second = numbers(3), numbers(3, seed=1)
    graphs.run(weighted_sum, (first, second), 1)
    first.zero_()
    torch.testing.assert_close(graphs.run(weighted_sum, (first, second), 1), second)


def test_each_shape_order_type_and_constant_has_a_graph(graphs):
    graphs, recorder = graphs
    array = numbers(3, 3)
    for pair in [(array, array), (array, array[0]), (array.mT, array), (array.double(), array)]:
        for factor in (1, 2):
            torch.testing.assert_close(graphs.run(weighted_sum, pair, factor), pair[0] + factor * pair[1])
    assert recorder.recorded == 8


def test_threads_get_their_own_results(graphs):
    graphs, recorder = graphs

    def slow_sum(arrays, factor):
        time.sleep(0.002)
        return weighted_sum(arrays, factor)

    pairs = [(numbers(3, seed=seed), numbers(3, seed=seed + 1)) for seed in range(20)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda pair: graphs.run(slow_sum, pair, 3), pairs))
    for result, (first, second) in zip(results, pairs, strict=True):
        torch.testing.assert_close(result, first + 3 * second)
    assert (recorder.recorded, recorder.replayed) == (1, 20)


def test_constants_of_other_types_are_others(graphs):
    graphs, _ = graphs
    pair = torch.arange(3), torch.arange(3)
    for factor in (2, 2.0):
        assert graphs.run(weighted_sum, pair, factor).dtype == weighted_sum(pair, factor).dtype


def test_graphs_that_were_used_last_are_kept():
    from tf_models.kernels.torch_graphs import Graphs

    recorder = Recorder()
    graphs = Graphs(recorder, most=2)

    def recorded_for(size):
        before = recorder.recorded
        graphs.run(weighted_sum, (numbers(size), numbers(size)), 1)
        return recorder.recorded > before

    assert [recorded_for(size) for size in (1, 2, 1, 3, 1, 2)] == [True, True, False, True, False, True]


def test_what_cannot_be_recorded_is_named_in_one_line(capsys):
    from tf_models.kernels.torch_graphs import Graphs

    def refuse(compute):
        raise RuntimeError("operation not permitted when stream is capturing\nmore about it")

    graphs, (first, second) = Graphs(refuse), (numbers(3), numbers(3, seed=1))
    for _ in range(2):
        torch.testing.assert_close(graphs.run(weighted_sum, (first, second), 2), first + 2 * second)
    (line,) = capsys.readouterr().err.splitlines()
    assert "CUDA graphs" in line
    assert "operation not permitted" in line
    assert not graphs.works


def test_a_cpu_has_no_graphs(monkeypatch):
    from tf_models.kernels import torch_graphs

    recorder = Recorder()
    monkeypatch.setattr(torch_graphs, "_GRAPHS", torch_graphs.Graphs(recorder))
    first, second = torch.ones(3), torch.ones(3)
    torch.testing.assert_close(torch_graphs.run(weighted_sum, (first, second), 2), torch.full((3,), 3.0))
    assert recorder.recorded == 0


@needs_gpu
def test_only_what_is_safe_to_record_is():
    from tf_models.backend.exporting import exporting
    from tf_models.kernels import torch_graphs

    array = numbers(3)
    assert torch_graphs._pays([array])
    assert not torch_graphs._pays([array.expand(2**24, 3)])
    with exporting():
        assert not torch_graphs._pays([array])
    with torch.inference_mode():
        assert not torch_graphs._pays([array])
    with torch.cuda.stream(torch.cuda.Stream()):
        assert not torch_graphs._pays([array])


def solved_with_gradients(normals):
    """Solutions and gradients by right-hand side and weight, for several operators, two of the same shapes."""
    from tf_models.operators.conjugate_gradient import solve_regularized

    results = []
    for seed, normal in enumerate(normals):
        image, weight = numbers(2, 8, 9, 2, seed=seed), keras.ops.convert_to_tensor(0.3 + seed)
        image, weight = image.requires_grad_(), weight.requires_grad_()
        solution = solve_regularized(normal, image, weight, 4)
        solution.backward(numbers(2, 8, 9, 2, seed=seed + 5))
        results += [solution.detach(), image.grad, weight.grad]
    return [result.cpu().numpy() for result in results]


def operators():
    from tf_models.operators.sense import SenseNormal

    psfs = [(8, 9), (8, 9), (1, 9), (8, 1)]
    return [
        SenseNormal(numbers(2, 3, 8, 9, 2, seed=seed), numbers(2, *psf, seed=seed) ** 2)
        for seed, psf in enumerate(psfs)
    ]


def test_graphs_of_conjugate_gradients_are_recorded_once_for_both_directions(monkeypatch):
    from tf_models.kernels import torch_graphs
    from tf_models.operators import conjugate_gradient

    expected = solved_with_gradients(operators())
    recorder = Recorder()
    monkeypatch.setattr(torch_graphs, "_GRAPHS", torch_graphs.Graphs(recorder))
    monkeypatch.setattr(torch_graphs, "_pays", lambda arrays: True)
    monkeypatch.setattr(conjugate_gradient, "runs_on_torch_gpu", lambda: True)
    found = solved_with_gradients(operators())
    assert (recorder.recorded, recorder.replayed) == (3, 8)
    for pair in zip(found, expected, strict=True):
        assert relative_difference(*pair) < 1e-6


@needs_gpu
def test_graphs_of_conjugate_gradients_compute_what_these_compute_without(monkeypatch):
    from tf_models.kernels import torch_graphs

    with_graphs = solved_with_gradients(operators())
    assert torch_graphs._GRAPHS.works
    assert torch_graphs._GRAPHS._graphs
    monkeypatch.setattr(torch_graphs, "_pays", lambda arrays: False)
    for pair in zip(with_graphs, solved_with_gradients(operators()), strict=True):
        assert relative_difference(*pair) < 1e-7


@needs_gpu
@pytest.mark.parametrize("memory", ["plain", "lean"])
def test_graphs_change_no_training(memory, monkeypatch):
    """Losses of steps on two sets of batches in turn, and images of one slice between them."""
    from bart_bridge.reconet import weights
    from tests.benchmarks.gpu_case import problem
    from tf_models.kernels import torch_graphs
    from tf_models.networks.build import build

    def trained():
        cases = [problem("modl", (24, 20, 3), batch=batch, iterations=2) for batch in (3, 2)]
        network = cases[0][0]
        model = build(network, weights.initial(network, 0), memory=memory)
        model.compile(optimizer=keras.optimizers.SGD(1e-3))
        results = []
        for _ in range(3):
            for _, inputs, reference in cases:
                results.append(float(np.ravel(model.train_on_batch(inputs, reference))[0]))
            results.append(model.predict_on_batch({key: value[:1] for key, value in cases[0][1].items()}))
        return np.concatenate([np.ravel(result) for result in results])

    with_graphs = trained()
    assert torch_graphs._GRAPHS.works
    monkeypatch.setattr(torch_graphs, "_pays", lambda arrays: False)
    assert relative_difference(with_graphs, trained()) < 1e-5


@needs_gpu
def test_what_waits_for_the_gpu_is_not_recorded(capsys):
    from tf_models.kernels.torch_graphs import Graphs

    graphs, array = Graphs(), numbers(3)

    def waits(arrays):
        return arrays[0] * float(arrays[0].sum())

    for _ in range(2):
        torch.testing.assert_close(graphs.run(waits, (array,)), array * array.sum())
    (line,) = capsys.readouterr().err.splitlines()
    assert "CUDA graphs" in line
    # The device is as before.
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.testing.assert_close(Graphs().run(weighted_sum, (array, array), 2), 3 * array)
