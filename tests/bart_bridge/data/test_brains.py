"""Datasets of brains: which BARTs have one, and that heads differ as people do."""

import itertools

import numpy as np
import pytest

from bart_bridge.data import brains
from bart_bridge.data.dataset import SPLITS, Dataset
from bart_bridge.data.phantoms import Phantom
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.errors import InputError
from bart_bridge.tools import versions
from bart_bridge.tools.discovery import every_bart

SIZE = 24
SMALL = {"size": SIZE, "coil_count": 2, "train": 2, "validation": 1, "test": 1, "reference_size": 4, "seed": 3}


def with_a_brain():
    return [toolbox for toolbox in every_bart()[0] if toolbox.has(versions.BRAIN_PHANTOM)]


@pytest.fixture(scope="module")
def tissues():
    if not with_a_brain():
        pytest.skip("no BART 0.9.00 or later is found")
    return brains.labels(SIZE, with_a_brain()[0])


def arrays(folder):
    return Dataset.open(folder).split("train").arrays()


def image(tissues, split, number, angle=0):
    return np.abs(brains.image(Phantom(split, number, seed=1), tissues, (SIZE, SIZE), np.random.default_rng(angle)))


@pytest.mark.barts
def test_every_bart_with_a_brain_gives_the_same_dataset(tmp_path):
    """K-space within 1e-6: a BART that does not come from Debian has another FFTW, which rounds otherwise."""
    found = with_a_brain()
    if len(found) < 2:
        pytest.skip("fewer than two BARTs with a brain are found")
    for number, toolbox in enumerate(found):
        simulate(tmp_path / str(number), Simulation(phantom="brain", **SMALL), toolbox)
        expected = arrays(tmp_path / "0")
        for name, values in arrays(tmp_path / str(number)).items():
            bound = 1e-6 if name == "kspace" else 0
            difference = np.linalg.norm(values - expected[name])
            assert difference <= bound * np.linalg.norm(expected[name]), f"{toolbox.path}: {name}"


def test_a_bart_without_a_brain_refuses_it_or_draws_shapes(each_toolbox, tmp_path):
    has_brain = each_toolbox.has(versions.BRAIN_PHANTOM)
    simulate(tmp_path / "either", Simulation(phantom="brain-or-shapes", **SMALL), each_toolbox)
    description = Dataset.open(tmp_path / "either").description
    drawn = "brain" if has_brain else "shapes"
    assert description["source"] == ("simulated brains" if has_brain else "simulated phantoms")
    assert description["simulation"]["phantom"] == drawn
    simulate(tmp_path / "named", Simulation(phantom=drawn, **SMALL), each_toolbox)
    for name, values in arrays(tmp_path / "named").items():
        np.testing.assert_array_equal(values, arrays(tmp_path / "either")[name])
    if not has_brain:
        with pytest.raises(InputError, match=r"phantom 'brain' needs BART 0\.9 or later, .* is 0\.8\.00: use 'shapes'"):
            simulate(tmp_path / "brain", Simulation(phantom="brain", **SMALL), each_toolbox)
        assert not (tmp_path / "brain").exists()


def test_a_slice_has_four_tissues_and_air(tissues):
    assert tissues.shape == (4 * SIZE, 4 * SIZE)
    values, counts = np.unique(tissues, return_counts=True)
    np.testing.assert_array_equal(values, [0, 1, 2, 3, 4])
    assert counts.min() > 0.02 * tissues.size


def test_heads_differ_in_contrast(tissues):
    """Of two tissues, one in each half of the image."""
    halves = np.broadcast_to(np.repeat([1, 4], 2 * SIZE), tissues.shape)
    images = [image(halves, "train", number) for number in range(8)]
    ratios = [drawn[8:16, 4:8].mean() / drawn[8:16, 16:20].mean() for drawn in images]
    assert np.std(np.log(ratios)) > 0.2


def test_heads_differ_in_anatomy(tissues):
    """More than tilts of one head; also where all tissues are equally bright."""
    heads = [(split, number) for split in SPLITS for number in range(3)]
    tilted = [[image(tissues, *head, angle) for angle in (1, 2)] for head in heads]
    within = [np.linalg.norm(one - other) for one, other in tilted]
    between = [np.linalg.norm(one[0] - other[0]) for one, other in itertools.combinations(tilted, 2)]
    assert np.mean(between) > 2 * np.mean(within)
    outlines = [image(np.minimum(tissues, 1), *head) for head in heads]
    smallest = np.linalg.norm(outlines, axis=(1, 2)).min()
    for contents in ([one for one, _ in tilted], outlines):
        pairs = itertools.combinations(contents, 2)
        assert min(np.linalg.norm(one - other) for one, other in pairs) > 0.1 * smallest


def test_heads_are_complete_and_of_maximum_one(tissues):
    """The edge of an image has nothing but the ringing of its finite k-space."""
    for split, number in itertools.product(SPLITS, range(8)):
        drawn = image(tissues, split, number)
        assert drawn.max() == pytest.approx(1, rel=1e-6)
        edges = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
        assert edges.mean() < 0.1, (split, number)


def varied(tissues, split, number, shape=(SIZE, SIZE)):
    phantom = Phantom(split, number, seed=1)
    return np.abs(brains.image(phantom, tissues, shape, np.random.default_rng(0), varied=True))


def test_varied_heads_differ_more_and_have_lesions(tissues):
    """The same heads without variation differ less; in some, a bright or dark spot lies in one tissue."""
    plain, with_variation = ([draw(tissues, "train", number) for number in range(6)] for draw in (image, varied))

    def mean_distance(images):
        return np.mean([np.linalg.norm(one - other) for one, other in itertools.combinations(images, 2)])

    assert mean_distance(with_variation) > 1.1 * mean_distance(plain)
    white = np.full(tissues.shape, 4)
    spots = [varied(white, "train", number)[6:18, 6:18] for number in range(8)]
    # Without lesions, a tissue varies by a few percent only.
    assert sum(np.ptp(spot) / np.median(spot) > 0.4 for spot in spots) >= 2
    assert any(np.ptp(spot) / np.median(spot) < 0.4 for spot in spots)


def test_splits_share_no_varied_head(tissues):
    images = [varied(tissues, split, number) for split in SPLITS for number in range(4)]
    nearest = min(np.linalg.norm(one - other) for one, other in itertools.combinations(images, 2))
    assert nearest > 0.1 * np.linalg.norm(images[0])


def test_an_image_that_is_no_square_shows_the_same_head(tissues):
    """The field of view is a square: fewer pixels along an axis are a lower resolution there."""
    high, low = varied(tissues, "train", 0, (3 * SIZE, 3 * SIZE)), varied(tissues, "train", 0, (2 * SIZE, 3 * SIZE))
    assert low.shape == (2 * SIZE, 3 * SIZE)

    def thirds(axis_mean):
        return axis_mean.reshape(12, -1).mean(axis=1)

    np.testing.assert_allclose(thirds(high.mean(axis=1)), thirds(low.mean(axis=1)), rtol=0.1, atol=0.02)
