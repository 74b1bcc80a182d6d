"""Time and memory of a training step on an NVIDIA GPU, at the published sizes, for each network and memory plan.

    KERAS_BACKEND=jax python -m tests.benchmarks.gpu_steps OUT.json [varnet-plain varnet-lean modl-plain modl-lean]

VarNet: 320 x 368, 15 coils; MoDL: 256 x 232, 12 coils; batches of 10, single precision without TF32, synthetic data.
Each runs in a process of its own. Two memories are read, which are never to be compared with each other: the peak of
the backend's allocator, and what NVML says the process holds, sampled at 50 Hz. Look at `step_s` (median of the repeats
after two warm-up steps), `allocator_peak_gib` and `nvml_peak_gib`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SIZES = {"varnet": (320, 368, 15), "modl": (256, 232, 12)}
BATCH = 10
# After two steps to warm up.
REPEATS = 18


def main():
    out, names = Path(sys.argv[1]), sys.argv[2:]
    results = {}
    # Of its own, so that the first step of each case compiles.
    cache = tempfile.TemporaryDirectory()
    for name in names or [f"{kind}-{plan}" for kind in SIZES for plan in ("plain", "lean")]:
        # By itself JAX takes three quarters of the GPU at once.
        environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        environment["JAX_COMPILATION_CACHE_DIR"] = cache.name
        argv = [sys.executable, "-m", "tests.benchmarks.gpu_steps", "--measure", name]
        for again in (False, True):
            finished = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
            if finished.returncode:
                results[name] = {"error": finished.stderr[-2000:]}
                break
            result = json.loads(finished.stdout.splitlines()[-1])
            if again:
                results[name]["first_step_again_s"] = result["first_step_s"]
            else:
                results[name] = result
        print(name, results[name], flush=True)
        out.write_text(json.dumps(results, indent=1))


def problem(kind, size):
    """Return a network of default size, and inputs and reference for it: random numbers of a size y, x, coils."""
    import numpy as np

    from bart_bridge.reconet import network_settings

    network = {"varnet": network_settings.VarNetSettings, "modl": network_settings.ModlSettings}[kind]()
    size_y, size_x, coils = size
    generator = np.random.default_rng(0)

    def numbers(*shape):
        return generator.normal(size=shape).astype(np.float32)

    # As in the published data: VarNet's pattern is the same in all lines, MoDL's has two dimensions.
    pattern = (BATCH, 1, size_x) if kind == "varnet" else (BATCH, size_y, size_x)
    inputs = {
        "adjoint": numbers(BATCH, size_y, size_x, 2),
        "coils": numbers(BATCH, coils, size_y, size_x, 2) / np.sqrt(2 * coils).astype(np.float32),
        "psf": (generator.uniform(size=pattern) < 0.25).astype(np.float32),
    }
    return network, inputs, numbers(BATCH, size_y, size_x, 2)


def measure(name):
    import keras
    import numpy as np

    from bart_bridge.reconet import weights
    from tf_models.networks.build import build

    kind, plan = name.split("-")
    network, inputs, reference = problem(kind, SIZES[kind])
    model = build(network, weights.initial(network, 0), memory=plan)
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    recorder = Times()
    nvml = Nvml()
    # The same arrays in every step, on the device: what is measured is the step, not the data's way there.
    inputs = {key: keras.ops.convert_to_tensor(value) for key, value in inputs.items()}
    reference = keras.ops.convert_to_tensor(reference)
    start_s = time.perf_counter()
    losses = [loss_of(model.train_on_batch(inputs, reference))]
    compile_s = time.perf_counter() - start_s
    losses.append(loss_of(model.train_on_batch(inputs, reference)))
    for _ in range(REPEATS):
        with recorder:
            losses.append(loss_of(model.train_on_batch(inputs, reference)))
    peak = nvml.stop()
    steps_s, allocator_peak = recorder.elapsed_s, allocator_peak_bytes()
    inference_s = {}
    for slices in (1, BATCH):
        recorder, part = Times(), {key: value[:slices] for key, value in inputs.items()}
        model.predict_on_batch(part)
        for _ in range(REPEATS):
            with recorder:
                np.asarray(model.predict_on_batch(part))
        inference_s[slices] = statistics.median(recorder.elapsed_s)
    result = {
        "backend": keras.backend.backend(),
        "device": nvml.device,
        "step_s": statistics.median(steps_s),
        "step_min_s": min(steps_s),
        "step_max_s": max(steps_s),
        "first_step_s": compile_s,
        "inference_s": inference_s,
        "allocator_peak_gib": allocator_peak / 2**30,
        "nvml_peak_gib": peak / 2**30,
        "inputs_gib": sum(np.prod(value.shape) for value in inputs.values()) * 4 / 2**30,
        "losses": losses,
    }
    print(json.dumps(result))


def loss_of(logs):
    import numpy as np

    return float(np.ravel(logs)[0])


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


class Times:
    """Wall time of each use as a context."""

    def __init__(self):
        self.elapsed_s = []

    def __enter__(self):
        self.start_s = time.perf_counter()

    def __exit__(self, *_):
        self.elapsed_s.append(time.perf_counter() - self.start_s)


class Nvml:
    """The highest use of the GPU's memory above what it was before."""

    def __init__(self):
        import pynvml

        pynvml.nvmlInit()
        self.handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self.device = pynvml.nvmlDeviceGetName(self.handle)
        self.read = lambda: pynvml.nvmlDeviceGetMemoryInfo(self.handle).used
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
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    else:
        import pynvml

        pynvml.nvmlInit()
        idle = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used
        os.environ["GPU_IDLE_BYTES"] = str(idle)
        main()
