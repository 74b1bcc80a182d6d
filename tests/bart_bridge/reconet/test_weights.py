"""Weight files: the layout that BART writes, the order of hidden layers, and initial values that BART accepts."""

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.files import multi_cfl
from bart_bridge.reconet import commands, weights
from bart_bridge.reconet.history import read_history
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.option_writer import network_options
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools import process


def varnet(**settings):
    return VarNetSettings(**{"iterations": 2, "filters": 2, "kernel_x": 3, "kernel_y": 5, "basis": 4, **settings})


def modl(**settings):
    return ModlSettings(**{"iterations": 2, "layers": 4, "filters": 2, **settings})


NETWORKS = [
    varnet(),
    varnet(iterations=1),
    varnet(shared_weights=True),
    varnet(shared_lambda=True),
    varnet(fixed_lambda=0.1),
    varnet(sense_initialization={"initial_lambda": 0.3}),
    modl(),
    modl(iterations=1, layers=3, filters=1, kernel_x=5),
    modl(shared_weights=False, shared_lambda=False),
    modl(fixed_lambda=0.1),
    modl(sense_initialization={"initial_lambda": 0.3}),
    modl(fixed_lambda=0.1, sense_initialization={"initial_lambda": 0.3}),
    modl(batch_norm=False),
    modl(bias=False),
    modl(batch_norm=False, bias=False, layers=5),
]
every_network = pytest.mark.parametrize(
    "network",
    NETWORKS,
    ids=lambda network: "-".join(
        [network.kind, *sorted(network.model_fields_set - {"iterations", "filters", "basis"})]
    ),
)


def random_weights(network):
    generator = np.random.default_rng(0)
    shapes = {array.name: array.shape for array in weights.layout(network)}
    return {
        name: (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)
        for name, shape in shapes.items()
    }


@pytest.fixture
def two_slices(dataset_folder):
    return Dataset.open(dataset_folder).split("validation")


@pytest.fixture
def train(toolbox, two_slices, tmp_path_factory):
    """Train one epoch with BART from an initial file, return what it learned and its history."""

    def train(network, initial):
        folder = tmp_path_factory.mktemp("run")
        trained, history = folder / "trained", folder / "history"
        files = commands.TrainingFiles(two_slices, trained, initial, history)
        argv = commands.train_argv(toolbox, network, Training(), 1, files)
        finished = process.run(argv, folder=folder, timeout_s=60)
        commands.check_trained(argv, finished, network, trained, history)
        return weights.read(trained, network), read_history(history, network)

    return train


@pytest.fixture
def train_from_scratch(toolbox, two_slices, tmp_path):
    """Let BART draw the initial weights and train one epoch; return the names of the initial and trained files."""

    def train(network):
        options = [*network_options(network), f"--pattern={two_slices.pattern}", "-Tepochs=1,dump-mod=1"]
        files = [two_slices.kspace, two_slices.coils, tmp_path / "trained", two_slices.reference]
        toolbox.run("reconet", "--train", *options, *files, timeout_s=60)
        return tmp_path / "trained_0", tmp_path / "trained"

    return train


# Layout


def test_layout_of_the_default_varnet():
    assert [(array.name, array.bart_dims) for array in weights.layout(VarNetSettings())] == [
        ("lambda", (10,)),
        ("conv", (24, 1, 11, 11, 1, 10)),
        ("rbf", (24, 31, 10)),
    ]


def test_layout_of_the_default_modl():
    assert [(array.name, array.bart_dims) for array in weights.layout(ModlSettings())] == [
        ("lambda", (1,)),
        ("conv_0", (32, 1, 3, 3, 1, 1)),
        ("conv_i", (32, 32, 3, 3, 1, 3, 1)),
        ("conv_n", (1, 32, 3, 3, 1, 1)),
        ("bias_0", (32, 1)),
        ("bias_i", (32, 3, 1)),
        ("bias_n", (1, 1)),
        ("gamma", (1, 1, 1, 1, 1, 10)),
        ("bn_0", (32, 1, 1, 1, 1, 2, 10)),
        ("bn_i", (32, 1, 1, 1, 1, 2, 3, 10)),
        ("bn_n", (1, 1, 1, 1, 1, 2, 10)),
    ]


