"""A trajectory in another unit than 1 / field of view: refused or doubted, and the unit that would fit is named."""

import re
from dataclasses import replace

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.data.trajectory_units import check_reach
from bart_bridge.errors import InputError
from bart_bridge.files import cfl

SIZE = 24
SETTINGS = {"size": SIZE, "coil_count": 2, "train": 2, "validation": 1, "test": 2, "spokes": 5}


@pytest.fixture(scope="module")
def folder(toolbox, tmp_path_factory):
    folder = tmp_path_factory.mktemp("radial") / "data"
    simulate(folder, Simulation(pattern="golden-angle", **SETTINGS), toolbox)
    return folder


@pytest.fixture
def scaled(folder, tmp_path):
    """The test split with its trajectory in another unit."""
    split = Dataset.open(folder).split("test")

    def scale(factor):
        cfl.write(tmp_path / "trajectory", factor * cfl.read(split.trajectory))
        return replace(split, trajectory=tmp_path / "trajectory")

    return scale


@pytest.mark.parametrize("pattern", ["radial", "golden-angle", "spiral"])
def test_simulated_trajectories_are_not_doubted(toolbox, tmp_path, pattern):
    simulate(tmp_path / "data", Simulation(pattern=pattern, **SETTINGS), toolbox)
    split = Dataset.open(tmp_path / "data").split("test")
    split.validate()
    assert split.trajectory_warnings() == []


@pytest.mark.parametrize(
    ("factor", "unit"),
    [
        (1 / SIZE, "cycles per pixel: multiply kx by 24 and ky by 24"),
        (0.3 / SIZE, "cycles per pixel: multiply kx by 24 and ky by 24"),
        (2 / SIZE, r"fractions of the largest position: multiply kx by 24/2 and ky by 24/2"),
        (0, "all of it is the centre"),
    ],
)
def test_a_reach_below_one_is_refused(scaled, factor, unit):
    split = scaled(factor)
    with pytest.raises(InputError, match=rf"trajectory: a trajectory must reach 1 / field of view .*{unit}"):
        split.validate()


@pytest.mark.parametrize(
    ("factor", "unit"),
    [(2 * np.pi, r"radians per field of view: multiply kx by 1/\(2 pi\)"), (1000 / 240, "multiplied by 0.2")],
)
def test_a_reach_beyond_the_pixels_is_refused(scaled, factor, unit):
    with pytest.raises(InputError, match=rf"must not be above the pixels of the image, 24, 24 and 0, .*{unit}"):
        scaled(factor).validate()


@pytest.mark.parametrize(
    ("factor", "doubt"),
    [
        (2 * np.pi / SIZE, r"less than half of the 12 and 12 .*radians per pixel: multiply kx by 24/\(2 pi\)"),
        (0.4, "less than half of the 12 and 12 .*multiplied by 2.6"),
        (2, r"more than the 12 and 12 .*1 / \(2 fields of view\): multiply kx by 1/2"),
        (1.3, "more than the 12 and 12 .*multiplied by 0.80"),
        (0.6, None),
    ],
)
def test_an_unlikely_reach_is_doubted_once(scaled, factor, doubt):
    split = scaled(factor)
    split.validate()
    warnings = split.trajectory_warnings()
    assert len(warnings) == (doubt is not None)
    for warning in warnings:
        assert re.search(doubt, warning), warning


def test_each_axis_has_its_size_and_each_slice_its_reach(tmp_path):
    positions = np.zeros((2, 3, 1, 5))
    positions[0, 0], positions[1, 0] = 8, 0.5
    with pytest.raises(InputError, match=r"found 0.5 in slice 1; .*multiply kx by 16 and ky by 64"):
        check_reach(tmp_path / "t", positions, (64, 16))
    positions[1, 0], positions[1, 1] = 0, 8
    (warning,) = check_reach(tmp_path / "t", positions, (64, 16))
    assert "reach 0 and 8 in slice 1, less than half of the 8 and 32" in warning


def test_positions_at_both_edges_are_within_the_grid(tmp_path):
    """From -N/2 to N/2, both ends included, as some tools have spokes."""
    spoke = np.zeros((1, 3, 1, SIZE))
    spoke[0, 0, 0] = np.linspace(-SIZE / 2, SIZE / 2, SIZE)
    assert check_reach(tmp_path / "t", spoke, (SIZE, SIZE)) == []
