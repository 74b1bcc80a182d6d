"""Functions that XLA compiles for TensorFlow on a CPU."""

import tensorflow as tf
from keras import ops

from tf_models.backend.ops import xla_on_cpu


def test_the_size_of_the_batch_stays_known():
    """TensorFlow would reuse a loop that it has compiled for any batch, and an outer loop refuses such a result."""
    repeated = xla_on_cpu(lambda image: ops.fori_loop(0, 3, lambda _, image: 2 * image, image))
    for batch in (None, 4):
        caller = tf.function(lambda image: repeated(image), autograph=False)
        traced = caller.get_concrete_function(tf.TensorSpec((batch, 3)))
        assert traced.structured_outputs.shape.as_list() == [batch, 3]
