"""All optimizers on problems whose solution is known, and what each of them must keep to."""

import functools
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.optimize import lsq_linear
from sklearn.linear_model import Lasso

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process
from tests.helper import random_images, relative_difference, slow_but
from tf_models.backend import projections
from tf_models.networks.build import build
from tf_models.optimizers import proximal
from tf_models.optimizers.adam import Adam
from tf_models.optimizers.admm import ADMM, Residuals, evaluated_at_z
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import IPALM
from tf_models.optimizers.ipalm_rules import PRESETS
from tf_models.optimizers.schedules import BartSchedule
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference

PENALTY = 0.1


@dataclass
class Problem:
    """min f(w) + g(w), f = |A w - b|^2 / (2 n), with the solution of somebody else."""

    g: list[Any]
    solution: Any
    matrix: Any
    right: Any
    # Where an optimizer has no proximal map: g as a Keras constraint, or as a smooth part of f.
    constraint: Any = None
    smooth: Any = None
    variable: Any = field(init=False)

    def __post_init__(self):
        self.variable = keras.Variable(np.ones(self.matrix.shape[1]), dtype="float64", name="w")

    def f(self):
        residual = tf.linalg.matvec(self.matrix, self.variable.value) - self.right
        return tf.reduce_sum(residual**2) / (2 * len(self.right))

    def objective(self, point):
        residual = self.matrix @ point - self.right
        penalty = PENALTY * np.abs(point).sum() if self.g[0] == "l1" else 0
        return residual @ residual / (2 * len(residual)) + penalty

    @property
    def largest_eigenvalue(self):
        return np.linalg.norm(self.matrix, 2) ** 2 / len(self.right)

    def kkt(self, point):
        """How far a point is from being the fixed point of a proximal gradient step."""
        step = 1 / self.largest_eigenvalue
        gradient = self.matrix.T @ (self.matrix @ point - self.right) / len(self.right)
        return np.abs(point - ops.convert_to_numpy(proximal.proximal_map(self.g)(point - step * gradient, step))).max()


def data(d=50):
    random = np.random.default_rng(3)
    matrix = random.normal(size=(200, d))
    truth = np.where(random.random(d) < 0.2, random.normal(size=d), 0)
    return matrix, matrix @ truth + 0.1 * random.normal(size=200)


def lasso():
    matrix, right = data()
    solver = Lasso(alpha=PENALTY, fit_intercept=False, tol=1e-12, max_iter=100000).fit(matrix, right)
    return Problem(["l1", PENALTY], solver.coef_, matrix, right)


def ridge():
    matrix, right = data(20)
    n, d = matrix.shape
    solution = np.linalg.solve(matrix.T @ matrix / n + PENALTY * np.eye(d), matrix.T @ right / n)
    return Problem(["squared_l2", PENALTY], solution, matrix, right, smooth=PENALTY)


def box():
    matrix, right = data(20)
    solution = lsq_linear(matrix, right, (-0.2, 0.2), method="bvls", tol=1e-14).x
    assert 0 < np.sum(np.abs(solution) == 0.2) < 20, "the box must matter"
    return Problem(["box", -0.2, 0.2], solution, matrix, right, constraint=lambda w: ops.clip(w, -0.2, 0.2))


PROBLEMS = {"lasso": lasso, "ridge": ridge, "box": box}
# 1 / L of the three problems is 0.4 to 0.6; ADMM and SGD need a step below it.
STEP = 0.3
FALLING = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.5)
# Optimizer, number of steps, and the largest difference to the solution; None: only the gap of the objective, 1e-3.
SOLVERS = {
    "sgd": (lambda g: SGD(STEP), 1000, 1e-5),
    "adam": (lambda g: Adam(FALLING), 2000, 1e-5),
    **{
        f"ipalm paper, L0 {start:g}": (lambda g, start=start: IPALM(1 / start, proximal={"w": g}), 600, 1e-5)
        for start in (1e-3, 1.0, 1e3)
    },
    "ipalm bart": (lambda g: IPALM(preset="bart", proximal={"w": g}), 600, None),
    "ipalm vn": (lambda g: IPALM(preset="vn", proximal={"w": g}), 600, None),
    **{
        f"admm, rho {rho:g}": (lambda g, rho=rho: ADMM(STEP, rho=rho, proximal={"w": g}), 3000, 1e-5)
        for rho in (0.1, 1.0, 10.0)
    },
    "admm, relaxed": (lambda g: ADMM(STEP, relaxation=1.6, proximal={"w": g}), 3000, 1e-5),
    "admm, interval 5": (lambda g: ADMM(STEP, dual_interval=5, proximal={"w": g}), 5000, 1e-5),
    "admm, balancing": (lambda g: ADMM(STEP, rho=100.0, balancing=True, proximal={"w": g}), 3000, 1e-5),
}


