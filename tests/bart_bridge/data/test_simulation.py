"""Simulated datasets: reproducible, physically consistent, and with nothing of the test set in the training set."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import map_coordinates

from bart_bridge.data.dataset import SPLITS, Dataset
from bart_bridge.data.fourier import centred_fft
from bart_bridge.data.patterns import sampling_pattern
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.errors import InputError

DATA = Path(__file__).parents[2] / "data"
TINY = {"size": 16, "coil_count": 2, "train": 2, "validation": 1, "test": 1, "reference_size": 4, "seed": 3}


@pytest.fixture(scope="module")
def make(toolbox, tmp_path_factory):
    """Simulate a tiny dataset with other settings; return its folder."""

    def make(on_progress=None, **settings):
        folder = tmp_path_factory.mktemp("simulated") / "dataset"
        simulate(folder, Simulation(**{**TINY, **settings}), toolbox, on_progress)
        return folder

    return make


@pytest.fixture(scope="module")
def tiny(make):
    return make()


@pytest.fixture(scope="module")
def clean(make):
    """Without noise, and of odd size."""
    return make(size=25, coil_count=3, noise=0)


@pytest.fixture(scope="module")
def noise(make):
    """The noise of all slices of a fully sampled dataset, those of the training split first."""
    folder = make(size=24, coil_count=4, noise=0.05, acceleration=1)
    splits = [arrays(folder, name) for name in SPLITS]
    return np.concatenate([split["kspace"] - forward(split) for split in splits])


def arrays(folder, split="train"):
    return Dataset.open(folder).split(split).arrays()


def content(folder):
    """The bytes of all files."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forward(split):
    """P F C x, with numpy's Fourier transform."""
    return split["pattern"] * centred_fft(split["coils"][:, 0] * split["reference"])


def distance(one, other):
    """How much the objects in two images differ, whatever their rotation and phase."""
    one, other = angular_spectrum(one), angular_spectrum(other)
    return np.linalg.norm(one - other) / np.linalg.norm(one)


def angular_spectrum(image):
    """Magnitudes of an image's angular frequencies 1 to 11 on circles around the centre: blind to rotations."""
    image = np.abs(image).squeeze()
    centre = len(image) // 2
    radius, angle = np.arange(1, centre)[:, None], np.linspace(0, 2 * np.pi, 128, endpoint=False)
    circles = map_coordinates(image, [centre + radius * np.sin(angle), centre + radius * np.cos(angle)], order=1)
    return np.abs(np.fft.fft(circles))[:, 1:12]


# Randomness


def test_same_seed_gives_the_same_bytes_and_progress_is_told(make, tiny):
    progress = []
    again = content(make(lambda *call: progress.append(call)))
    assert len(again) == 1 + 3 * 4 * 2
    assert again == content(tiny)
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_every_bart_gives_the_dataset_of_0_2_0(each_toolbox, tmp_path):
    kept = Dataset.open(DATA / "version-0.2.0" / "checkpoint" / "dataset")
    simulate(tmp_path / "dataset", Simulation(**kept.description["simulation"]), each_toolbox)
    for name, expected in kept.split("train").arrays().items():
        np.testing.assert_array_equal(arrays(tmp_path / "dataset")[name], expected, err_msg=name)


@pytest.mark.parametrize(("size", "pattern"), [(17, "random"), (16, "radial"), (16, "spiral")])
def test_every_bart_gives_the_same_dataset(each_toolbox, make, tmp_path, size, pattern):
    """Within 1e-6: 1.0.00 transforms odd sizes otherwise by 1e-7, 0.9.00 samples trajectories otherwise by 4e-7."""
    settings = {"size": size, "pattern": pattern, "spokes": 9, "noise": 0.001}
    simulate(tmp_path / "dataset", Simulation(**{**TINY, **settings}), each_toolbox)
    expected = arrays(make(**settings))
    for name, values in arrays(tmp_path / "dataset").items():
        bound = 1e-6 if name == "kspace" else 0
        assert np.linalg.norm(values - expected[name]) <= bound * np.linalg.norm(expected[name]), name


