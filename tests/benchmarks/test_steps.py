"""Benchmarks of training and inference of each network and memory plan against BART, in one run: `make bench`.

Memory is that of a process of its own; what is compared over time is the ratio to BART.
"""

import statistics

import pytest

from bart_bridge.reconet import weights
from tests.benchmarks.measure import ALGORITHMS, bart_inference, bart_training, keras_steps

REPEATS = 5


@pytest.fixture(scope="module")
def bart_s(work):
    """BART's seconds for an update, and for all slices without the set-up, which one slice needs as well."""
    training = bart_training(work, REPEATS)
    inference = [[bart_inference(work, split)["command_s"] for split in (work.single, work.whole)] for _ in range(3)]
    single_s, whole_s = (statistics.median(commands) for commands in zip(*inference, strict=True))
    batch = work.case.batch
    return {
        "train": statistics.median(training["steps_s"]),
        "infer": (whole_s - single_s) * batch / (batch - 1),
        "bart_peak_bytes": training["peak_rss_bytes"],
    }


@pytest.mark.usefixtures("tf")
@pytest.mark.parametrize("plan", ["plain", "lean"])
@pytest.mark.parametrize("phase", ["train", "infer"])
def test_step(benchmark, work, bart_s, phase, plan):
    import keras

    from tf_models.networks.build import build
    from tf_models.training.network_inputs import network_inputs, network_reference

    inputs, reference = network_inputs(work.whole), network_reference(work.whole)
    model = build(work.case.network, weights.read(work.initial, work.case.network), memory=plan)
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[ALGORITHMS[work.case.kind]](1e-3)
    model.compile(optimizer=optimizer, jit_compile=False)

    def step():
        if phase == "train":
            model.train_on_batch(inputs, reference)
        else:
            model.predict_on_batch(inputs)

    benchmark.pedantic(step, rounds=4 * REPEATS, warmup_rounds=2)
    benchmark.extra_info |= {
        "peak_bytes_above_baseline": keras_steps(work, phase, plan, 1)["peak_bytes_above_baseline"],
        "bart_s": bart_s[phase],
        "times_as_fast_as_bart": bart_s[phase] / benchmark.stats.stats.median,
    }
    if phase == "train":
        benchmark.extra_info["bart_peak_bytes"] = bart_s["bart_peak_bytes"]
