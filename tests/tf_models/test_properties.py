"""Every operator, layer and loss: adjoint, linearity, derivatives; in double precision, in both versions of kernels."""

import numpy as np
import pytest
from keras import ops

from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from tests.helper import (
    check_adjoint,
    check_forward_mode,
    check_gradient,
    check_linear,
    check_self_adjoint,
    random_array,
    tensor,
    with_weights,
)
from tf_models.backend.complex_arrays import complex_multiply
from tf_models.kernels import field_of_experts, normalization, padding, same_conv
from tf_models.networks.data_consistency import DataConsistency, Measured
from tf_models.networks.losses import LOSSES
from tf_models.networks.residual_block import ResidualBlock
from tf_models.networks.variational_block import VariationalBlock
from tf_models.operators.conjugate_gradient import solve_regularized
from tf_models.operators.sense import SenseNormal
from tf_models.optimizers.proximal import proximal_map

both_versions = pytest.mark.usefixtures("version")
IMAGE = (2, 8, 9, 2)
# Conjugate gradients that have converged: only then are they linear, and is the implicit derivative theirs.
SOLVED = 20
WEIGHT = np.array(0.6)


def random(*shape, seed=0):
    return tensor(random_array(shape, seed))


def sense(size=IMAGE[1:3], maps=1, factor=1):
    """The operator of two slices; `factor` 2 is for non-Cartesian data."""
    psf = np.random.default_rng(2).uniform(0.2, 1, size=(2, factor * size[0], factor * size[1]))
    return SenseNormal(random(2, 3, *size, 2 * maps, seed=1) / 2, tensor(psf))


@both_versions
@pytest.mark.parametrize("factor", [1, 2], ids=["cartesian", "non-cartesian"])
@pytest.mark.parametrize("size", [(8, 8), (9, 12), (7, 5)])
@pytest.mark.parametrize("maps", [1, 2, 3])
def test_sense(size, maps, factor):
    shape = (2, *size, 2 * maps)
    check_linear(sense(size, maps, factor), shape)
    check_self_adjoint(sense(size, maps, factor), shape)
    check_gradient(sense(size, maps, factor), random_array(shape, 0))


def solve(vector, weight=WEIGHT, steps=SOLVED, derivative="implicit", **options):
    return solve_regularized(sense(**options), vector, tensor(weight), steps, derivative)


@both_versions
@pytest.mark.parametrize("factor", [1, 2], ids=["cartesian", "non-cartesian"])
def test_inverse_of_sense(factor):
    check_linear(lambda vector: solve(vector, factor=factor), IMAGE, tolerance=1e-8)
    check_self_adjoint(lambda vector: solve(vector, factor=factor), IMAGE, tolerance=1e-8)


kernel, turned = random(3, 5, 4, 6, seed=3), field_of_experts.adjoint_kernel
around, features = random(2, 10, 11, 3, seed=4), random(2, 8, 7, 5, seed=5)
# Operator, its adjoint, and the shapes of both.
LINEAR = {
    "complex multiplication": lambda: (
        lambda image: complex_multiply(random(8, 9, 2), image),
        lambda image: complex_multiply(random(8, 9, 2), image, conjugate=True),
        IMAGE,
        IMAGE,
    ),
    "symmetric padding": lambda: (
        lambda image: padding.pad_symmetric(image, 3, 5),
        lambda image: padding.pad_symmetric_adjoint(image, 3, 5),
        (2, 5, 6, 2),
        (2, 11, 16, 2),
    ),
    "symmetric padding along y": lambda: (
        lambda image: padding.pad_symmetric(image, 2, 0),
        lambda image: padding.pad_symmetric_adjoint(image, 2, 0),
        (2, 5, 6, 2),
        (2, 9, 6, 2),
    ),
    "transposed convolution": lambda: (
        lambda features: field_of_experts.transposed_conv_valid(features, kernel[:2, :, :2]),
        lambda image: ops.conv(ops.pad(image, ((0, 0), (1, 1), (4, 4), (0, 0))), kernel[:2, :, :2], padding="valid"),
        (2, 9, 8, 6),
        (2, 8, 4, 2),
    ),
    "convolution by its filters": lambda: (
        lambda kernel: ops.conv(around, kernel, padding="valid"),
        lambda features: field_of_experts.filter_gradient(around, features, (3, 5)),
        (3, 5, 3, 4),
        (2, 8, 7, 4),
    ),
    "activation by its weights": lambda: (
        lambda weights: field_of_experts.radial_basis(features, weights)[0],
        lambda upstream: field_of_experts.radial_basis_gradient(features, upstream, 9),
        (9, 5),
        (2, 8, 7, 5),
    ),
    **{
        f"convolution of the same size, {channels} to {filters}": lambda channels=channels, filters=filters: (
            lambda features: same_conv.same_conv(features, random(3, 5, channels, filters)),
            lambda features: same_conv.same_conv(features, turned(random(3, 5, channels, filters))),
            (2, 6, 7, channels),
            (2, 6, 7, filters),
        )
        for channels, filters in [(4, 2), (2, 4), (4, 6)]
    },
}


