import keras
import numpy as np

from tf_models.optimizers.adam import Adam


def test_the_first_step_by_hand():
    variable = keras.Variable(np.array([1.0, 2.0], np.float32))
    Adam(learning_rate=0.1, epsilon=1e-3).apply([np.array([0.5, -1e-4], np.float32)], [variable])
    # At t = 1 the corrected moments are g and g^2.
    expected = [1 - 0.1 * 0.5 / (0.5 + 1e-3), 2 + 0.1 * 1e-4 / (1e-4 + 1e-3)]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), expected, rtol=1e-6)


def test_the_first_step_is_the_learning_rate():
    """Not with 1 - beta_2 in double precision and its powers in single: these differ by 1.3e-5."""
    variable = keras.Variable(np.zeros(1, np.float32))
    Adam(learning_rate=1.0, epsilon=1e-12).apply([np.ones(1, np.float32)], [variable])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), -1, rtol=3e-7)


def test_ten_steps_are_algorithm_1_of_kingma():
    gradients = np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32) * 1e-6
    variable = keras.Variable(np.zeros(3, np.float32))
    optimizer = Adam(learning_rate=0.01)
    m = v = w = np.zeros(3)
    for t, g in enumerate(gradients.astype(float), start=1):
        optimizer.apply([g.astype(np.float32)], [variable])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-7)
    # Single precision of a path of ten steps of up to 0.01; epsilon at Keras's place is off by 1e-2.
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), w, rtol=0, atol=1e-6)
