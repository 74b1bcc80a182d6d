"""The parts of the networks that are benchmarked one by one, at 64 x 64, 8 coils, batch 10, of default size.

    python -m tests.benchmarks.parts NAME

prints the peak memory of the first call of a part in a fresh process, above what was resident after imports and a first
kernel: with tracing and compilation, without the arguments. TensorFlow keeps what it has freed, so that later calls
and other parts could not be told apart.
"""

import sys

import numpy as np

SIZE, COILS, BATCH = 64, 8, 10
CG_ITERATIONS = 10


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32) / 4


def sense():
    """Return image, coils and pattern."""
    import tensorflow as tf

    image, coils = numbers(BATCH, SIZE, SIZE, 2), numbers(BATCH, COILS, SIZE, SIZE, 2)
    psf = (numbers(BATCH, SIZE, SIZE) > 0.15).astype(np.float32)
    return tuple(map(tf.constant, (image, coils, psf)))


def normal_operator():
    import tensorflow as tf

    from tf_models.operators.sense import SenseNormal

    return tf.function(lambda image, coils, psf: SenseNormal(coils, psf)(image)), sense()


def conjugate_gradients():
    import tensorflow as tf

    from tf_models.operators.conjugate_gradient import conjugate_gradient
    from tf_models.operators.sense import SenseNormal

    def solve(image, coils, psf):
        normal = SenseNormal(coils, psf)
        return conjugate_gradient(lambda x: normal(x) + 0.05 * x, image, CG_ITERATIONS)

    return tf.function(solve), sense()


def regularizer(kind, differentiate):
    """Return the regularizer of one unrolled iteration, or its gradient by image and weights."""
    import tensorflow as tf

    from bart_bridge.reconet import weights
    from tests.benchmarks.measure import NETWORKS
    from tf_models.networks.build import build

    network = NETWORKS[kind](iterations=1)
    model = build(network, weights.random(network, 0))

    def block(image):
        return model.regularizer(image, iteration=0, training=True)

    def gradient(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = tf.reduce_sum(block(image) ** 2)
        return tape.gradient(value, [image, *model.regularizer.trainable_variables])

    return tf.function(gradient if differentiate else block), (tf.constant(numbers(BATCH, SIZE, SIZE, 2)),)


PARTS = {
    "normal operator": normal_operator,
    "conjugate gradients": conjugate_gradients,
    **{f"{kind} block": lambda kind=kind: regularizer(kind, False) for kind in ("varnet", "modl")},
    **{f"{kind} block, gradient": lambda kind=kind: regularizer(kind, True) for kind in ("varnet", "modl")},
}


def main():
    from tests.benchmarks.keras_steps import first_kernel
    from tests.benchmarks.measure import THREADS
    from tests.benchmarks.memory import PeakMemory

    first_kernel(THREADS)
    function, arguments = PARTS[sys.argv[1]]()
    peak = PeakMemory()
    function(*arguments)
    print(peak.above_baseline_bytes())


if __name__ == "__main__":
    main()
