"""iPALM: single steps by hand, its rules, and the trainings of BART."""

import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.training_settings import IpalmRules, Training
from bart_bridge.tools import process
from tests.helper import relative_difference
from tests.tf_models.optimizers.problems import PENALTY, lasso, run
from tests.tf_models.optimizers.tiny_networks import SETTINGS, fit, network
from tf_models.backend import projections
from tf_models.optimizers.ipalm import IPALM
from tf_models.optimizers.ipalm_rules import PRESETS
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference


def test_a_step_of_ipalm_by_hand():
    """One block, f = w^2: at L = 1 the bound fails (curvature 2), at L = 2 it holds with equality."""
    variable = keras.Variable(1.0, dtype="float64", name="w")
    optimizer = IPALM()
    optimizer.step(lambda: variable.value**2, [variable])
    # Tries: 1 - 2 / 1 = -1 with bound 1 - 4 + 2 = -1 < 1, then 1 - 2 / 2 = 0 with bound 1 - 2 + 1 = 0.
    assert float(variable) == 0
    assert {name: int(count) for name, count in optimizer.counts().items()} == {
        "gradient_evaluations": 1,
        "loss_evaluations": 2,
        "backtracks": 1,
    }
    assert float(optimizer._scaled_lipschitz[0]) == pytest.approx(2 / 1.2)  # the learning rate is 1


def test_a_second_step_of_ipalm_has_inertia():
    variable = keras.Variable(1.0, dtype="float64", name="w")
    optimizer = IPALM(learning_rate=0.125, rules={"decrease_factor": 1.0})
    for _ in range(2):
        optimizer.step(lambda: variable.value**2, [variable])
    # 1 -> 1 - 2 / 8 = 0.75; then from 0.75 + 1 / 4 (0.75 - 1) = 0.6875 to 0.6875 (1 - 2 / 8).
    assert float(variable) == pytest.approx(0.6875 * 0.75, rel=1e-12)


def test_a_schedule_multiplies_the_step_of_ipalm():
    """f = w^2 / 2 from 1 at L = 2, then 4, both accepted: w is halved, then loses a quarter."""
    halved = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25])
    variable = keras.Variable(1.0, dtype="float64", name="w")
    optimizer = IPALM(halved, rules={"alpha": 0.0, "beta": 0.0, "decrease_factor": 1.0})
    for expected in (0.5, 0.375):
        optimizer.step(lambda: variable.value**2 / 2, [variable])
        assert float(variable) == pytest.approx(expected, rel=1e-7)


def test_the_bart_rules_reduce_the_momentum():
    """The same two steps with a start of L that is too small: rejected tries of the second step halve the inertia."""
    for preset in ("paper", "bart"):
        variable = keras.Variable(1.0, dtype="float64", name="w")
        optimizer = IPALM(learning_rate=0.5, preset=preset, rules={"slack": 0.0, "decrease_factor": 4.0})
        step = [optimizer.step(lambda v=variable: v.value**2 + 1, [variable]) for _ in range(3)][-1]
        counts = {name: int(count) for name, count in optimizer.counts().items()}
        assert np.isfinite(float(step))
        assert counts["loss_evaluations"] == counts["backtracks"] + 3
        expected = counts["loss_evaluations"] if preset == "bart" else 3
        assert counts["gradient_evaluations"] == expected


def test_without_inertia_ipalm_descends_and_is_the_proximal_gradient_method():
    problem = lasso()
    lipschitz = problem.largest_eigenvalue
    rules = {"alpha": 0.0, "beta": 0.0, "decrease_factor": 1.0}
    optimizer = IPALM(float(1 / lipschitz) * 0.9, rules=rules, proximal={"w": problem.g})
    rate = float(ops.convert_to_numpy(optimizer.learning_rate))
    point, before = np.ones(50), np.inf
    for _ in range(20):
        optimizer.step(problem.f, [problem.variable])
        gradient = problem.matrix.T @ (problem.matrix @ point - problem.right) / len(problem.right)
        moved = point - rate * gradient
        point = np.sign(moved) * np.maximum(np.abs(moved) - rate * PENALTY, 0)
        np.testing.assert_allclose(ops.convert_to_numpy(problem.variable), point, rtol=1e-10, atol=1e-12)
        assert problem.objective(point) <= before
        before = problem.objective(point)
    assert int(optimizer.counts()["backtracks"]) == 0