def run(optimizer, f, variables, steps):
    """Do many steps in one graph, whatever the optimizer."""

    def step(count):
        if isinstance(optimizer, IPALM):
            optimizer.step(f, variables)
            return [count + 1]
        with tf.GradientTape() as tape:
            loss = f()
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return [count + 1]

    optimizer.build(variables)
    tf.function(lambda: tf.while_loop(lambda count: count < steps, step, [0]))()


# SGD and Adam have no proximal map of l1.
@pytest.mark.parametrize(
    ("problem", "name"),
    [pair for pair in itertools.product(PROBLEMS, SOLVERS) if pair not in {("lasso", "sgd"), ("lasso", "adam")}],
)
def test_solved_problems(problem, name):
    problem = PROBLEMS[problem]()
    make, steps, tolerance = SOLVERS[name]
    optimizer, f = make(problem.g), problem.f
    if name in ("sgd", "adam"):
        problem.variable.constraint = problem.constraint
        if problem.smooth:
            f = lambda: problem.f() + problem.smooth / 2 * tf.reduce_sum(problem.variable.value**2)  # noqa: E731
    run(optimizer, f, [problem.variable], steps)
    optimizer.finalize_variable_values([problem.variable])
    found = ops.convert_to_numpy(problem.variable)
    assert problem.objective(found) - problem.objective(problem.solution) < 1e-3
    if tolerance is not None:
        np.testing.assert_allclose(found, problem.solution, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(found != 0, problem.solution != 0)
        assert problem.kkt(found) < 1e-5
    if isinstance(optimizer, ADMM):
        assert max(optimizer.residuals().values()) < 1e-4


def test_admm_ends_where_the_gradient_is_the_dual():
    problem = lasso()
    optimizer = ADMM(STEP, rho=2.0, proximal={"w": problem.g})
    run(optimizer, problem.f, [problem.variable], 3000)
    split, dual = ops.convert_to_numpy(optimizer.split()[0]), ops.convert_to_numpy(optimizer._dual[0])
    gradient = problem.matrix.T @ (problem.matrix @ split - problem.right) / len(problem.right)
    assert np.abs(gradient + 2.0 * dual).max() < 1e-5
    assert np.abs(2.0 * dual).max() <= PENALTY * (1 + 1e-5)


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
    assert float(optimizer.lipschitz()[0]) == pytest.approx(2 / 1.2)


def test_a_second_step_of_ipalm_has_inertia():
    variable = keras.Variable(1.0, dtype="float64", name="w")
    optimizer = IPALM(learning_rate=0.125, rules={"reduce": 1.0})
    for _ in range(2):
        optimizer.step(lambda: variable.value**2, [variable])
    # 1 -> 1 - 2 / 8 = 0.75; then from 0.75 + 1 / 4 (0.75 - 1) = 0.6875 to 0.6875 (1 - 2 / 8).
    assert float(variable) == pytest.approx(0.6875 * 0.75, rel=1e-12)


def test_the_bart_rules_reduce_the_momentum():
    """The same two steps with a start of L that is too small: rejected tries of the second step halve the inertia."""
    for preset in ("paper", "bart"):
        variable = keras.Variable(1.0, dtype="float64", name="w")
        optimizer = IPALM(learning_rate=0.5, preset=preset, rules={"slack": 0.0, "reduce": 4.0})
        step = [optimizer.step(lambda v=variable: v.value**2 + 1, [variable]) for _ in range(3)][-1]
        counts = {name: int(count) for name, count in optimizer.counts().items()}
        assert np.isfinite(float(step))
        assert counts["loss_evaluations"] == counts["backtracks"] + 3
        expected = counts["loss_evaluations"] if preset == "bart" else 3
        assert counts["gradient_evaluations"] == expected


def test_without_inertia_ipalm_descends_and_is_the_proximal_gradient_method():
    problem = lasso()
    lipschitz = problem.largest_eigenvalue
    rules = {"alpha": 0.0, "beta": 0.0, "reduce": 1.0}
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


def test_a_step_of_admm_by_hand():
    variable = keras.Variable(np.array([1.0, -2.0]), dtype="float64", name="w")
    optimizer = ADMM(0.5, rho=2.0, proximal={"w": ["l1", 1.0]})
    gradients = [np.array([1.0, 1.0])]
    optimizer.apply(gradients, [variable])
    # w = (w - 0.5 + 1 z) / 2 with z = w; z = soft threshold by 1 / rho = 0.5; u = w - z.
    np.testing.assert_allclose(variable, [0.75, -2.25])
    np.testing.assert_allclose(optimizer.split()[0], [0.25, -1.75])
    optimizer.apply(gradients, [variable])
    np.testing.assert_allclose(variable, [(0.75 - 0.5 + 0.25 - 0.5) / 2, (-2.25 - 0.5 - 1.75 + 0.5) / 2])
    # w = [0, -2], u = w + u - z with u = [0.5, -0.5] before: z = soft([0.5, -2.5], 0.5) = [0, -2].
    np.testing.assert_allclose(optimizer.split()[0], [0, -2])
    assert optimizer.residuals() == pytest.approx({"primal_residual": 0, "dual_residual": 2 * np.sqrt(0.125)})


def test_residual_balancing_changes_rho_and_the_scaled_dual():
    variable = keras.Variable(np.array([1.0]), dtype="float64", name="w")
    optimizer = ADMM(0.5, rho=1e-3, balancing=True, proximal={"w": ["box", 0.0, 0.5]})
    optimizer.apply([np.array([-1.0])], [variable])
    # |w - z| is about 1 and rho |z_new - z| 0.0005: rho doubles, u = (w - z) / 2.
    assert float(optimizer._rho[0]) == pytest.approx(2e-3)
    assert float(optimizer._dual[0][0]) == pytest.approx((float(variable[0]) - 0.5) / 2)


CONFIGURED = [
    IPALM(0.5, "bart", {"alpha": 0.3, "slack": 0.1}, {"conv": ["zero_mean_unit_ball"], "rbf": ["l1", 0.1]}),
    IPALM(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
    ADMM(0.1, rho=3.0, relaxation=1.5, dual_interval=2, balancing=True, proximal={"rbf": ["box", -1, 1]}),
    ADMM(keras.optimizers.schedules.InverseTimeDecay(0.1, 100, 1.0), clipnorm=1.0),
]


@pytest.mark.parametrize("optimizer", CONFIGURED, ids=["ipalm", "ipalm schedule", "admm", "admm schedule"])
def test_configuration_round_trip(optimizer):
    config = json.loads(json.dumps(keras.optimizers.serialize(optimizer)))
    again = keras.optimizers.deserialize(config)
    assert again.get_config() == optimizer.get_config()


SETTINGS = {
    "varnet": VarNetSettings(iterations=2, filters=3, kernel_x=3, kernel_y=3, basis=5),
    "modl": ModlSettings(iterations=1, layers=3, filters=2, max_cg_iterations=3),
}
MAKERS = {
    "sgd": lambda: SGD(0.01),
    "adam": lambda: Adam(0.01),
    "ipalm": lambda: IPALM(keras.optimizers.schedules.ExponentialDecay(1.0, 2, 0.5), preset="bart"),
    "admm": lambda: ADMM(keras.optimizers.schedules.ExponentialDecay(0.05, 2, 0.5), dual_interval=2),
}


def network(kind, optimizer):
    model = build(SETTINGS[kind], weights.random(SETTINGS[kind], 0))
    model.compile(optimizer=optimizer)
    return model


@pytest.fixture(scope="module")
def batch():
    inputs = {"adjoint": random_images((2, 12, 12, 2)), "coils": random_images((2, 2, 12, 12, 2), 1) * 0.5}
    inputs["psf"] = (np.random.default_rng(2).random((2, 12, 12)) < 0.5).astype(np.float32)
    return inputs, random_images((2, 12, 12, 2), 3)


def fit(model, batch, epochs, **arguments):
    return model.fit(*batch, batch_size=2, epochs=epochs, shuffle=False, verbose=0, **arguments).history


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("varnet", name) for name in MAKERS),
        pytest.param("modl", "ipalm", marks=pytest.mark.slow),
        pytest.param("modl", "admm", marks=pytest.mark.slow),
    ],
)
def test_training_continues_from_a_checkpoint_bit_by_bit(kind, name, batch, tmp_path):
    """Five epochs at once, and the last two of them from what was saved after three, whole or as weights alone."""
    model = network(kind, MAKERS[name]())
    saving = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.weights.h5", save_weights_only=True),
    ]
    losses = fit(model, batch, 5, callbacks=saving)["batch_loss"]
    assert len(set(losses)) == 5
    expected = [ops.convert_to_numpy(variable) for variable in (*model.variables, *model.optimizer.variables)]
    whole = keras.saving.load_model(tmp_path / "3.keras")
    alone = network(kind, MAKERS[name]())
    alone.optimizer.build(alone.trainable_variables)
    alone.load_weights(tmp_path / "3.weights.h5")
    for again in (whole, alone):
        assert fit(again, batch, 2)["batch_loss"] == losses[3:]
        for variable, value in zip((*again.variables, *again.optimizer.variables), expected, strict=True):
            np.testing.assert_array_equal(ops.convert_to_numpy(variable), value, err_msg=variable.path)


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
    model = network("modl", IPALM(1e-6, preset="bart", rules={"reduce": 1.0}))
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


