"""Coil sensitivities of two maps (soft SENSE): networks, losses and measures against the installed BART."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from bart_bridge.data import noncartesian
from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.files.dims import (
    from_batch_coil_samples,
    from_batch_coil_yx,
    from_batch_map_coil_yx,
    from_batch_map_yx,
    from_batch_positions,
)
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.command_line import parse
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process, versions
from tests.helper import random_complex, relative_difference, slow_but
from tests.tf_models.against_bart import (
    FIXED,
    MODL,
    VARNET,
    assert_drop_in_writes_the_images_of_bart,
    history_of_bart,
    images_of,
    images_of_bart,
)
from tf_models.programs import reconet
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train

SIZE = (14, 12)
MAPS, COILS, SLICES = 2, 3, 3
NETWORKS = {
    "varnet": VarNetSettings(**VARNET),
    "varnet, sense": VarNetSettings(**VARNET, sense_initialization=FIXED),
    "varnet, root sum of squares": VarNetSettings(**VARNET, rss_norm=True),
    "varnet, proximal mapping": VarNetSettings(**VARNET, data_consistency="proximal-mapping", max_cg_iterations=5),
    "modl": ModlSettings(**MODL),
    "modl, sense": ModlSettings(**MODL, sense_initialization={}),
    "modl, gradient step": ModlSettings(**MODL, data_consistency="gradient-step", fixed_lambda=0.2),
}


@pytest.fixture(scope="module", params=["cartesian", "radial"])
def split(request, toolbox, tmp_path_factory):
    """Random slices; no map is like the other."""
    folder, generator = tmp_path_factory.mktemp(request.param), np.random.default_rng(0)

    numbers = partial(random_complex, generator)
    arrays = {
        "coils": from_batch_map_coil_yx(numbers(SLICES, MAPS, COILS, *SIZE) / 3),
        "reference": from_batch_map_yx(numbers(SLICES, MAPS, *SIZE)),
    }
    if request.param == "cartesian":
        pattern = (generator.uniform(size=(SLICES, 1, *SIZE)) < 0.6).astype(np.complex64)
        arrays["pattern"] = from_batch_coil_yx(pattern)
        arrays["kspace"] = from_batch_coil_yx(numbers(SLICES, COILS, *SIZE) * pattern)
    else:
        radius, angle = np.linspace(-0.35, 0.34, 12), np.pi * np.arange(9)[:, None] / 9
        where = np.stack([SIZE[1] * radius * np.cos(angle), SIZE[0] * radius * np.sin(angle), 0 * angle * radius])
        arrays["trajectory"] = from_batch_positions(where[None])
        arrays["kspace"] = from_batch_coil_samples(numbers(SLICES, COILS, *where.shape[1:]) / 3)
        arrays["pattern"] = from_batch_coil_samples(np.full((1, 1, *where.shape[1:]), 0.4))
    for name, array in arrays.items():
        cfl.write(folder / name, array)
    found = Split.in_folder(folder)
    found.validate()
    noncartesian.prepare(found, toolbox)
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_images_are_those_of_bart(name, split, toolbox, tmp_path):
    network = NETWORKS[name]
    values = weights.random(network, 0)
    expected = images_of_bart(network, values, split, toolbox, tmp_path)
    assert expected.shape == (SLICES, MAPS, *SIZE)
    found = images_of(network, values, split)
    for number in range(MAPS):
        assert relative_difference(found[:, number], expected[:, number]) < 1e-4


def test_only_the_first_map_is_regularized(split):
    network = NETWORKS["varnet"].model_copy(update={"iterations": 1})
    values = weights.random(network, 0)
    without = values | {"rbf": np.zeros_like(values["rbf"])}
    images, unregularized = (images_of(network, chosen, split) for chosen in (values, without))
    np.testing.assert_array_equal(images[:, 1], unregularized[:, 1])
    assert relative_difference(images[:, 0], unregularized[:, 0]) > 1e-3


# No loss knows how the data were sampled: each way of sampling once.
@pytest.mark.parametrize(
    ("split", "loss"),
    [
        ("cartesian", "ssim"),
        ("radial", "mse"),
        *(pytest.param("cartesian", loss, marks=pytest.mark.slow) for loss in ("mse", "mad-magnitude", "nmse")),
        *(pytest.param("radial", loss, marks=pytest.mark.slow) for loss in ("ssim", "mad-magnitude", "nmse")),
    ],
    indirect=["split"],
)
@pytest.mark.parametrize("name", slow_but(["varnet", "modl"], "varnet"))
def test_losses_and_measures_are_those_of_bart(name, loss, split, toolbox, tmp_path):
    network = NETWORKS[name]
    training = Training(algorithm="adam", learning_rate=0.003, batch_size=2, epochs=3, loss={loss: 1.0})
    start = weights.initial(network, 0)
    if loss == "nmse" and toolbox.has(versions.NMSE_OF_ALL_MAPS):
        with pytest.raises(InputError, match="divides 'nmse' by the energy of all 2 maps of a slice"):
            history_of_bart(network, training, split, start, toolbox, tmp_path)
        return
    expected = history_of_bart(network, training, split, start, toolbox, tmp_path, validation=split)
    _, histories = train(network, training, TrainingData(split, split), start)
    np.testing.assert_allclose(histories[0]["loss"], expected["loss"], rtol={"varnet": 1e-5, "modl": 5e-5}[name])
    for column in expected.keys() - {"seconds", "loss"}:
        np.testing.assert_allclose(histories[0][column], expected[column], rtol=1e-3, err_msg=column)


@pytest.fixture
def uneven(split, toolbox, tmp_path):
    """Arguments of a training on slices whose second map has a hundredth of the energy of the first."""
    references = np.array(cfl.read(split.reference))
    references[:, :, :, :, 1] /= 10
    cfl.write(tmp_path / "uneven", references)
    uneven, network = replace(split, reference=tmp_path / "uneven"), NETWORKS["varnet"]
    weights.write(tmp_path / "initial", network, weights.initial(network, 0))
    files = commands.TrainingFiles(uneven, tmp_path / "trained", tmp_path / "initial", tmp_path / "history", uneven)
    training = Training(algorithm="adam", learning_rate=1e-6, batch_size=SLICES, epochs=1)
    return commands.train_argv(toolbox, network, training, 1, files)[1:]


@pytest.mark.parametrize("split", ["cartesian"], indirect=True)
def test_the_drop_in_measures_maps_as_each_version_does(uneven, each_toolbox, tmp_path):
    """See `versions.NMSE_OF_ALL_MAPS`: in the columns of validation slices, and in an evaluation."""
    process.run(each_toolbox.argv(*uneven), folder=tmp_path)
    expected = read_history(tmp_path / "history", NETWORKS["varnet"], validated=True)
    command = parse(uneven[1:], each_toolbox.version)
    reconet.run(command, lambda progress: None)
    found = read_history(tmp_path / "history", NETWORKS["varnet"], validated=True)
    evaluated = reconet.run(replace(command, mode="eval", validation=None), lambda progress: None)
    for name in ("nmse", "nmse mag", "mse", "ssim"):
        assert found[name] == pytest.approx(expected[name], rel=1e-3), name
    for name in ("nmse", "nmse mag"):  # the others depend on the scale of the slices
        assert evaluated[name] == pytest.approx(expected[name].item(), rel=1e-3), name


@pytest.mark.parametrize("name", ["varnet", "modl"])
def test_the_drop_in_writes_every_map(name, split, toolbox, tmp_path):
    assert_drop_in_writes_the_images_of_bart(NETWORKS[name], split, toolbox, tmp_path, 2e-5)