def test_non_negative_matrix_factorisation_with_two_blocks():
    # Seed 0 ends in another stationary point, at a residual of 2.6e-3: the problem is not convex.
    random = np.random.default_rng(1)
    matrix = random.random((30, 4)) @ random.random((4, 40))
    left = keras.Variable(random.random((30, 4)), dtype="float64", name="left")
    right = keras.Variable(random.random((4, 40)), dtype="float64", name="right")
    optimizer = IPALM(proximal={"left": ["non_negative"], "right": ["non_negative"]})
    run(optimizer, lambda: tf.reduce_sum((left.value @ right.value - matrix) ** 2) / 2, [left, right], 1000)
    factors = [ops.convert_to_numpy(each) for each in (left, right)]
    assert np.linalg.norm(factors[0] @ factors[1] - matrix) < 1e-4 * np.linalg.norm(matrix)
    assert all((factor >= 0).all() for factor in factors)
    # KKT: no gradient where a factor is positive, none that leads back inside where it is 0.
    residual = factors[0] @ factors[1] - matrix
    for factor, gradient in zip(factors, (residual @ factors[1].T, factors[0].T @ residual), strict=True):
        assert np.abs(np.minimum(factor, gradient)).max() < 1e-4


def test_ipalm_trains_feasible_weights_and_reports_its_work(batch):
    model = network("varnet", IPALM(preset="bart"))
    model.run_eagerly = True
    model.regularizer.conv.assign(3 * model.regularizer.conv + 1)
    history = fit(model, batch, 4)
    filters = ops.convert_to_numpy(model.regularizer.conv)
    np.testing.assert_allclose(np.sum(filters**2, axis=(1, 2, 5)), 1, rtol=1e-5)
    np.testing.assert_allclose(np.mean(filters, axis=(1, 2)), 0, atol=1e-6)
    assert ops.convert_to_numpy(model.data_consistency.lambdas).min() >= 0
    tries = np.array(history["loss_evaluations"])
    np.testing.assert_array_equal(tries, np.array(history["backtracks"]) + 3 * np.arange(1, 5))
    assert history["batch_loss"][-1] < history["batch_loss"][0]
    # What is recorded is the loss of the weights that the step leaves.
    inputs, reference = batch
    loss = model.compute_loss(inputs, reference, model(inputs, training=True))
    assert float(loss) == pytest.approx(history["batch_loss"][-1], rel=1e-6)


def test_filters_of_the_original_varnet_stay_in_the_ball(batch):
    model = network("varnet", IPALM(preset="vn", proximal={"conv": ["zero_mean_unit_ball"]}))
    model.regularizer.conv.assign(0.5 * projections.project_zero_mean_unit_sphere(model.regularizer.conv.value))
    model.run_eagerly = True
    fit(model, batch, 2)
    norms = np.sum(ops.convert_to_numpy(model.regularizer.conv) ** 2, axis=(1, 2, 5))
    assert norms.max() < 0.9, "the sphere would have made them 1"


@pytest.mark.slow
def test_the_statistics_of_batch_norm_change_once_per_block(batch):
    """With momentum 0 they are those of the last accepted point: of one evaluation at the weights of the end."""
    model = network("modl", IPALM(1e-2, preset="bart"))
    for norm in model.regularizer.norms:
        norm.momentum = 0.0
    history = fit(model, batch, 3)
    assert history["backtracks"][-1] > 0, "rejected tries must not count"
    found = model.named_weights()
    model(batch[0], training=True)
    for name in ("bn_0", "bn_i", "bn_n"):
        np.testing.assert_allclose(found[name], model.named_weights()[name], rtol=1e-6)
    # With momentum m, k blocks that see the same statistics s from 0 leave (1 - m^k) s.
    model = network("modl", IPALM(1e-6, preset="bart", rules={"decrease_factor": 1.0}))
    for norm in model.regularizer.norms:
        for statistic in (*norm.mean, *norm.variance):
            statistic.assign(ops.zeros_like(statistic))
    fit(model, batch, 1)
    blocks = len(model.trainable_variables)
    statistics = model.named_weights()["bn_0"]
    for norm in model.regularizer.norms:
        norm.momentum = 0.0
    model(batch[0], training=True)
    np.testing.assert_allclose(statistics, (1 - 0.95**blocks) * model.named_weights()["bn_0"], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["varnet", "modl"])