def test_ipalm_trains_feasible_weights_and_reports_its_work(batch):
    model = network("varnet", IPALM(preset="bart"))
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


@pytest.mark.parametrize(("learning_rate", "rejects"), [(1.0, False), (1e4, True)])
def test_ipalm_follows_bart(learning_rate, rejects, dataset_folder, toolbox, tmp_path):
    """The loss after every step of five epochs, and every lambda; undersampled, noisy data, two batches."""
    settings, split = SETTINGS["varnet"], Dataset.open(dataset_folder).split("train")
    training = Training(algorithm="ipalm", learning_rate=learning_rate, batch_size=2, epochs=5)
    initial = weights.random(settings, 0)
    weights.write(tmp_path / "initial", settings, initial)
    trained, recorded = tmp_path / "weights", tmp_path / "history"
    argv = commands.train_argv(
        toolbox, settings, training, 5, split, trained, initial=tmp_path / "initial", history=recorded
    )
    # BART backtracks without a limit on data that determine the weights.
    commands.check_trained(argv, process.run(argv, folder=tmp_path, timeout_s=300), settings, trained, recorded)
    expected = read_history(recorded, settings)
    reference = network_reference(split)
    model, (found,) = train(settings, training, network_inputs(split), reference, initial)
    assert (int(model.optimizer.counts()["backtracks"]) > 0) == rejects
    for column in ("loss", "lambda_0", "lambda_1"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-5)
    for name, array in weights.read(trained, settings).items():
        assert relative_difference(model.named_weights()[name], array) < 1e-4


