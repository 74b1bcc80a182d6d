"""Time, memory and loss of training steps whose batch several GPUs share, beside those of one GPU.

    KERAS_BACKEND=jax python -m tests.benchmarks.parallel_steps OUT.json [varnet-plain varnet-lean ...] --devices 2
    KERAS_BACKEND=tensorflow python -m tests.benchmarks.parallel_steps OUT.json --devices 2

The sizes and the data are those of `gpu_case`; the whole batch is 10 slices on one GPU and on several, and `weak` has
10 slices for each GPU. On JAX the way is the one that trainings take, `tf_models.training.data_parallel`. On TensorFlow
it is `tf.distribute.MirroredStrategy`, to be compared with: its replicas do not share batch norm's statistics here, so
that MoDL's loss differs. Each runs in a process of its own. Look at `step_s` (median of the repeats after two warm-up
steps), `speed_up` and `weak_speed_up` (slices a second in relation to one GPU), and `largest_relative_difference` of
the losses of five steps. With `--cpu`, virtual devices of a CPU and small images: whether it works, not how fast.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.gpu_case import BATCH, SIZES, problem

REPEATS = 9
LOSSES = 5


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=[f"{kind}-{plan}" for kind in SIZES for plan in ("plain", "lean")])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--measure", type=int, metavar="SLICES", help="a batch in this process, and print it")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.names[0], options.devices, options.measure, options.cpu)))
        return
    results = {}
    for name in options.names:
        number = options.devices
        runs = [(1, BATCH), (number, BATCH), (number, number * BATCH)]
        one, several, weak = (in_a_process(name, *run, options.cpu) for run in runs)
        results[name] = {"1": one, str(number): several, "weak": weak}
        if "error" not in one and "error" not in several:
            pairs = zip(one["losses"], several["losses"], strict=True)
            results[name]["largest_relative_difference"] = max(abs(b / a - 1) for a, b in pairs)
            results[name]["speed_up"] = one["step_s"] / several["step_s"]
        if "error" not in one and "error" not in weak:
            results[name]["weak_speed_up"] = number * one["step_s"] / weak["step_s"]
        print(name, json.dumps(results[name]), flush=True)
        options.out.write_text(json.dumps(results, indent=1))


def in_a_process(name, devices, slices, cpu):
    # By itself JAX takes three quarters of the GPU at once.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    if cpu:
        environment |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}
    argv = [sys.executable, "-m", "tests.benchmarks.parallel_steps", "-", name]
    argv += ["--measure", str(slices), "--devices", str(devices), *(["--cpu"] if cpu else [])]
    finished = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        return {"error": finished.stderr[-2000:]}
    return json.loads(finished.stdout.splitlines()[-1])


def measure(name, devices, slices, cpu):
    import keras

    from bart_bridge.reconet import weights
    from tf_models.networks.build import build
    from tf_models.training import data_parallel

    kind, plan = name.split("-")
    network, inputs, reference = problem(kind, (32, 36, 3) if cpu else SIZES[kind], slices)
    if keras.backend.backend() == "jax":
        data_parallel.prepare(devices, "cpu" if cpu else "gpu")
        scope = data_parallel.on_devices(devices)
    else:
        scope = mirrored(devices, cpu)
    with scope:
        model = build(network, weights.initial(network, 0), memory=plan)
        # XLA cannot compile what NCCL does within a function of TensorFlow.
        shared_by_tensorflow = devices > 1 and keras.backend.backend() == "tensorflow"
        # TensorFlow adds the gradients of its replicas, each that of a mean.
        rate = 1e-4 / devices if shared_by_tensorflow else 1e-4
        model.compile(optimizer=keras.optimizers.SGD(rate), jit_compile=False if shared_by_tensorflow else "auto")
        # It adds the losses, too.
        recorder = Steps(devices if shared_by_tensorflow else 1)
        model.fit(
            repeated(inputs, reference, 2 + max(REPEATS, LOSSES)),
            epochs=1,
            shuffle=False,
            verbose=0,
            callbacks=[recorder.callback],
        )
    steps_s = recorder.elapsed_s[2:]
    return {
        "backend": keras.backend.backend(),
        "device": device_name(cpu),
        "step_s": statistics.median(steps_s),
        "step_min_s": min(steps_s),
        "step_max_s": max(steps_s),
        "first_step_s": recorder.elapsed_s[0],
        "allocator_peak_gib": None if cpu else [each / 2**30 for each in allocator_peaks_bytes(devices)],
        "losses": recorder.losses[:LOSSES],
    }


def mirrored(devices, cpu):
    import tensorflow as tf

    if devices == 1:
        from contextlib import nullcontext

        return nullcontext()
    if cpu:
        (physical,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(physical, [tf.config.LogicalDeviceConfiguration()] * devices)
    kind = "CPU" if cpu else "GPU"
    return tf.distribute.MirroredStrategy([f"{kind}:{number}" for number in range(devices)]).scope()


def repeated(inputs, reference, count):
    """The same batch again and again, from memory of the host as in a training."""
    import keras

    from tf_models.training.batches import feed

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.data.Dataset.from_tensors((inputs, reference)).repeat(count).prefetch(2)
    return feed([(inputs, reference)] * count)


class Steps:
    """Wall time and loss of each step; a step ends when its loss is there."""

    def __init__(self, added):
        import keras

        self.elapsed_s, self.losses = [], []

        class Callback(keras.callbacks.Callback):
            def on_train_batch_begin(callback, batch, logs=None):  # noqa: N805
                self.start_s = time.perf_counter()

            def on_train_batch_end(callback, batch, logs=None):  # noqa: N805
                self.losses.append(float(logs["batch_loss"]) / added)
                self.elapsed_s.append(time.perf_counter() - self.start_s)

        self.callback = Callback()


def device_name(cpu):
    if cpu:
        return "virtual devices of a CPU"
    from compare.measuring import nvidia

    return nvidia.Gpus().names()


def allocator_peaks_bytes(devices):
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return [device.memory_stats()["peak_bytes_in_use"] for device in jax.local_devices()[:devices]]
    import tensorflow as tf

    return [tf.config.experimental.get_memory_info(f"GPU:{number}")["peak"] for number in range(devices)]


if __name__ == "__main__":
    main()
