"""The child process that trains or infers with Keras: seconds of each step, and memory above the baseline.

    python -m tests.benchmarks.keras_steps JOB

The last line that it prints is JSON: `first_s`, the first step with tracing and compilation; `steps_s`, the others;
`baseline_bytes`, resident after imports and a first kernel; `peak_bytes_above_baseline`, of all that follows: data,
weights, tracing, compilation and steps.
"""

import json
import sys
import time
from pathlib import Path

from tests.benchmarks.memory import PeakMemory


def main():
    job = json.loads(sys.argv[1])
    first_kernel(job["threads"])
    peak = PeakMemory()
    seconds = (train if job["phase"] == "train" else infer)(job)
    result = {
        "first_s": seconds[0],
        "steps_s": seconds[1:],
        "baseline_bytes": peak.baseline_bytes,
        "peak_bytes_above_baseline": peak.above_baseline_bytes(),
    }
    print(json.dumps(result))


def first_kernel(threads):
    """Import everything, and let TensorFlow, its FFT and its convolution make what they make once."""
    import tensorflow as tf

    import tf_models.training.fit

    assert tf_models.training.fit
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)

    @tf.function
    def kernel(image):
        transformed = tf.signal.fft2d(tf.complex(image[..., 0], image[..., 1]))
        return tf.nn.conv2d(image, tf.ones((3, 3, 2, 4)), 1, "SAME"), tf.abs(transformed)

    kernel(tf.ones((1, 16, 16, 2)))


def network_and_files(job):
    from bart_bridge.data.dataset import Split
    from bart_bridge.reconet import weights
    from tests.benchmarks.measure import NETWORKS

    network = NETWORKS[job["kind"]].model_validate(job["network"])
    return network, Split.in_folder(Path(job["folder"])), weights.read(job["initial"], network)


def train(job):
    """Return the seconds of each update, as the history has them."""
    from bart_bridge.reconet.training_settings import Training
    from tests.benchmarks.measure import ALGORITHMS
    from tf_models.training.batches import TrainingData
    from tf_models.training.fit import Execution, train
    from tf_models.training.network_inputs import network_inputs, network_reference

    network, split, initial = network_and_files(job)
    training = Training(algorithm=ALGORITHMS[job["kind"]], batch_size=split.slice_count, epochs=job["steps"] + 1)
    reference = network_reference(split)
    data = TrainingData((network_inputs(split), reference))
    _, histories = train(network, training, data, initial, Execution(job["memory"]))
    return histories[0]["seconds"].ravel().tolist()


def infer(job):
    """Return the seconds of each reconstruction of all slices."""
    from tf_models.backend.devices import runs_on_tensorflow_cpu
    from tf_models.networks.build import build
    from tf_models.training.network_inputs import network_inputs

    network, split, initial = network_and_files(job)
    model, inputs = build(network, initial, memory=job["memory"]), network_inputs(split)
    model.compile(jit_compile=not runs_on_tensorflow_cpu())
    seconds = []
    for _ in range(job["steps"] + 1):
        start_s = time.perf_counter()
        model.predict(inputs, batch_size=split.slice_count, verbose=0)
        seconds.append(time.perf_counter() - start_s)
    return seconds


if __name__ == "__main__":
    main()
