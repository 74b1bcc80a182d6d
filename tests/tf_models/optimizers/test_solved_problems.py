"""Every optimizer on problems whose solution is known."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from tests.tf_models.optimizers.problems import PROBLEMS, STEP, run
from tf_models.optimizers.adam import Adam
from tf_models.optimizers.admm import ADMM
from tf_models.optimizers.bart_modifiers import SGD
from tf_models.optimizers.ipalm import IPALM

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
