"""Proximal maps and projections are the minimisers that they claim to be."""

import numpy as np
import pytest
from keras import ops

from tf_models.backend import projections
from tf_models.optimizers import proximal


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