def test_what_bart_cannot_train_is_refused_with_the_reason(dataset_folder, toolbox, tmp_path):
    split = Dataset.open(dataset_folder).split("train")

    def argv(kind, version, **training):
        box = replace(toolbox, version=version)
        files = {"initial": tmp_path / "i", "history": tmp_path / "h"}
        return commands.train_argv(box, SETTINGS[kind], Training(**training), 1, split, tmp_path / "w", **files)

    with pytest.raises(InputError, match="reconet has no ADMM"):
        argv("varnet", (1, 0, 0), algorithm="admm")
    with pytest.raises(
        InputError, match=r"0\.8\.00 has iPALM only as the default of VarNet; for modl '-T ipalm' runs Adam"
    ):
        argv("modl", (0, 8, 0), algorithm="ipalm")
    with pytest.raises(InputError, match=r"0\.8\.00 ignores the sub-options of --iPALM"):
        argv("varnet", (0, 8, 0), algorithm="ipalm", ipalm={"reduce": 1.5})
    assert "--iPALM=" not in " ".join(argv("varnet", (0, 8, 0), algorithm="ipalm"))
    newer = " ".join(argv("modl", (1, 0, 0), algorithm="ipalm", ipalm={"reduce": 1.5}))
    assert "-Tipalm,learning-rate=1," in newer
    assert "--iPALM=L-min=1e-10,L-max=1e+10,L-reduce=1.5,L-increase=2" in newer


def test_filters_of_the_original_varnet_stay_in_the_ball(batch):
    model = network("varnet", IPALM(preset="vn", proximal={"conv": ["zero_mean_unit_ball"]}))
    model.regularizer.conv.assign(0.5 * projections.project_zero_mean_unit_sphere(model.regularizer.conv.value))
    fit(model, batch, 2)
    norms = np.sum(ops.convert_to_numpy(model.regularizer.conv) ** 2, axis=(1, 2, 5))
    assert norms.max() < 0.9, "the sphere would have made them 1"