def test_an_image_need_not_be_a_square(make):
    """Physically consistent along both axes, for phantoms and patterns of both kinds."""
    for settings in ({"pattern": "regular"}, {"acceleration": 6}):
        split = arrays(make(size=16, size_y=24, coil_count=3, noise=0, **settings))
        assert split["reference"].shape[-2:] == (24, 16)
        assert split["coils"].shape[-2:] == (24, 16)
        np.testing.assert_allclose(split["kspace"], forward(split), atol=1e-5)
        np.testing.assert_allclose(np.sum(np.abs(split["coils"]) ** 2, axis=2), 1, atol=1e-5)


def test_along_a_trajectory_images_are_squares():
    with pytest.raises(
        ValidationError, match=r"size_y: along the trajectory 'radial', images are squares \(received 24"
    ):
        Simulation(size=16, size_y=24, pattern="radial")


def test_another_seed_gives_others(make, tiny):
    first, second = arrays(tiny), arrays(make(seed=4))
    assert {name for name in first if np.array_equal(first[name], second[name])} == {"coils"}
    between = [distance(*pair) for pair in itertools.product(first["reference"], second["reference"])]
    assert min(between) > 2 * distance(*first["reference"])


def test_splits_share_no_phantom(make):
    folder = make(size=24, train=6, validation=6, test=6, seed=1)
    images = {split: arrays(folder, split)["reference"] for split in SPLITS}
    within = [distance(*images[split][item : item + 2]) for split in SPLITS for item in (0, 2, 4)]
    between = [
        distance(*pair)
        for one, other in itertools.combinations(SPLITS, 2)
        for pair in itertools.product(images[one], images[other])
    ]
    assert min(between) > 2 * max(within)


def test_slices_of_a_phantom_are_rotated(tiny):
    first, second = np.abs(arrays(tiny)["reference"][:, 0])
    assert np.linalg.norm(first - second) > 0.1 * np.linalg.norm(first)


# Sampling


def test_pattern_differs_from_slice_to_slice(tiny):
    patterns = np.concatenate([arrays(tiny, split)["pattern"] for split in SPLITS])
    assert len(np.unique(patterns, axis=0)) == len(patterns) == 4
    np.testing.assert_array_equal(patterns.sum(axis=(1, 2, 3)), 16 * 16 / 4)


def test_shared_pattern_is_one_for_all_splits(make):
    folder = make(pattern_per_slice=False)
    patterns = [arrays(folder, split)["pattern"] for split in SPLITS]
    assert patterns[0].shape == (1, 1, 16, 16)
    for pattern in patterns[1:]:
        np.testing.assert_array_equal(pattern, patterns[0])
    for split in SPLITS:
        Dataset.open(folder).split(split).validate()


