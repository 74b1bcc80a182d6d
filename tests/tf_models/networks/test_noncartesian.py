"""Networks on radial and spiral data: the Toeplitz normal operator, and images against the installed BART."""

import numpy as np
import pytest
from keras import ops

from bart_bridge.data import noncartesian
from bart_bridge.data.dataset import Dataset
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.files.dims import from_batch_coil_yx, from_batch_positions, to_batch_coil_samples
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tests.helper import random_images, relative_difference, slow_but, to_complex
from tests.tf_models.against_bart import (
    FIXED,
    MODL,
    OWN,
    VARNET,
    assert_drop_in_writes_the_images_of_bart,
    history_of_bart,
    images_of,
    images_of_bart,
)
from tf_models.backend.channels import channels_to_complex
from tf_models.operators.sense import SenseNormal
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference

SIZES = [(8, 8), (8, 12), (9, 12), (10, 7), (7, 5)]
KINDS = ["cartesian", "radial", "spiral"]
MAPS = pytest.mark.parametrize("maps", [1, 2])
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, sense": VarNetSettings(**VARNET, sense_initialization=FIXED),
    "varnet, sense without lambda": VarNetSettings(**VARNET, sense_initialization={}),
    "varnet, own lambda of sense": VarNetSettings(**VARNET, sense_initialization=OWN),
    "modl": ModlSettings(**MODL),
    "modl, sense": ModlSettings(**MODL, sense_initialization={}),
    "modl, fixed sense": ModlSettings(**MODL, sense_initialization=FIXED),
    "modl, own lambda of sense": ModlSettings(**MODL, sense_initialization=OWN),
}