@every_network
def test_layout_is_that_of_reconet(train_from_scratch, network):
    _, trained = train_from_scratch(network)
    assert [array.shape for array in multi_cfl.read(trained)] == [array.bart_dims for array in weights.layout(network)]


@pytest.mark.parametrize(
    ("file", "network"),
    [
        ("wgh_varnet", VarNetSettings()),
        ("wgh_modl", ModlSettings(iterations=5)),
        ("wgh_modl_one", ModlSettings(iterations=1)),
    ],
)
def test_weights_published_by_the_authors_are_read(shared, file, network):
    read = weights.read(shared / "data" / "bart_pretrained" / file, network)
    assert all(np.isfinite(array).all() for array in read.values())
    assert np.all(read["lambda"].real > 0)


# Round trips


@every_network
def test_round_trip_of_named_arrays(tmp_path, network):
    written = random_weights(network)
    weights.write(tmp_path / "a", network, written)
    read = weights.read(tmp_path / "a", network)
    assert list(read) == [array.name for array in weights.layout(network)]
    for name, array in written.items():
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()


@every_network
def test_round_trip_of_the_file(tmp_path, network):
    generator = np.random.default_rng(1)
    dims = [array.bart_dims for array in weights.layout(network)]
    multi_cfl.write(tmp_path / "a", [generator.normal(size=shape).astype(np.complex64) for shape in dims])
    weights.write(tmp_path / "b", network, weights.read(tmp_path / "a", network))
    for suffix in (".cfl", ".hdr"):
        assert (tmp_path / f"b{suffix}").read_bytes() == (tmp_path / f"a{suffix}").read_bytes()


# Positions


def positions(*dims):
    """A BART array that holds its own indices, each as one decimal digit, the first index leftmost."""
    digits = 10.0 ** np.arange(len(dims))[::-1]
    return np.tensordot(digits, np.indices(dims), axes=1).astype(np.complex64)


def read_positions(tmp_path, network):
    """Read a file in which every value tells where it stands."""
    multi_cfl.write(tmp_path / "a", [positions(*array.bart_dims) for array in weights.layout(network)])
    return weights.read(tmp_path / "a", network)


def test_positions_of_varnet(tmp_path):
    read = read_positions(tmp_path, varnet())
    np.testing.assert_array_equal(read["lambda"], [0, 1])
    # BART: [filter, 1, x, y, 1, iteration]; here: (iteration, y, x, 1, filter)
    assert read["conv"].shape == (2, 5, 3, 1, 2)
    assert read["conv"][1, 4, 2, 0, 0] == 2_401
    assert read["conv"][0, 3, 1, 0, 1] == 101_300
    # BART: [filter, node, iteration]; here: (iteration, node, filter)
    assert read["rbf"].shape == (2, 4, 2)
    assert read["rbf"][1, 3, 0] == 31


def test_positions_of_modl(tmp_path):
    read = read_positions(tmp_path, modl(filters=3, kernel_y=5, shared_weights=False))
    # BART: [out, in, x, y, 1, hidden, iteration]; here: (iteration, hidden, y, x, in, out)
    assert read["conv_0"][1, 4, 2, 0, 1] == 102_401
    assert read["conv_n"][0, 3, 1, 2, 0] == 21_300
    assert read["bias_0"][1, 2] == 21
    assert read["bias_n"][1, 0] == 1
    # BART: [channel, 1, 1, 1, 1, mean or variance, iteration]; here: (iteration, mean or variance, channel)
    np.testing.assert_array_equal(read["gamma"], [0, 1])
    assert read["bn_0"][1, 0, 2] == 2_000_001
    assert read["bn_n"][0, 1, 0] == 10


@pytest.mark.parametrize("layers", [3, 4, 5, 6])
def test_hidden_layers_are_in_the_order_of_application(tmp_path, layers):
    read = read_positions(tmp_path, modl(layers=layers, shared_weights=False))
    for applied in range(layers - 2):
        stored = layers - 3 - applied
        assert read["conv_i"].shape == (2, layers - 2, 3, 3, 2, 2)
        assert read["conv_i"][1, applied, 2, 0, 0, 1] == 1_002_001 + 10 * stored
        assert read["bias_i"][0, applied, 1] == 100 + 10 * stored
        assert read["bn_i"][1, applied, 1, 0] == 101 + 10 * stored


