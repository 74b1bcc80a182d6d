"""ADMM: single steps by hand, residuals, feasible weights."""

import keras
import numpy as np
import pytest
from keras import ops

from tests.tf_models.optimizers.problems import PENALTY, STEP, lasso, run
from tests.tf_models.optimizers.tiny_networks import fit, network
from tf_models.optimizers.admm import ADMM, at_feasible_copy


def test_admm_ends_where_the_gradient_is_the_dual():
    problem = lasso()
    optimizer = ADMM(STEP, rho=2.0, proximal={"w": problem.g})
    run(optimizer, problem.f, [problem.variable], 3000)
    feasible, dual = (ops.convert_to_numpy(state[0]) for state in (optimizer._feasible_copy, optimizer._dual))
    gradient = problem.matrix.T @ (problem.matrix @ feasible - problem.right) / len(problem.right)
    assert np.abs(gradient + 2.0 * dual).max() < 1e-5
    assert np.abs(2.0 * dual).max() <= PENALTY * (1 + 1e-5)


def test_a_step_of_admm_by_hand():
    variable = keras.Variable(np.array([1.0, -2.0]), dtype="float64", name="w")
    optimizer = ADMM(0.5, rho=2.0, proximal={"w": ["l1", 1.0]})
    gradients = [np.array([1.0, 1.0])]
    optimizer.apply(gradients, [variable])
    # w = (w - 0.5 + 1 z) / 2 with z = w; z = soft threshold by 1 / rho = 0.5; u = w - z.
    np.testing.assert_allclose(variable, [0.75, -2.25])
    np.testing.assert_allclose(optimizer._feasible_copy[0], [0.25, -1.75])
    optimizer.apply(gradients, [variable])
    np.testing.assert_allclose(variable, [(0.75 - 0.5 + 0.25 - 0.5) / 2, (-2.25 - 0.5 - 1.75 + 0.5) / 2])
    # w = [0, -2], u = w + u - z with u = [0.5, -0.5] before: z = soft([0.5, -2.5], 0.5) = [0, -2].
    np.testing.assert_allclose(optimizer._feasible_copy[0], [0, -2])
    assert optimizer.residuals() == pytest.approx({"primal_residual": 0, "dual_residual": 2 * np.sqrt(0.125)})


def test_residual_balancing_changes_rho_and_the_scaled_dual():
    variable = keras.Variable(np.array([1.0]), dtype="float64", name="w")
    optimizer = ADMM(0.5, rho=1e-3, balancing=True, proximal={"w": ["box", 0.0, 0.5]})
    optimizer.apply([np.array([-1.0])], [variable])
    # |w - z| is about 1 and rho |z_new - z| 0.0005: rho doubles, u = (w - z) / 2.
    assert float(optimizer._rho[0]) == pytest.approx(2e-3)
    assert float(optimizer._dual[0][0]) == pytest.approx((float(variable[0]) - 0.5) / 2)


def test_a_schedule_is_the_step_size_of_admm():
    """Without a map z follows w, and u stays 0: w <- w - eta G / (1 + eta rho)."""
    variable = keras.Variable(1.0, dtype="float64", name="w")
    optimizer = ADMM(keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25]), rho=2.0)
    expected = 1.0
    for eta in (0.5, 0.25):
        optimizer.apply([np.array(3.0)], [variable])
        expected -= eta * 3 / (1 + eta * 2)
        assert float(variable) == pytest.approx(expected, rel=1e-7)


def test_admm_hands_feasible_weights_over(batch):
    model = network("varnet", ADMM(0.05))
    seen, residuals = [], []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            before = ops.convert_to_numpy(model.regularizer.conv)
            with at_feasible_copy(model):
                seen.append(ops.convert_to_numpy(model.regularizer.conv))
            np.testing.assert_array_equal(ops.convert_to_numpy(model.regularizer.conv), before)
            assert np.abs(before - seen[-1]).max() > 0
            residuals.append(model.optimizer.residuals())

    fit(model, batch, 3, callbacks=[Look()])
    for filters in (*seen, ops.convert_to_numpy(model.regularizer.conv)):
        np.testing.assert_allclose(np.sum(filters**2, axis=(1, 2, 5)), 1, rtol=1e-5)
    assert [list(of_epoch) for of_epoch in residuals] == [["primal_residual", "dual_residual"]] * 3
    assert min(of_epoch["primal_residual"] for of_epoch in residuals) > 0
    assert model.regularizer.conv.constraint is not None, "the constraint is the variable's own again"