def positions(kind, size, seed=0):
    """Nine radial spokes or spiral arms of 12 samples `(3, spokes, samples)`, to the edge of any k-space.

    Or half of the positions of the grid, at random, to be taken as any others are.
    """
    size_y, size_x = size
    if kind == "cartesian":
        chosen = np.random.default_rng(seed).permutation(size_x * size_y)[: size_x * size_y // 2]
        k_y, k_x = np.divmod(chosen, size_x)
        return np.stack([k_x - size_x // 2, k_y - size_y // 2, 0 * chosen])[:, None].astype(float)
    radius = np.linspace(0, 0.5, 12) if kind == "spiral" else np.linspace(-0.5, 0.49, 12)
    angle = np.pi * np.arange(9)[:, None] / 9 + (6 * radius if kind == "spiral" else 0)
    return np.stack([size_x * radius * np.cos(angle), size_y * radius * np.sin(angle), 0 * angle * radius])


def forward(images, where):
    """Double-precision NUFFT of `(n, y, x)` at `(3, spokes, samples)`, unitary scaling."""
    finufft = pytest.importorskip("finufft")
    size_y, size_x = images.shape[1:]
    where = where.astype(np.float64)
    points = [2 * np.pi * where[axis].ravel() / size for axis, size in ((1, size_y), (0, size_x))]
    values = finufft.nufft2d2(*points, images.astype(np.complex128), isign=-1, eps=1e-12)
    return values.reshape(len(images), *where.shape[1:]) / np.sqrt(size_y * size_x)


def toeplitz(kind, size, maps=1):
    """An operator of two slices with its coils, positions and weights."""
    where = positions(kind, size)
    strengths = np.random.default_rng(1).uniform(0.5, 1.5, size=where.shape[1:])
    psf = np.stack([noncartesian._psf(strengths, where, size)] * 2)
    coils = random_images((2, 3, *size, 2 * maps))
    return (
        SenseNormal(ops.array(coils), ops.array(psf.astype(np.float32))),
        channels_to_complex(coils),
        where,
        strengths,
    )


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", slow_but(SIZES, (9, 12), (10, 7)))
@MAPS
def test_toeplitz_is_forward_then_adjoint(kind, size, maps):
    operator, coils, where, strengths = toeplitz(kind, size, maps)
    image = random_images((2, *size, 2 * maps), 5)
    found = channels_to_complex(ops.convert_to_numpy(operator(ops.array(image))))
    for item in range(2):
        kspace = forward(np.sum(coils[item] * channels_to_complex(image)[item][:, None], axis=0), where)
        expected = np.sum(coils[item].conj() * noncartesian._adjoint(strengths**2 * kspace, where, size), axis=1)
        assert relative_difference(found[item], expected) < 1e-5


@pytest.mark.parametrize("kind", ["radial", "spiral"])
def test_toeplitz_with_the_psf_of_bart_is_its_nufft_twice(kind, toolbox):
    """Inside of the edge, where the gridding of BART has all its samples; its kernel errs by 0.14 %."""
    size, image = (12, 16), random_images((1, 12, 16, 2))
    where = 0.7 * positions(kind, size).astype(np.float32)
    coils = np.concatenate([np.ones((1, 1, *size, 1)), np.zeros((1, 1, *size, 1))], axis=-1).astype(np.float32)
    psf = noncartesian._bart_psf(np.ones(where.shape[1:], np.complex64), where, size, toolbox)
    found = to_complex(ops.convert_to_numpy(SenseNormal(coils, psf[None].astype(np.float32))(image)))
    complex_image = from_batch_coil_yx(to_complex(image)[:, None])
    kspace = to_batch_coil_samples(toolbox.compute("nufft", from_batch_positions(where[None]), complex_image))
    assert relative_difference(found, noncartesian._bart_adjoint(kspace[0], where, size, toolbox)) < 3e-3
    exact = noncartesian._adjoint(forward(to_complex(image), where), where, size)
    assert relative_difference(found, exact) < 3e-3


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", slow_but(SIZES, (9, 12), (10, 7)))
@MAPS
def test_toeplitz_is_self_adjoint_and_positive_semidefinite(kind, size, maps):
    pixels = np.eye(2 * maps * size[0] * size[1], dtype=np.float32).reshape(-1, *size, 2 * maps)
    single = toeplitz(kind, size, maps)[0]
    arrays = single.arrays
    single = SenseNormal.from_arrays(arrays._replace(maps=[coils[:1] for coils in arrays.maps], psf=arrays.psf[:1]))
    columns = ops.convert_to_numpy(single(ops.array(pixels)))
    matrix = columns.reshape(len(pixels), -1).astype(np.float64)
    assert np.abs(matrix - matrix.T).max() < 1e-5 * np.abs(matrix).max()
    assert np.linalg.eigvalsh((matrix + matrix.T) / 2).min() > -1e-5 * np.abs(matrix).max()


@pytest.mark.usefixtures("version")
@pytest.mark.parametrize("size", SIZES)
def test_toeplitz_of_positions_on_the_grid_is_the_cartesian_operator(size):
    """Two ways to the same operator: a psf of twice the size, and the pattern itself."""
    operator, _, where, strengths = toeplitz("cartesian", size)
    pattern = np.zeros((2, *size), np.float32)
    k_x, k_y, _ = where[:, 0].astype(int)
    pattern[:, k_y + size[0] // 2, k_x + size[1] // 2] = strengths[0] ** 2
    image = ops.array(random_images((2, *size, 2), 5))
    found = operator(image)
    expected = SenseNormal(ops.array(random_images((2, 3, *size, 2))), ops.array(pattern))(image)
    assert relative_difference(ops.convert_to_numpy(found), ops.convert_to_numpy(expected)) < 1e-5


def test_other_sizes_of_the_psf_are_refused():
    with pytest.raises(ValueError, match="must have one of the sizes"):
        SenseNormal(random_images((1, 2, 8, 8, 2)), random_images((1, 12, 16)))


@pytest.fixture(scope="module", params=["radial", "golden-angle", "spiral"])
def split(request, toolbox, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "data"
    settings = {"size": 24, "coil_count": 3, "train": 2, "validation": 1, "test": 2, "spokes": 13, "seed": 1}
    simulate(folder, Simulation(pattern=request.param, **settings), toolbox)
    return Dataset.open(folder).split("test")


@pytest.mark.parametrize("name", NETWORKS)
def test_images_are_those_of_bart(name, split, toolbox, tmp_path):
    network = NETWORKS[name]
    values = weights.random(network, 0)
    expected = images_of_bart(network, values, split, toolbox, tmp_path)
    found = images_of(network, values, split)
    assert relative_difference(found, expected) < 1e-4


def test_the_drop_in_takes_a_trajectory(split, toolbox, tmp_path):
    assert_drop_in_writes_the_images_of_bart(VarNetSettings(**VARNET), split, toolbox, tmp_path, 1e-5)


def test_losses_are_those_of_bart(split, toolbox, tmp_path):
    network, training = VarNetSettings(**VARNET), Training(learning_rate=0.01, batch_size=2, epochs=3)
    start = weights.initial(network, 0)
    expected = history_of_bart(network, training, split, start, toolbox, tmp_path)["loss"]
    inputs = network_inputs(split)
    _, histories = train(network, training, TrainingData((inputs, network_reference(split))), start)
    assert np.max(np.abs(histories[0]["loss"] / expected - 1)) < 1e-5
