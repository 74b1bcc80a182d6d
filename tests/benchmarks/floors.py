"""Each kernel's time against its floor: what this machine needs for the arithmetic and for moving the data once.

    python -m tests.benchmarks.floors [--cpu]

With `--cpu` one thread computes, and its CPU time counts: that hardly changes while others use the machine.

The floor of a convolution is its floating-point operations at the rate of a large matrix product; that of a pass over
data its bytes at the rate of a copy; that of the normal operator two bare batched FFTs and reading the coils twice. All
rates are measured in the same process. Sizes are those of the default networks at 64 x 64, 8 coils, batch 10.
"""

import json
import os
import statistics
import sys
import time

import numpy as np

from bart_bridge.errors import ToolError
from bart_bridge.tools import process
from tests.benchmarks.measure import ENVIRONMENT, ROOT, THREADS

SIZE, COILS, BATCH, REPEATS = 64, 8, 10, 15
# One with `--cpu`, which is then the number of threads of this process.
THREADS_HERE = int(os.environ.get("TF_NUM_INTRAOP_THREADS", THREADS))
FILTERS, KERNEL, BASIS = 24, 11, 31
CHANNELS = 64  # real ones of MoDL's 32 complex filters
CG_ITERATIONS = 10
# Why a kernel is above twice its floor.
REASONS = {
    "activation": "a gather of four coefficients for each value from a table by filter and interval; the floor counts"
    " only the values themselves",
    "activation, gradient by values": "a gather of three coefficients for each value; the floor counts only the values"
    " themselves",
    "activation, gradient by weights": "four powers for each value are written, and a scatter adds them, on one thread"
    " for each half of the rows; the floor counts only reading the values",
    "convolution, 2 to 24 channels": "two input channels fill a fraction of the vector registers that the rate of a"
    " large matrix product assumes",
    "transposed convolution, 24 to 2 channels": "two output channels: eleven columns of them are convolved along y,"
    " then added",
    "gradient by filters": "two input channels and large filters: oneDNN's blocking of the reduction over pixels is"
    " made for many channels",
    "convolution, 64 to 64 channels": "3 x 3 filters have too few operations for each value read",
    "convolution, 64 to 64 channels, derivatives": "3 x 3 filters have too few operations for each value read,"
    " and the sums of both threads are added in the end",
    "batch norm and ReLU": "the result is allocated anew, and the pages of large arrays are cleared by the system",
    "batch norm statistics": "two passes, mean first, for the digits of the variance; squares are stored in between",
    "normal operator": "the products with coils and pattern and the sum over coils are passes of their own over complex"
    " arrays; the floor counts only the transforms and the coils",
    "conjugate gradients, 10 steps": "that of the normal operator, and the vector operations of each step, which"
    " TensorFlow runs one by one",
}


def measure_in_child(cpu=False):
    """Measure in a process of its own with the threads of all other measurements, or with one."""
    argv = [sys.executable, "-m", "tests.benchmarks.floors", "--json"]
    one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    finished = process.run(argv, folder=ROOT, environment=ENVIRONMENT | (one if cpu else {}))
    if finished.returncode != 0:
        raise ToolError(finished.describe(), argv, finished.returncode, finished.stderr[-5:])
    return json.loads(finished.stdout[-1])


def times_s(function, *arguments):
    clock = time.perf_counter if THREADS_HERE == THREADS else time.process_time
    function(*arguments)
    times = []
    for _ in range(REPEATS):
        start_s = clock()
        function(*arguments)
        times.append(clock() - start_s)
    return times


def best_s(function, *arguments):
    """What the machine can do; kernels are measured by their medians."""
    return min(times_s(function, *arguments))