def test_admm_hands_feasible_weights_over(batch):
    model = network("varnet", ADMM(0.05))
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            before = ops.convert_to_numpy(model.regularizer.conv)
            with evaluated_at_z(model):
                seen.append(ops.convert_to_numpy(model.regularizer.conv))
            np.testing.assert_array_equal(ops.convert_to_numpy(model.regularizer.conv), before)
            assert np.abs(before - seen[-1]).max() > 0

    history = fit(model, batch, 3, callbacks=[Look(), Residuals()])
    for filters in (*seen, ops.convert_to_numpy(model.regularizer.conv)):
        np.testing.assert_allclose(np.sum(filters**2, axis=(1, 2, 5)), 1, rtol=1e-5)
    assert len(history["primal_residual"]) == len(history["dual_residual"]) == 3
    assert min(history["primal_residual"]) > 0
    assert model.regularizer.conv.constraint is not None, "the constraint is the variable's own again"


def test_a_schedule_is_the_step_size_of_admm():
    """Without a map z follows w, and u stays 0: w <- w - eta G / (1 + eta rho)."""
    variable = keras.Variable(1.0, dtype="float64", name="w")
    optimizer = ADMM(keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25]), rho=2.0)
    expected = 1.0
    for eta in (0.5, 0.25):
        optimizer.apply([np.array(3.0)], [variable])
        expected -= eta * 3 / (1 + eta * 2)
        assert float(variable) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("name", "forward", "copies"), [("sgd", 1, 0), ("adam", 1, 2), ("admm", 1, 2)])
def test_only_ipalm_evaluates_the_loss_again(name, forward, copies, batch, monkeypatch):
    """Forward passes of a step, and what the optimizer keeps beside the weights, also in the mix-in of iPALM."""
    model, passes = network("varnet", MAKERS[name]()), []
    monkeypatch.setattr(model.regularizer, "call", spy(model.regularizer.call, passes))
    model.run_eagerly = True
    fit(model, batch, 2)
    assert len(passes) == 2 * forward * SETTINGS["varnet"].iterations
    shapes = [tuple(variable.shape) for variable in model.trainable_variables]
    kept = [tuple(variable.shape) for variable in model.optimizer.variables if len(variable.shape)]
    assert sorted(kept) == sorted(copies * shapes)


def spy(function, calls):
    @functools.wraps(function)
    def called(*arguments, **named):
        calls.append(1)
        return function(*arguments, **named)

    return called


@pytest.mark.parametrize("name", slow_but(["ipalm", "admm"], "admm"))
@pytest.mark.parametrize("kind", slow_but(["varnet", "modl"], "varnet"))
def test_the_lean_plan_takes_the_same_steps(kind, name, batch):
    histories = []
    for memory in ("plain", "lean"):
        model = build(SETTINGS[kind], weights.random(SETTINGS[kind], 0), memory=memory)
        model.compile(optimizer=MAKERS[name]())
        histories.append(fit(model, batch, 4))
    plain, leanly = histories
    assert len(set(plain["batch_loss"])) == 4
    np.testing.assert_allclose(leanly["batch_loss"], plain["batch_loss"], rtol=1e-5)
    assert leanly.get("backtracks") == plain.get("backtracks")


def test_a_schedule_multiplies_the_step_of_ipalm():
    """f = w^2 / 2 from 1 at L = 2, then 4, both accepted: w is halved, then loses a quarter."""
    halved = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25])
    variable = keras.Variable(1.0, dtype="float64", name="w")
    optimizer = IPALM(halved, rules={"alpha": 0.0, "beta": 0.0, "reduce": 1.0})
    for expected in (0.5, 0.375):
        optimizer.step(lambda: variable.value**2 / 2, [variable])
        assert float(variable) == pytest.approx(expected, rel=1e-7)