# Refusals


@pytest.mark.parametrize(
    ("stored", "expected", "message"),
    [
        (varnet(), varnet(iterations=3), r"array 'lambda' must have dimensions \(3,\), found \(2,\)"),
        (varnet(), varnet(filters=3), r"'conv' must .* \(3, 1, 3, 5, 1, 2\), found \(2, 1, 3, 5, 1, 2\)"),
        (varnet(), varnet(kernel_x=5, kernel_y=3), r"'conv' must .* \(2, 1, 5, 3, 1, 2\), found \(2, 1, 3, 5, 1, 2\)"),
        (varnet(), varnet(basis=5), r"'rbf' must have dimensions \(2, 5, 2\), found \(2, 4, 2\)"),
        (varnet(), varnet(fixed_lambda=1), r"'conv' must have dimensions .*, found \(2,\)"),
        (varnet(), modl(), r"'lambda' must have dimensions \(1,\), found \(2,\)"),
        (modl(), modl(layers=5), r"'conv_i' must have dimensions \(2, 2, 3, 3, 1, 3, 1\)"),
        (modl(), modl(iterations=3), r"'gamma' must have dimensions \(1, 1, 1, 1, 1, 3\)"),
        (modl(bias=False), modl(), r"'bias_0' must have dimensions \(2, 1\), found \(1, 1, 1, 1, 1, 2\)"),
        (modl(batch_norm=False), modl(), "modl has 11 arrays, the file 7"),
        (modl(), modl(batch_norm=False), "modl has 7 arrays, the file 11"),
    ],
)
def test_file_of_another_network_is_refused(tmp_path, stored, expected, message):
    weights.write(tmp_path / "a", stored, random_weights(stored))
    with pytest.raises(InputError, match=f"a: .*{message}"):
        weights.read(tmp_path / "a", expected)


@pytest.mark.parametrize("change", [{"rbf": None}, {"gamma": np.ones(2, np.complex64)}])
def test_writing_other_arrays_is_refused(tmp_path, change):
    changed = {name: array for name, array in {**random_weights(varnet()), **change}.items() if array is not None}
    with pytest.raises(InputError, match=rf"varnet needs the arrays lambda, conv, rbf, received {', '.join(changed)}$"):
        weights.write(tmp_path / "a", varnet(), changed)
    assert list(tmp_path.iterdir()) == []


def test_writing_another_shape_is_refused(tmp_path):
    changed = random_weights(modl())
    changed["conv_i"] = changed["conv_i"][:, :1]
    with pytest.raises(
        InputError, match=r"'conv_i' must have shape \(1, 2, 3, 3, 2, 2\), received \(1, 1, 3, 3, 2, 2\)"
    ):
        weights.write(tmp_path / "a", modl(), changed)


# Initial values


@every_network
def test_initial_weights_depend_on_the_seed_alone(network):
    first, again, other = (weights.initial(network, seed) for seed in (0, 0, 1))
    for array in weights.layout(network):
        assert first[array.name].shape == array.shape
        assert first[array.name].dtype == np.complex64
        assert first[array.name].tobytes() == again[array.name].tobytes()
        assert array.name.startswith("conv") != np.array_equal(first[array.name], other[array.name])


def test_initial_varnet():
    initial = weights.initial(VarNetSettings(), 0)
    np.testing.assert_array_equal(initial["lambda"], np.full(10, 0.2, np.complex64))
    conv = initial["conv"]
    np.testing.assert_allclose(conv.mean(axis=(1, 2)), 0, atol=1e-7)
    np.testing.assert_allclose(np.sum(np.abs(conv) ** 2, axis=(1, 2)), 1, rtol=1e-5)
    assert conv.real.std() == pytest.approx(conv.imag.std(), rel=0.05)
    np.testing.assert_allclose(initial["rbf"][3, :, 7], np.linspace(-0.04, 0.04, 31), atol=1e-8)
    assert np.all(initial["rbf"] == initial["rbf"][:1, :, :1])