def test_regular_pattern_and_single_coil(make):
    split = arrays(make(pattern="regular", coil_count=1))
    assert split["kspace"].shape == (2, 1, 16, 16)
    expected = sampling_pattern(16, 16, "regular", 4, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(split["pattern"], np.broadcast_to(expected, (2, 1, 16, 16)))


def test_kspace_is_zero_where_it_is_not_sampled(tiny):
    split = arrays(tiny)
    sampled = np.broadcast_to(split["pattern"] != 0, split["kspace"].shape)
    assert not split["kspace"][~sampled].any()
    assert split["kspace"][sampled].all()


# Physics


def test_forward_model_gives_the_kspace(clean):
    split = arrays(clean)
    assert np.linalg.norm(forward(split) - split["kspace"]) < 1e-5 * np.linalg.norm(split["kspace"])


def test_odd_size_is_valid(clean):
    for name in SPLITS:
        Dataset.open(clean).split(name).validate()
        assert arrays(clean, name)["kspace"].shape[-2:] == (25, 25)


def test_noise_has_its_standard_deviation(noise):
    assert np.sqrt(np.mean(np.abs(noise[:2]) ** 2)) == pytest.approx(0.05, rel=0.05)
    assert noise[:2].real.std() == pytest.approx(noise[:2].imag.std(), rel=0.05)
    assert abs(noise[:2].mean()) < 0.005


def test_noise_is_another_in_every_slice(noise):
    correlation = np.abs(np.corrcoef(noise.reshape(len(noise), -1)))
    assert (correlation - np.eye(len(noise))).max() < 0.1


def test_sensitivities_have_unit_root_sum_of_squares(clean):
    coils = arrays(clean)["coils"][:, 0]
    np.testing.assert_allclose(np.sum(np.abs(coils) ** 2, axis=1), 1, atol=1e-5)
    assert len(np.unique(coils[0], axis=0)) == 3


def test_more_coils_than_bart_has(make):
    coils = arrays(make(coil_count=9))["coils"][:, 0]
    assert coils.shape[1] == 9
    np.testing.assert_allclose(np.sqrt(np.sum(np.abs(coils) ** 2, axis=1)), 1, rtol=1e-5)
    steps = [np.abs(np.diff(coils, axis=axis)).max() for axis in (2, 3)]
    assert max(steps) < 0.2  # smooth


def test_references_have_maximum_one_and_a_phase(clean):
    reference = arrays(clean)["reference"]
    np.testing.assert_allclose(np.abs(reference).max(axis=(1, 2, 3)), 1, rtol=1e-6)
    bright = reference[np.abs(reference) > 0.3]
    assert np.angle(bright * bright[0].conj()).std() > 0.1


# The folder


def test_description_tells_how_to_repeat_it(tiny, toolbox):
    description = Dataset.open(tiny).description
    assert Simulation(**description["simulation"]) == Simulation(**TINY)
    assert description["bart"] == toolbox.version_text


@pytest.mark.parametrize(
    "setting",
    [
        {"size": 15},
        {"coil_count": 0},
        {"train": 0},
        {"slices_per_phantom": 0},
        {"noise": -0.1},
        {"noise": float("nan")},
        {"pattern": "lines"},
        {"acceleration": 0.9},
        {"reference_size": -1},
        {"seed": -1},
        {"colour": "red"},
    ],
    ids=str,
)
def test_impossible_setting_is_named(setting):
    with pytest.raises(ValidationError, match=next(iter(setting))):
        Simulation(**setting)


def test_centre_that_exceeds_the_acceleration(toolbox, tmp_path):
    with pytest.raises(
        InputError, match=r"reference_size must leave room .*: 9 squared is more than 1 of 4 .* 16 x 16"
    ):
        simulate(tmp_path / "dataset", Simulation(**{**TINY, "reference_size": 9}), toolbox)
    assert list(tmp_path.iterdir()) == []


def test_folder_in_use_is_refused(toolbox, tmp_path):
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(InputError, match="already exists"):
        simulate(tmp_path, Simulation(**TINY), toolbox)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize(
    "settings",
    [
        {"acceleration": float("inf")},
        {"acceleration": 1000, "reference_size": 0},
        {"noise": float("inf")},
        {"noise": 1e300},
        {"train": 1},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(toolbox, tmp_path, settings):
    with pytest.raises((InputError, ValueError), match="|".join(settings)):
        simulate(tmp_path / "data", Simulation(**{"size": 16, "reference_size": 4, **settings}), toolbox)


def test_more_coils_than_bart_draws(make):
    """15, as in the published knee data: consistent with its k-space, normalised, smooth, and all different."""
    split = arrays(make(size=24, coil_count=15, noise=0))
    assert split["coils"].shape == (2, 1, 15, 24, 24)
    np.testing.assert_allclose(np.sum(np.abs(split["coils"]) ** 2, axis=2), 1, rtol=1e-5)
    assert np.abs(split["kspace"] - forward(split)).max() < 1e-5 * np.abs(split["kspace"]).max()