# What would only be noticed at the first update, or never.
WRONG_MAPS = [
    (["l3"], "must be a list that begins with one of l1"),
    ("l1", "must be a list that begins with one of l1"),
    ([], "must be a list that begins with one of l1"),
    (["box", 1], "too few or too many numbers for box"),
    (["box", 0, 1, 2], "too few or too many numbers for box"),
    (["box", 1, 0], "`upper` must be a number at least 1. Received: upper=0"),
    (["box", "a", "b"], "`lower` must be a number"),
    (["box", float("nan"), 1], "`lower` must be a number"),
    (["l1", -1], "`weight of l1` must be a number at least 0"),
    (["squared_l2", 1, 2], "too few or too many numbers for squared_l2"),
    (["non_negative", 1], "too few or too many numbers for non_negative"),
]
WRONG_RULES = [
    {"alpha": -0.1},
    {"alpha": 0.5, "beta": 0.1, "step": "nonconvex"},
    {"alpha": 1.0, "beta": 0.1, "step": "convex"},
    {"beta": -0.1},
    {"increase": 1.0},
    {"reduce": 0.5},
    {"smallest": 0.0},
    {"largest": 1e-11},
    {"slack": -1.0},
    {"maximum_tries": 0},
    {"step": "long"},
]
WRONG_SCHEDULES = [
    ({"learning_rate": 0.0}, "`learning_rate` must be a number above 0"),
    ({"final_learning_rate": 0.0}, "`final_learning_rate` must be a number above 0"),
    ({"epochs": 0}, "`epochs` must be a whole number at least 1"),
    ({"batches": 0}, "`batches` must be a whole number at least 1"),
    ({"cosine_epochs": 1, "final_learning_rate": 0.1}, "`cosine_epochs` must be a whole number at least 2"),
    ({"cosine_epochs": 2}, "`cosine_epochs` needs a `final_learning_rate`"),
    ({"warmup_epochs": -1}, "`warmup_epochs` must be a whole number at least 0"),
]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: IPALM(preset="best"), "`preset` must be one of paper, bart, vn. Received: preset=best"),
        (lambda: IPALM(rules={"speed": 1}), "`rules` must be fields of Rules. Received: speed"),
        (lambda: IPALM(clipnorm=1.0), "`clipnorm` is not supported"),
        *(
            (lambda rho=rho: ADMM(rho=rho), "`rho` must be a number above 0")
            for rho in (0.0, float("nan"), float("inf"))
        ),
        (lambda: ADMM(relaxation=2.0), "`relaxation` must be in the range"),
        *(
            (lambda count=count: ADMM(dual_interval=count), "`dual_interval` must be a whole number at least 1")
            for count in (0, 1.5, True)
        ),
        *(
            (lambda make=make, rate=rate: make(learning_rate=rate), "`learning_rate` must be a number above 0")
            for make in (SGD, Adam, ADMM, IPALM)
            for rate in (0.0, -1.0, float("nan"), float("inf"))
        ),
        *(
            (lambda make=make, name=name: make(**{name: -0.1}), f"`{name}` must be a number at least 0")
            for make in (SGD, Adam)
            for name in ("shrinkage", "bart_clip_norm", "bart_clip_value")
        ),
        (lambda: Adam(epsilon=0.0), "`epsilon` must be a number above 0. Received: epsilon=0.0"),
        (lambda: Adam(beta_1=1.0), "`beta_1` must be a number at least 0 and below 1"),
        (lambda: Adam(reset_steps=0), "`reset_steps` must be a whole number at least 1"),
        *(
            (lambda rules=rules: IPALM(rules=rules), f"`{name}` must be")
            for rules in WRONG_RULES
            for name in list(rules)[:1]
        ),
        *((lambda words=words: ADMM(proximal={"w": words}), message) for words, message in WRONG_MAPS),
        *((lambda words=words: IPALM(proximal={"w": words}), message) for words, message in WRONG_MAPS),
        (
            lambda: ADMM(proximal={"w": ["zero_mean_unit_ball"]}).build([keras.Variable([1.0], name="w")]),
            r"is for filters .* Received: w \(1,\)",
        ),
        *(
            (lambda change=change: BartSchedule(**{"learning_rate": 1.0, "epochs": 3, "batches": 2, **change}), message)
            for change, message in WRONG_SCHEDULES
        ),
        (lambda: ADMM(weight_decay=0.1), "`weight_decay` is not supported"),
        (lambda: IPALM().apply([1.0], [keras.Variable(1.0)]), "evaluates the objective: train a model with Closure"),
        (lambda: ADMM(proximal={"x": ["l1"]}).build([keras.Variable(1.0, name="w")]), "must name variables"),
    ],
)
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_ipalm_says_which_backend_it_needs():
    code = "import keras; keras.backend.backend = lambda: 'jax'\nfrom tf_models.optimizers.ipalm import IPALM\nIPALM()"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "IPALM needs the backend tensorflow. Received: backend=jax" in finished.stderr


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
    assert "IPALM is not for data-parallel training. Received: a strategy of several replicas" in finished.stderr


