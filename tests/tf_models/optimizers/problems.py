"""Convex problems whose solution somebody else computes, and a loop for any optimizer."""

from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from scipy.optimize import lsq_linear
from sklearn.linear_model import Lasso

from tf_models.optimizers import proximal
from tf_models.optimizers.ipalm import IPALM

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