def measure():
    """Return the rates of the machine, and seconds and floor of each kernel."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS_HERE)
    rates = {"matmul_flop_per_s": _matmul_rate(tf), "copy_bytes_per_s": _copy_rate()}
    generator = np.random.default_rng(0)

    def numbers(*shape):
        return tf.constant(generator.normal(size=shape) / 4, tf.float32)

    coil_images = tf.complex(numbers(BATCH, COILS, SIZE, SIZE), numbers(BATCH, COILS, SIZE, SIZE))
    rates["fft_s"] = best_s(tf.function(tf.signal.fft2d), coil_images)
    rows = {}
    for name, (function, arguments, floor_s) in _kernels(tf, numbers, rates).items():
        seconds = statistics.median(times_s(tf.function(function), *arguments))
        rows[name] = {"seconds": seconds, "floor_s": floor_s, "times_its_floor": seconds / floor_s}
    return {"rates": rates, "rows": rows}


def _matmul_rate(tf):
    size = 2048
    matrix = tf.ones((size, size))
    return 2 * size**3 / best_s(tf.function(tf.matmul), matrix, matrix)


def _copy_rate():
    """Bytes read and written by a copy of arrays far larger than the caches, on all threads."""
    from concurrent.futures import ThreadPoolExecutor

    pairs = [(np.ones(2**24, np.float32), np.ones(2**24, np.float32)) for _ in range(THREADS_HERE)]
    with ThreadPoolExecutor(THREADS_HERE) as pool:
        seconds = best_s(lambda: list(pool.map(lambda pair: np.copyto(*pair), pairs)))
    return 2 * sum(target.nbytes for target, _ in pairs) / seconds


def _kernels(tf, numbers, rates):
    """Return function, arguments and floor of each kernel."""
    from tf_models.backend.ops import vjp
    from tf_models.kernels import field_of_experts
    from tf_models.kernels.normalization import batch_statistics, normalize
    from tf_models.kernels.same_conv import same_conv
    from tf_models.operators.conjugate_gradient import conjugate_gradient
    from tf_models.operators.sense import SenseNormal

    def arithmetic(flop):
        return flop / rates["matmul_flop_per_s"]

    def traffic(*arrays):
        return sum(4 * np.prod(array.shape) for array in arrays) / rates["copy_bytes_per_s"]

    wide = SIZE + KERNEL - 1
    padded, upstream = numbers(BATCH, wide + KERNEL - 1, wide + KERNEL - 1, 2), numbers(BATCH, wide, wide, FILTERS)
    kernel, weights = numbers(KERNEL, KERNEL, 2, FILTERS), numbers(BASIS, FILTERS)
    narrow = 2 * BATCH * wide**2 * FILTERS * 2 * KERNEL**2
    features, conv = numbers(BATCH, SIZE, SIZE, CHANNELS), numbers(3, 3, CHANNELS, CHANNELS)
    dense = 2 * BATCH * SIZE**2 * CHANNELS**2 * 9
    mean, bias = numbers(CHANNELS), numbers(CHANNELS)
    variance = tf.ones(CHANNELS // 2)
    image, coils = numbers(BATCH, SIZE, SIZE, 2), numbers(BATCH, COILS, SIZE, SIZE, 2)
    psf = tf.cast(numbers(BATCH, SIZE, SIZE) > 0.15, tf.float32)
    normal_s = 2 * rates["fft_s"] + traffic(coils, coils, image, image)
    # x, r and p read and written, A p read.
    steps_s = CG_ITERATIONS * (normal_s + 7 * traffic(image))

    def dense_derivatives(features, conv, upstream):
        return vjp(same_conv, features, conv)[1](upstream)

    def solve(coils, psf, image):
        normal = SenseNormal(coils, psf)
        return conjugate_gradient(lambda x: normal(x) + 0.05 * x, image, CG_ITERATIONS)

    return {
        "convolution, 2 to 24 channels": (
            lambda image, kernel: tf.nn.conv2d(image, kernel, 1, "VALID"),
            (padded, kernel),
            arithmetic(narrow),
        ),
        "transposed convolution, 24 to 2 channels": (
            field_of_experts.transposed_conv_valid,
            (upstream, kernel),
            arithmetic(2 * BATCH * SIZE**2 * FILTERS * 2 * KERNEL**2),
        ),
        "gradient by filters": (
            lambda image, features: field_of_experts.filter_gradient(image, features, (KERNEL, KERNEL)),
            (padded, upstream),
            arithmetic(narrow),
        ),
        "activation": (
            lambda values, weights: field_of_experts.radial_basis(values, weights)[0],
            (upstream, weights),
            traffic(upstream, upstream),
        ),
        "activation, gradient by values": (
            lambda values, weights: field_of_experts.times_slope(values, values, weights, None),
            (upstream, weights),
            traffic(upstream, upstream, upstream),
        ),
        "activation, gradient by weights": (
            lambda values, upstream: field_of_experts.radial_basis_gradient(values, upstream, BASIS),
            (upstream, upstream),
            traffic(upstream, upstream),
        ),
        "convolution, 64 to 64 channels": (
            same_conv,
            (features, conv),
            arithmetic(dense),
        ),
        "convolution, 64 to 64 channels, derivatives": (
            dense_derivatives,
            (features, conv, features),
            arithmetic(2 * dense),
        ),
        "batch norm statistics": (batch_statistics, (features,), traffic(features)),
        "batch norm and ReLU": (
            lambda *arguments: normalize(*arguments, rectify=True),
            (features, mean, variance, bias),
            traffic(features, features),
        ),
        "normal operator": (lambda coils, psf, image: SenseNormal(coils, psf)(image), (coils, psf, image), normal_s),
        "conjugate gradients, 10 steps": (solve, (coils, psf, image), steps_s),
    }


# How often each kernel is in one unrolled iteration: forwards, and what the derivative adds. MoDL's first and last
# layer, 2 % of its operations, are not counted, and the derivative of batch norm as the forward pass.
_VARNET = {
    "convolution, 2 to 24 channels": (1, 1),
    "transposed convolution, 24 to 2 channels": (1, 1),
    "gradient by filters": (0, 2),
    "activation": (1, 0),
    "activation, gradient by values": (0, 1),
    "activation, gradient by weights": (0, 1),
    "normal operator": (1, 1),
}
_MODL = {
    "convolution, 64 to 64 channels": (3, 0),
    "convolution, 64 to 64 channels, derivatives": (0, 3),
    "batch norm and ReLU": (4, 4),
    "conjugate gradients, 10 steps": (1, 1),
}
_STATISTICS = {"batch norm statistics": (4, 4)}


def network_floor_s(found, kind, phase, iterations=10):
    """Return the sum of the floors of a network's kernels, at the size that they were measured at."""
    counts = _VARNET if kind == "varnet" else _MODL
    if kind == "modl" and phase == "training":
        counts = counts | _STATISTICS
    rows = found["rows"]
    times = {name: sum(pair) if phase == "training" else pair[0] for name, pair in counts.items()}
    return iterations * sum(rows[name]["floor_s"] * number for name, number in times.items())


def table(found):
    """Write the kernels as Markdown, with the reason for each that is above twice its floor."""
    rates = found["rates"]
    lines = [
        f"\nKernels against their floor: matrix product {rates['matmul_flop_per_s'] / 1e9:.0f} GFLOP/s, copy "
        f"{rates['copy_bytes_per_s'] / 1e9:.1f} GB/s, {BATCH * COILS} FFTs of {SIZE} x {SIZE} "
        f"{rates['fft_s'] * 1e3:.1f} ms",
        "| kernel | ms | floor, ms | times its floor | why, above 2 |",
        "|---|---|---|---|---|",
    ]
    for name, row in found["rows"].items():
        above = row["times_its_floor"] > 2
        reason = REASONS.get(name, "not looked into yet") if above else ""
        times = f"{row['seconds'] * 1e3:.2f} | {row['floor_s'] * 1e3:.2f} | {row['times_its_floor']:.1f}"
        lines.append(f"| {name} | {times} | {reason} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:] == ["--json"]:
        print(json.dumps(measure()))
    else:
        print(table(measure_in_child(cpu=sys.argv[1:] == ["--cpu"])))