def test_ipalm_refuses_scaled_losses():
    with pytest.raises(ValueError, match="ipalm compares losses, which mixed_float16 scales"):
        Training(algorithm="ipalm", precision="mixed_float16")


def test_proximal_maps_minimise():
    """Against a fine grid around the point, in one dimension after the other."""
    random = np.random.default_rng(0)
    values, step = random.normal(size=5) * 2, 0.7
    penalties = {
        "l1": lambda x: 0.3 * np.abs(x).sum(),
        "squared_l2": lambda x: 0.3 / 2 * (x**2).sum(),
    }
    for name, penalty in penalties.items():
        found = ops.convert_to_numpy(proximal.proximal_map([name, 0.3])(values, step))
        value = np.sum((found - values) ** 2) / 2 + step * penalty(found)
        for _ in range(200):
            other = found + 0.1 * random.normal(size=5)
            assert value <= np.sum((other - values) ** 2) / 2 + step * penalty(other)


def centred(filters):
    return filters - filters.mean(axis=(1, 2), keepdims=True)


def norms(filters):
    return np.sqrt(np.sum(filters**2, axis=(1, 2, 5), keepdims=True))


# How far an array is from a set, and an array of the set made of any other, neither by the projection.
SETS = {
    "box": (["box", -0.5, 0.5], lambda x: np.maximum(np.abs(x) - 0.5, 0), lambda x: np.tanh(x) / 2),
    "non_negative": (["non_negative"], lambda x: np.maximum(-x, 0), np.abs),
    "unit_ball": (["unit_ball"], lambda x: max(np.linalg.norm(x) - 1, 0), lambda x: x / (1 + np.linalg.norm(x))),
    "zero_mean_unit_ball": (
        ["zero_mean_unit_ball"],
        lambda x: np.maximum(norms(x) - 1, 0) + np.abs(x.mean(axis=(1, 2), keepdims=True)),
        lambda x: centred(x) / (1 + norms(centred(x))),
    ),
    "zero_mean_unit_sphere": (
        ["zero_mean_unit_sphere"],
        lambda x: np.abs(norms(x) - 1) + np.abs(x.mean(axis=(1, 2), keepdims=True)),
        lambda x: centred(x) / norms(centred(x)),
    ),
}


@pytest.mark.parametrize("size", [0.01, 3.0], ids=["small", "large"])
@pytest.mark.parametrize("name", SETS)
def test_projections_are_the_nearest_points(name, size):
    """In the set, and nearer than any of it; for a convex set, an obtuse angle with all of them."""
    specification, distance, member = SETS[name]
    random = np.random.default_rng(1)
    project = proximal.proximal_map(specification)
    values = size * random.normal(size=(1, 3, 3, 1, 2, 2))
    found = ops.convert_to_numpy(project(values, 1.0))
    assert np.max(distance(found)) < 1e-12
    np.testing.assert_allclose(ops.convert_to_numpy(project(found, 1.0)), found, atol=1e-12)
    for _ in range(200):
        for other in (
            member(3 * random.normal(size=values.shape)),
            member(values + 0.1 * random.normal(size=values.shape)),
        ):
            assert np.max(distance(other)) < 1e-12
            assert np.linalg.norm(found - values) <= np.linalg.norm(other - values) + 1e-12
            if name != "zero_mean_unit_sphere":
                assert np.sum((values - found) * (other - found)) < 1e-12
    if np.max(distance(values)) == 0:
        np.testing.assert_array_equal(found, values)


def test_constant_filters_become_zero():
    constant = np.ones((1, 3, 3, 1, 1, 2))
    for project in (projections.project_zero_mean_unit_sphere, projections.project_zero_mean_unit_ball):
        np.testing.assert_array_equal(ops.convert_to_numpy(project(constant)), 0)


def test_the_presets_are_those_of_bart_and_the_original_code():
    bart, original = PRESETS["bart"], PRESETS["vn"]
    assert (bart.increase, bart.reduce, bart.smallest, bart.largest, bart.slack) == (2, 1.2, 1e-10, 1e10, 1e-3)
    assert (original.increase, original.reduce, original.smallest, original.maximum_tries) == (2, 4 / 3, 1e-3, 40)
