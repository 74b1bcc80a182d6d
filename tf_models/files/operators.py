"""What of a network BART can run as a nonlinear operator: functions of arrays with BART's 16 dimensions.

TensorFlow and PyTorch order dimensions the other way round, so the arrays here are `(batch, ..., coil, z, y, x, 2)`:
dimensions 15 to 0 of BART, and at the end real and imaginary part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from keras import ops
from numpy.typing import NDArray

from bart_bridge.errors import InputError
from bart_bridge.files.dims import Dim
from bart_bridge.reconet.image_size import check_image_size
from bart_bridge.wording import counted
from tf_models.backend.complex_arrays import squared_magnitude
from tf_models.backend.ops import Tensor
from tf_models.files.model_files import Model
from tf_models.networks.build import build
from tf_models.networks.modl_original import MoDLOriginal
from tf_models.networks.unrolled import UnrolledNetwork

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Operator:
    """A function of arrays with BART's dimensions.

    Attributes:
        function: Takes one float32 tensor for each input and returns one.
        input_shapes: Shapes of the inputs, the last axis real and imaginary part; None for any number of slices.
        output_shape: Shape of the result, likewise.
        model: The network whose weights it uses.
    """

    function: Callable[..., Tensor]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    model: Model

    def random_inputs(self) -> list[NDArray[np.float32]]:
        """Return two slices, or as many as there must be, of random numbers from 0 to 1 for each input."""
        generator = np.random.default_rng(0)
        shapes = [tuple(size or 2 for size in shape) for shape in self.input_shapes]
        return [generator.uniform(size=shape).astype(np.float32) for shape in shapes]


def whole_network(model: Model, size_y: int, size_x: int, coil_count: int) -> Operator:
    """Return a network as a function of adjoint image, coil sensitivities and psf, with the image as result.

    Args:
        model: The network; the memory plan does not matter.
        size_y: Pixels along y.
        size_x: Pixels along x.
        coil_count: Number of coils.

    Raises:
        InputError: Images are too small for the filters.
    """
    model = _plain(model, size_y, size_x)
    image, coils = _shape(size_y, size_x), _shape(size_y, size_x, coil_count)

    def reconstruct(adjoint: Tensor, coils: Tensor, psf: Tensor) -> Tensor:
        inputs = {
            "adjoint": ops.reshape(adjoint, (-1, size_y, size_x, 2)),
            "coils": ops.reshape(coils, (-1, coil_count, size_y, size_x, 2)),
            "psf": ops.reshape(psf, (-1, size_y, size_x, 2))[..., 0],
        }
        return _to_bart(model(inputs, training=False), image)

    return Operator(reconstruct, (image, coils, image), image, model)


def regularizer(model: Model, size_y: int, size_x: int, iteration: int) -> Operator:
    """Return a network's regularizer, x - R(x) of a VarNet and x + N(x) of a MoDL, as a function of an image.

    If the network normalizes, each slice is divided by its maximum magnitude before, and multiplied by it afterwards.

    Args:
        model: The network.
        size_y: Pixels along y.
        size_x: Pixels along x.
        iteration: The iteration whose weights it has, from 0.

    Raises:
        InputError: Images are too small for the filters, or the network has no such iteration.
    """
    model = _plain(model, size_y, size_x)
    image_shape, regularize = _shape(size_y, size_x), _regularize(model, iteration)
    normalizes = isinstance(model, UnrolledNetwork) and model.network.normalize

    def denoise(image: Tensor) -> Tensor:
        image = ops.reshape(image, (-1, size_y, size_x, 2))
        if not normalizes:
            return _to_bart(regularize(image), image_shape)
        largest = ops.max(squared_magnitude(image), axis=(1, 2, 3), keepdims=True)
        # An image of zeros stays one.
        scale = ops.sqrt(ops.where(largest > 0, largest, ops.ones_like(largest)))
        return _to_bart(regularize(image / scale) * scale, image_shape)

    return Operator(denoise, (image_shape,), image_shape, model)


def prior(model: Model, size_y: int, size_x: int, iteration: int) -> Operator:
    """Return the loss 1/2 |x - D(x)|^2 of an image for `bart pics -R TF`, where D is the network's regularizer.

    Its derivative is x - D(x), the one of regularization by denoising (RED): D(x) is a constant to it. `pics` divides
    the image by its maximum magnitude before. So one step of `pics` with the weight lambda and the step size mu is
    (1 - mu lambda) x + mu lambda D(x).

    The result has the shape (2,): the loss, summed over slices, and 0.

    Arguments and errors as for `regularizer`.

    References:
        Romano et al. (2017), doi 10.1137/16M1102884.
    """
    model = _plain(model, size_y, size_x)
    regularize = _regularize(model, iteration)

    def loss(image: Tensor) -> Tensor:
        image = ops.reshape(image, (-1, size_y, size_x, 2))
        total = ops.sum(ops.square(image - ops.stop_gradient(regularize(image)))) / 2
        return ops.stack([total, ops.zeros_like(total)])

    return Operator(loss, ((1, *_shape(size_y, size_x)[1:]),), (2,), model)


def _plain(model: Model, size_y: int, size_x: int) -> Model:
    """Check the size of the images, and return the network with the memory plan that automatic derivatives need."""
    if isinstance(model, MoDLOriginal):
        return model
    check_image_size(model.network, size_y, size_x, "images")
    return build(model.network, model.named_weights(), precision=model.precision)


def _regularize(model: Model, iteration: int) -> Callable[[Tensor], Tensor]:
    """Return the regularizer of an iteration, a function of images `(batch, y, x, 2)`."""
    count = model.network.iterations
    if not 0 <= iteration < count:
        raise InputError(
            f"the network has {counted(count, 'iteration')}, 0 to {count - 1}; there is no iteration {iteration}"
        )
    if isinstance(model, MoDLOriginal):
        return model.regularize
    return lambda image: model.regularizer(image, iteration=iteration)


def _shape(size_y: int, size_x: int, coil_count: int = 1) -> Shape:
    sizes: list[int | None] = [1] * len(Dim)
    sizes[Dim.X], sizes[Dim.Y], sizes[Dim.COIL], sizes[Dim.BATCH] = size_x, size_y, coil_count, None
    return (*sizes[::-1], 2)


def _to_bart(image: Tensor, shape: Shape) -> Tensor:
    return ops.reshape(image, (-1, *shape[1:]))