@both_versions
@pytest.mark.parametrize("name", LINEAR)
def test_linear_operator(name):
    operator, adjoint, domain, range_ = LINEAR[name]()
    check_linear(operator, domain)
    check_adjoint(operator, adjoint, domain, range_)


VARNET = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=2, basis=5)
MODL = ModlSettings(iterations=2, layers=3, filters=2, max_cg_iterations=SOLVED)


def layer(kind, network):
    """A layer in double precision with random weights, and statistics of batch norm."""
    made = kind(network, dtype="float64")
    for number, variable in enumerate(made.trainable_variables):
        variable.assign(random_array(variable.shape, number))
    for norm in getattr(made, "norms", []):
        norm.variance[1].assign(1 + random_array(norm.variance[1].shape, 20) ** 2)
    return made


def of_layer(kind, network, **options):
    """A function of an image and the weights of a layer in its second iteration, and their values."""
    made, image = layer(kind, network), random_array(IMAGE, 30)
    call = with_weights(made, lambda image: made(image, iteration=1, **options))
    return call, image, *(ops.convert_to_numpy(variable) for variable in made.trainable_variables)


def normalized(of_batch, rectify):
    stored = random(4, seed=1), random(2, seed=2) ** 2

    def function(features, bias):
        statistics = normalization.batch_statistics(features) if of_batch else stored
        return normalization.normalize(features, *statistics, bias=bias, rectify=rectify, of_batch=of_batch)

    return function, random_array((3, 4, 5, 4), 3), random_array((4,), 4)


def compute_consistency(kind):
    made = layer(DataConsistency, MODL.model_copy(update={"data_consistency": kind}))

    def function(image, regularized, adjoint, weight):
        return made.compute(image, regularized, Measured(adjoint, sense()), weight)

    return function, *(random_array(IMAGE, seed) for seed in (1, 2, 3)), WEIGHT


FILTERS = (2, 3, 4, 1, 3, 2)
# A function, and the values at which its derivatives are checked.
SMOOTH = {
    "field of experts": lambda: (
        field_of_experts.field_of_experts,
        random_array(IMAGE, 0) / 2,
        random_array((3, 4, 2, 3), 1) / 4,
        random_array((31, 3), 2),
    ),
    "variational block": lambda: of_layer(VariationalBlock, VARNET),
    "residual block, training": lambda: of_layer(ResidualBlock, MODL, training=True),
    "residual block, inference": lambda: of_layer(ResidualBlock, MODL),
    "residual block without batch norm": lambda: of_layer(
        ResidualBlock, MODL.model_copy(update={"batch_norm": False}), training=True
    ),
    "gradient step": lambda: compute_consistency("gradient-step"),
    "proximal mapping": lambda: compute_consistency("proximal-mapping"),
    "implicit derivative": lambda: (solve, random_array(IMAGE, 4), WEIGHT),
    "unrolled derivative": lambda: (
        lambda vector, weight: solve(vector, weight, 4, "unrolled"),
        random_array(IMAGE, 4),
        WEIGHT,
    ),
    **{
        f"normalization, {of_batch=}, {rectify=}": lambda of_batch=of_batch, rectify=rectify: normalized(
            of_batch, rectify
        )
        for of_batch in (False, True)
        for rectify in (False, True)
    },
    **{
        f"convolution of size {size}, {channels}": lambda size=size, channels=channels: (
            same_conv.same_conv,
            random_array((2, 6, 7, channels[0]), 0),
            random_array((*size, *channels), 1),
        )
        for size in [(3, 3), (5, 1), (1, 3)]
        for channels in [(4, 2), (2, 4), (4, 6)]
    },
    **{
        f"loss {name}": lambda loss=loss: (
            lambda image: loss(random(2, 9, 10, 2), image),
            random_array((2, 9, 10, 2), 1),
        )
        for name, loss in LOSSES.items()
    },
    **{
        f"proximal map {name}": lambda name=name, numbers=numbers: (
            lambda values: proximal_map([name, *numbers])(values, 0.3),
            random_array(FILTERS, 0),
        )
        for name, numbers in {
            "l1": [1.0],
            "squared_l2": [1.0],
            "box": [-0.5, 0.5],
            "non_negative": [],
            "unit_ball": [],
            "zero_mean_unit_sphere": [],
            "zero_mean_unit_ball": [],
        }.items()
    },
}


@both_versions
@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives(name):
    function, *arguments = SMOOTH[name]()
    check_gradient(function, *arguments)


@pytest.mark.parametrize("name", [name for name in SMOOTH if name.startswith(("loss ", "proximal map "))])
def test_derivatives_in_forward_mode(name):
    """Of plain operations: TensorFlow looks into custom gradients, and JAX has none for them."""
    function, *arguments = SMOOTH[name]()
    check_forward_mode(function, *arguments)