def test_initial_modl():
    initial = weights.initial(ModlSettings(filters=128), 0)
    for name, fan in {"conv_0": 128 * 1 * 3, "conv_i": 128 * 128 * 3, "conv_n": 1 * 128 * 3}.items():
        values = initial.pop(name)
        assert np.mean(np.abs(values) ** 2) == pytest.approx(2 / fan, rel=0.1)
        assert values.real.std() == pytest.approx(values.imag.std(), rel=0.15)
        assert abs(values.mean()) < 0.1 * np.abs(values).mean()
    np.testing.assert_array_equal(initial.pop("lambda"), np.array([0.05], np.complex64))
    assert set(initial) == {"bias_0", "bias_i", "bias_n", "gamma", "bn_0", "bn_i", "bn_n"}
    assert not any(array.any() for array in initial.values())


@pytest.mark.parametrize("network", [varnet(filters=24, kernel_x=9, kernel_y=9), modl(iterations=1, filters=16)])
def test_initial_weights_are_drawn_as_by_reconet(train_from_scratch, network):
    file, _ = train_from_scratch(network)
    barts, ours = weights.read(file, network), weights.initial(network, 0)
    for name in ours:
        if name.startswith("conv"):
            assert np.mean(np.abs(ours[name]) ** 2) == pytest.approx(np.mean(np.abs(barts[name]) ** 2), rel=0.3)
            assert not np.array_equal(ours[name], barts[name])
        else:
            np.testing.assert_allclose(ours[name], barts[name], atol=1e-8)


@pytest.mark.parametrize("network", [varnet(), modl()])
def test_reconet_starts_from_initial_weights(train, tmp_path, network):
    initial = weights.initial(network, 0)
    weights.write(tmp_path / "initial", network, initial)
    trained, history = train(network, tmp_path / "initial")
    assert np.isfinite(history["loss"]).all()
    # One step of Adam moves a weight by the learning rate at most; VarNet's filters are normalised after it.
    moved = {name: np.abs(trained[name] - initial[name]).max() for name in initial if not name.startswith("bn")}
    assert 0 < max(moved.values()) < 0.003


# From one iteration to more


@pytest.mark.parametrize(
    ("network", "repeated"),
    [
        (varnet(iterations=3), {"lambda", "conv", "rbf"}),
        (varnet(iterations=3, shared_weights=True), {"lambda"}),
        (modl(iterations=3), {"gamma", "bn_0", "bn_i", "bn_n"}),
        (modl(iterations=3, batch_norm=False), set()),
    ],
)
def test_expand_repeats_what_belongs_to_an_iteration(network, repeated):
    single = network.model_copy(update={"iterations": 1})
    given = random_weights(single)
    expanded = weights.expand(given, single, network)
    assert {name for name in given if expanded[name].shape != given[name].shape} == repeated
    for array in weights.layout(network):
        assert expanded[array.name].shape == array.shape
        assert expanded[array.name].flags.writeable
        np.testing.assert_array_equal(expanded[array.name], np.broadcast_to(given[array.name], array.shape))


@pytest.mark.parametrize("network", [varnet(), modl(layers=3, shared_weights=False, shared_lambda=False)])
def test_expand_does_what_reconet_does(train, tmp_path, network):
    single = network.model_copy(update={"iterations": 1})
    given = weights.initial(single, 0)
    weights.write(tmp_path / "single", single, given)
    weights.write(tmp_path / "expanded", network, weights.expand(given, single, network))
    by_bart, by_us = train(network, tmp_path / "single"), train(network, tmp_path / "expanded")
    np.testing.assert_allclose(by_us[1]["loss"], by_bart[1]["loss"], rtol=1e-6)
    np.testing.assert_allclose(by_us[0]["lambda"], by_bart[0]["lambda"], rtol=1e-5)


@pytest.mark.parametrize(
    ("source", "target"),
    [(varnet(), varnet(iterations=4)), (varnet(iterations=1), varnet(filters=3)), (modl(iterations=1), varnet())],
)
def test_expand_refuses_other_networks(source, target):
    with pytest.raises(InputError, match="only the weights of one iteration can be repeated"):
        weights.expand(random_weights(source), source, target)