def test_xla_compiles_the_loss_of_ipalm(kind, batch):
    """As it does on a GPU, where thousands of small kernels become few; the steps are the same."""
    histories = []
    for jit_compile in (False, True):
        model = network(kind, IPALM(1.0 if kind == "varnet" else 1e-2, preset="bart"))
        model.compile(optimizer=model.optimizer, jit_compile=jit_compile)
        histories.append(fit(model, batch, 3))
        assert model.jit_compile is jit_compile
    plain, compiled = histories
    assert compiled["loss_evaluations"] == plain["loss_evaluations"]
    np.testing.assert_allclose(compiled["batch_loss"], plain["batch_loss"], rtol=1e-5)


@pytest.mark.parametrize(("learning_rate", "rejects"), [(1.0, False), (1e4, True)])
def test_ipalm_follows_bart(learning_rate, rejects, dataset_folder, toolbox, tmp_path):
    """The loss after every step of five epochs, and every lambda; undersampled, noisy data, two batches."""
    settings, split = SETTINGS["varnet"], Dataset.open(dataset_folder).split("train")
    training = Training(algorithm="ipalm", learning_rate=learning_rate, batch_size=2, epochs=5)
    initial = weights.random(settings, 0)
    weights.write(tmp_path / "initial", settings, initial)
    trained, recorded = tmp_path / "weights", tmp_path / "history"
    files = commands.TrainingFiles(split, trained, tmp_path / "initial", recorded)
    argv = commands.train_argv(toolbox, settings, training, 5, files)
    # BART backtracks without a limit on data that determine the weights.
    commands.check_trained(argv, process.run(argv, folder=tmp_path, timeout_s=300), settings, trained, recorded)
    expected = read_history(recorded, settings)
    reference = network_reference(split)
    model, (found,) = train(settings, training, TrainingData((network_inputs(split), reference)), initial)
    assert (int(model.optimizer.counts()["backtracks"]) > 0) == rejects
    for column in ("loss", "lambda_0", "lambda_1"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-5)
    for name, array in weights.read(trained, settings).items():
        assert relative_difference(model.named_weights()[name], array) < 1e-4


def test_ipalm_says_which_backends_it_runs_on(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "openvino")
    with pytest.raises(InputError, match=r"IPALM runs on the backends tensorflow, jax, torch\. Received: backend=op"):
        IPALM()


def test_ipalm_refuses_data_parallel_training():
    """In a process of its own: the processor is made two devices."""
    code = """
import keras, tensorflow as tf
from tf_models.optimizers.ipalm import IPALM
processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    variable = keras.Variable(1.0)
    IPALM().step(lambda: variable.value**2, [variable])
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "IPALM is not for data-parallel training. Received: 2 replicas" in finished.stderr


def test_the_presets_are_those_of_bart_and_the_original_code():
    bart = {"increase_factor": 2, "decrease_factor": 1.2, "lipschitz_min": 1e-10, "lipschitz_max": 1e10, "slack": 1e-3}
    original = {"increase_factor": 2, "decrease_factor": 4 / 3, "lipschitz_min": 1e-3, "maximum_tries": 40}
    for preset, expected in (("bart", bart), ("vn", original)):
        assert {name: getattr(PRESETS[preset], name) for name in expected} == expected


def test_rules_have_the_names_of_experiments_too():
    """As `ipalm:` in YAML and model files of version 0.2.0 name them."""
    rules = IpalmRules(increase=3, reduce=1.5, smallest=1e-3, largest=1e5).model_dump()
    expected = {"increase_factor": 3, "decrease_factor": 1.5, "lipschitz_min": 1e-3, "lipschitz_max": 1e5}
    assert IPALM(preset="bart", rules=rules).rules == replace(PRESETS["bart"], **expected)
