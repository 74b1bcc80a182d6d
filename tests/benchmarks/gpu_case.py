"""Time and memory of one network on one GPU; runs in a process of its own.

    KERAS_BACKEND=jax python -m tests.benchmarks.gpu_case '{"kind": "varnet", "plan": "plain"}'

The argument is a `Case`, or a list of them for the growth; each line that it prints is the JSON of one case. Two
memories are read, which are never to be compared with each other: the peak of the backend's allocator, and what NVML
says the process holds, sampled at 50 Hz.
"""

import json
import os
import statistics
import sys
import threading
import time
from dataclasses import asdict, dataclass

SIZES = {"varnet": (320, 368, 15), "modl": (256, 232, 12)}
# Networks with SGD, and VarNet with the optimizer of its publication.
KINDS = (*SIZES, "varnet-ipalm")
BATCH = 10
# After two steps to warm up.
REPEATS = 18
GROWTH_REPEATS = 3


@dataclass(frozen=True)
class Case:
    """A network of default size but for its iterations; by default, with the published data's size.

    `kind` is one of `KINDS`.
    """

    kind: str
    plan: str
    size_y: int = 0
    size_x: int = 0
    coils: int = 0
    batch: int = BATCH
    iterations: int = 10

    @property
    def network(self):
        return self.kind.partition("-")[0]

    @property
    def size(self):
        own, usual = (self.size_y, self.size_x, self.coils), SIZES[self.network]
        return tuple(one or other for one, other in zip(own, usual, strict=True))


def case_named(name):
    """Return the case of a name such as `varnet-lean` or `varnet-ipalm-lean`."""
    kind, _, plan = name.rpartition("-")
    return Case(kind, plan)


def main():
    job = json.loads(sys.argv[1])
    if isinstance(job, dict):
        print(json.dumps(measure(Case(**job))))
        return
    largest_peak = 0
    for case in (Case(**fields) for fields in job):
        result = growth(case, largest_peak)
        largest_peak = max(largest_peak, result.get("allocator_peak_gib") or 0)
        print(json.dumps({"case": asdict(case), **result}), flush=True)


def problem(kind, size, batch=BATCH, iterations=10):
    """Return a network, and inputs and reference for it: random numbers of a size y, x, coils."""
    import numpy as np

    from bart_bridge.reconet import network_settings

    settings = {"varnet": network_settings.VarNetSettings, "modl": network_settings.ModlSettings}[kind]
    size_y, size_x, coils = size
    generator = np.random.default_rng(0)

    def numbers(*shape):
        return generator.normal(size=shape).astype(np.float32)

    # As in the published data: VarNet's pattern is the same in all lines, MoDL's has two dimensions.
    pattern = (batch, 1, size_x) if kind == "varnet" else (batch, size_y, size_x)
    inputs = {
        "adjoint": numbers(batch, size_y, size_x, 2),
        "coils": numbers(batch, coils, size_y, size_x, 2) / np.sqrt(2 * coils).astype(np.float32),
        "psf": (generator.uniform(size=pattern) < 0.25).astype(np.float32),
    }
    return settings(iterations=iterations), inputs, numbers(batch, size_y, size_x, 2)


class Steps:
    """A compiled network whose data lies on the device: what is measured is the step, not the data's way there."""

    def __init__(self, case):
        import keras

        from bart_bridge.reconet import weights
        from tf_models.networks.build import build
        from tf_models.optimizers.ipalm import IPALM

        network, inputs, reference = problem(case.network, case.size, case.batch, case.iterations)
        self.model = build(network, weights.initial(network, 0), memory=case.plan)
        ipalm = case.kind.endswith("-ipalm")
        self.model.compile(optimizer=IPALM(preset="bart") if ipalm else keras.optimizers.SGD(1e-4))
        self.inputs = {key: keras.ops.convert_to_tensor(value) for key, value in inputs.items()}
        self.reference = keras.ops.convert_to_tensor(reference)
        self.losses = []

    @property
    def work(self):
        """How much iPALM has evaluated in all steps, empty for SGD."""
        counts = self.model.optimizer.counts() if hasattr(self.model.optimizer, "counts") else {}
        return {name: int(count) for name, count in counts.items()}

    def step(self):
        """Make a step and return its seconds; it ends when its loss is there."""
        import numpy as np

        start_s = time.perf_counter()
        self.losses.append(float(np.ravel(self.model.train_on_batch(self.inputs, self.reference))[0]))
        return time.perf_counter() - start_s

    def inference_s(self, slices):
        """Return the median of the seconds until the images of some slices are in the memory of the host."""
        import numpy as np

        part, seconds = {key: value[:slices] for key, value in self.inputs.items()}, []
        self.model.predict_on_batch(part)
        for _ in range(REPEATS):
            start_s = time.perf_counter()
            np.asarray(self.model.predict_on_batch(part))
            seconds.append(time.perf_counter() - start_s)
        return statistics.median(seconds)


def measure(case):
    import keras
    import numpy as np

    nvml = Nvml()
    steps = Steps(case)
    first_step_s = steps.step()
    steps.step()
    steps_s = [steps.step() for _ in range(REPEATS)]
    nvml_peak, allocator_peak = nvml.stop(), allocator_peak_bytes()
    return {
        "backend": keras.backend.backend(),
        "device": nvml.device,
        "step_s": statistics.median(steps_s),
        "step_min_s": min(steps_s),
        "step_max_s": max(steps_s),
        "first_step_s": first_step_s,
        "inference_s": {str(slices): steps.inference_s(slices) for slices in (1, BATCH)},
        "allocator_peak_gib": allocator_peak / 2**30,
        "nvml_peak_gib": nvml_peak / 2**30,
        "inputs_gib": float(sum(np.prod(value.shape) for value in steps.inputs.values()) * 4 / 2**30),
        "losses": steps.losses,
        "work": steps.work,
    }


def growth(case, largest_peak_gib):
    """Return the fastest step and the peak of a case; JAX's peak is that of the process, so that it may be hidden."""
    reset_peak()
    try:
        steps = Steps(case)
        first_step_s = steps.step()
        fastest_s = min(steps.step() for _ in range(GROWTH_REPEATS))
    # Each backend has its own error for too little memory; others end the process.
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if not any(word in text for word in ("RESOURCE_EXHAUSTED", "out of memory", "OOM", "OutOfMemory")):
            raise
        return {"error": f"out of memory ({text.splitlines()[0][:200]})"}
    peak_gib = allocator_peak_bytes() / 2**30
    if peak_gib <= largest_peak_gib:
        peak_gib = None
    return {"first_step_s": first_step_s, "fastest_s": fastest_s, "allocator_peak_gib": peak_gib}


def reset_peak():
    import gc

    import keras

    gc.collect()
    if keras.backend.backend() == "torch":
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")


def allocator_peak_bytes():
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"]
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.max_memory_allocated()
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


class Nvml:
    """The highest use of the GPU's memory above what it was before."""

    def __init__(self):
        from compare.measuring import nvidia

        gpus = nvidia.Gpus()
        self.device = gpus.names()[0]
        self.read = lambda: nvidia.memory_used_bytes(gpus.handles[0])
        self.peak, self.running = 0, True
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def _sample(self):
        while self.running:
            self.peak = max(self.peak, self.read())
            time.sleep(0.02)

    def stop(self):
        self.running = False
        self.thread.join()
        return self.peak - int(os.environ.get("GPU_IDLE_BYTES", "0"))


if __name__ == "__main__":
    main()
