"""What VarNet and MoDL share: the initial image, the unrolled iterations, scaling, the loss and named weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from bart_bridge.reconet.network_settings import Loss, MemoryPlan, Network, Precision
from bart_bridge.reconet.weights import Weights, layout
from tf_models.backend.compilation_cache import use_compilation_cache
from tf_models.backend.complex_arrays import split_maps, squared_magnitude
from tf_models.backend.exporting import is_exporting
from tf_models.backend.ops import Tensor, Tensors, value_of, vjp
from tf_models.backend.precision import use_full_precision
from tf_models.backend.replicas import compute_on_each_replica, mean_over_replicas, replica_count
from tf_models.networks.batch_norm import BatchNorm
from tf_models.networks.checkpointed import Iterations, Statistics, unroll
from tf_models.networks.closure_training import ClosureTrainingMixin
from tf_models.networks.data_consistency import DataConsistency, Measured
from tf_models.networks.iteration import Iteration
from tf_models.networks.losses import LOSSES
from tf_models.networks.scanned import scan
from tf_models.operators.conjugate_gradient import solve_regularized
from tf_models.operators.sense import SenseNormal

Inputs = dict[str, Tensor]
# Ten slices of the size of MoDL's published data.
_TORCH_PIXELS = 600_000


class UnrolledNetwork(ClosureTrainingMixin, keras.Model):
    """The base of `VarNet` and `Modl`: unrolled iterations of a regularizer and data consistency.

    The input is a dictionary of float32 arrays, from `tf_models.training.network_inputs.network_inputs`: `adjoint`
    `(batch, y, x, 2 * maps)`, `coils` `(batch, coil, y, x, 2 * maps)` and `psf` `(batch, y, x)` or another shape that
    `tf_models.operators.sense.SenseNormal` takes. The output is the image `(batch, y, x, 2 * maps)`.

    If the network normalizes, each slice is divided by s = max |x_0| before the first iteration, where x_0 is its
    initial image, and the result is multiplied by s. The training loss compares image / s with reference / s.

    If the coils have several maps, only the image of the first one is regularized; the others come from the data. The
    losses take each map as an image of its own. BART does the same.

    All weights of a new network are 0. Set them with `set_named_weights`, or load a saved network.

    Args:
        network: Sizes and options of the network.
        loss: Weight of each training loss by its name. Defaults to None, BART's loss for the network.
        memory: `plain` (default) is the network as its authors wrote it and stores all intermediate results for the
            derivative. `lean` stores one image for each iteration and recomputes the rest, see
            `tf_models.networks.checkpointed`; it needs the implicit derivative of conjugate gradients.
        precision: `float32` (default), `mixed_bfloat16` or `mixed_float16`. The mixed ones compute convolutions and
            features of the regularizer in that type. Images, Fourier transforms, conjugate gradients, statistics,
            losses and weights stay in single precision.
        **kwargs: As of `keras.Model`; `dtype="float64"` computes in double precision.

    Raises:
        ValueError: `memory` or `precision` has none of these values, or `memory="lean"` comes with
            `cg_derivative="unrolled"`.
    """

    def __init__(
        self,
        network: Network,
        loss: dict[Loss, float] | None = None,
        memory: MemoryPlan = "plain",
        precision: Precision = "float32",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        use_full_precision()
        if keras.backend.backend() == "jax":
            use_compilation_cache()
        if precision not in get_args(Precision):
            raise ValueError(f"`precision` must be one of {get_args(Precision)}. Received: precision={precision!r}")
        if memory not in get_args(MemoryPlan):
            raise ValueError(f"`memory` must be 'plain' or 'lean'. Received: memory={memory!r}")
        if memory == "lean" and network.cg_derivative != "implicit":
            raise ValueError(f"`memory='lean'` needs cg_derivative='implicit'. Received: '{network.cg_derivative}'")
        self.network = network
        self.memory = memory
        self.precision = precision
        self.training_loss: dict[Loss, float] = loss or {network.default_loss: 1.0}
        self.data_consistency = DataConsistency(network, name="data_consistency", dtype=self.dtype_policy)
        self.own_lambda = None
        if network.separate_initial_lambda() is not None:
            self.own_lambda = self.add_weight(
                name="lambda_init", shape=(1,), initializer="zeros", constraint=keras.constraints.NonNeg()
            )
        self.batch_loss = LastValue(name="batch_loss")
        self.built = True

    @property
    def feature_dtype(self) -> str | None:
        """The type of the regularizer's features, or None if they have the network's precision."""
        return None if self.precision == "float32" else self.precision.removeprefix("mixed_")

    def regularized(
        self, image: Tensor, arrays: list[Tensor], statistics: Statistics | None
    ) -> tuple[Tensor, Statistics]:
        """Compute the input of the data-consistency block of an iteration, without side effects.

        Args:
            image: `(batch, y, x, 2 * maps)`.
            arrays: Weights of the regularizer in this iteration.
            statistics: Mean and variance of each batch norm; None for the statistics of the batch.

        Returns:
            The regularized image, and the statistics that were used.
        """
        raise TypeError(f"{type(self).__name__} has no regularizer; use VarNet or Modl")

    def regularized_vjp(
        self, image: Tensor, arrays: list[Tensor], statistics: Statistics | None
    ) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
        """Return the regularized image, and a function from the gradient by it to those by image and arrays."""
        return vjp(lambda image, *arrays: self.regularized(image, list(arrays), statistics)[0], image, *arrays)

    @property
    def batch_norms(self) -> list[BatchNorm]:
        """The layers of batch norm, none in a network without any."""
        return []

    def stacked_statistics(self) -> Statistics:
        """Return the running mean and variance of each batch norm, with iterations as the first axis."""
        return []

    def update_statistics(self, iteration: int, statistics: Statistics, image: Tensor) -> None:
        """Update the running statistics of an iteration with those of a batch of images."""

    def pixels_at_a_time(self, dtype: str) -> int:
        """Return how many pixels of images of a type the lean plan computes at a time on a GPU; 0 for one slice.

        On PyTorch, Python starts each kernel, and takes longer than the GPU for one slice.
        """
        return _TORCH_PIXELS if keras.backend.backend() == "torch" else 0

    def named_variables(self) -> dict[str, keras.Variable]:
        """Return the variables by their names in `bart_bridge.reconet.weights`, without running statistics."""
        variables = {"lambda_init": self.own_lambda, "lambda": self.data_consistency.lambdas}
        return {name: variable for name, variable in variables.items() if variable is not None}

    def call(self, inputs: Inputs, training: bool = False) -> Tensor:
        """Reconstruct a batch."""
        normal = SenseNormal(inputs["coils"], inputs["psf"])
        image, scale = self._start(inputs["adjoint"], normal)
        adjoint = inputs["adjoint"] / scale
        image = image / scale
        # An exported operator has a copy of each iteration, for programs that derive no loop.
        loops = keras.backend.backend() != "torch" and not is_exporting()
        if self.memory == "lean" or loops:
            compute = unroll if self.memory == "lean" else scan
            image, used = compute(self._iterations(adjoint, inputs["coils"], inputs["psf"]), image, training)
            for iteration, statistics in enumerate(used):
                self.update_statistics(iteration, statistics, image)
        else:
            for iteration in range(self.network.iterations):
                regularized = self.regularizer(image, iteration=iteration, training=training)
                image = self.data_consistency(image, regularized, adjoint, normal=normal, iteration=iteration)
        if self.network.rss_norm and not training:
            scale = scale * ops.repeat(ops.sqrt(ops.sum(squared_magnitude(inputs["coils"]), axis=1)), 2, axis=-1)
        return image * scale

    def _iterations(self, adjoint: Tensor, coils: Tensor, psf: Tensor) -> Iterations:
        """Return the iterations as functions without side effects."""
        iteration = Iteration(self.regularized, self.regularized_vjp, self.data_consistency)
        variables = self.named_variables()
        variables.pop("lambda_init", None)
        return Iterations(
            self.network.iterations,
            # Lambda, if it is trained, comes first.
            [value_of(variable) for variable in variables.values()],
            (adjoint, coils, psf),
            lambda adjoint, coils, psf: Measured(adjoint, SenseNormal(coils, psf)),
            iteration.forward,
            iteration.backward,
            self.stacked_statistics(),
            self.pixels_at_a_time(adjoint.dtype),
        )

    def scale(self, inputs: Inputs) -> Tensor:
        """Return the divisor of each slice, `(batch, 1, 1, 1)`; 1 without normalization."""
        return self._start(inputs["adjoint"], SenseNormal(inputs["coils"], inputs["psf"]))[1]

    def _start(self, adjoint: Tensor, normal: SenseNormal) -> tuple[Tensor, Tensor]:
        """Return the initial image and the divisor of each slice, `(batch, 1, 1, 1)`."""
        image = adjoint
        if self.network.sense_initialization is not None:
            fixed_lambda, steps = self.network.initial_solver()
            weight = fixed_lambda
            if fixed_lambda is None:
                weight = self.data_consistency.weight(0) if self.own_lambda is None else self.own_lambda[0]
            weight = ops.cast(weight, adjoint.dtype)
            image = solve_regularized(normal, adjoint, weight, steps, self.network.cg_derivative)
            if fixed_lambda is None:
                # A trained initial image is part of the network, so the scale comes from its input.
                return image, self._scale(adjoint)
        return image, self._scale(image)

    def _scale(self, image: Tensor) -> Tensor:
        if not self.network.normalize:
            return ops.ones_like(image[:, :1, :1, :1])
        return ops.sqrt(ops.max(squared_magnitude(image), axis=(1, 2, 3), keepdims=True))

    def compute_loss(
        self, x: Inputs, y: Tensor, y_pred: Tensor, sample_weight: Tensor = None, training: bool = True
    ) -> Tensor:
        """Return the training loss of a batch, on images divided by the scale of their slice."""
        scale = self.scale(x)
        reference, image = _as_batch(ops.cast(y, y_pred.dtype) / scale), _as_batch(y_pred / scale)
        loss = sum(weight * LOSSES[name](reference, image) for name, weight in self.training_loss.items())
        # Every loss is a mean over slices.
        loss = mean_over_replicas(loss)
        self.batch_loss.update_state(loss)
        return loss

    def compute_loss_and_updates(
        self, *state: Tensors, training: bool = False, optimizer_variables: Tensors = None
    ) -> Tensors:
        """Compute what JAX differentiates, each device for its slices."""
        compute = super().compute_loss_and_updates
        if replica_count() > 1:
            compute = compute_on_each_replica(compute)
        return compute(*state, training=training, optimizer_variables=optimizer_variables)

    def set_named_weights(self, weights: Weights) -> None:
        """Set the weights by their names, with the shapes of `bart_bridge.reconet.weights`.

        Real weights (lambda, activations) are set to the real part.
        """
        for name, variable in self.named_variables().items():
            values = weights[name]
            real = len(variable.shape) == values.ndim
            variable.assign(values.real if real else np.stack([values.real, values.imag], axis=-1))

    def named_weights(self) -> Weights:
        """Return the weights by their names, with the shapes and order of `bart_bridge.reconet.weights`."""
        values = {name: ops.convert_to_numpy(variable) for name, variable in self.named_variables().items()}
        return {
            array.name: _complex(values[array.name], array.shape)
            for array in layout(self.network)
            if array.name in values
        }

    def get_config(self) -> dict[str, object]:
        """Return the arguments."""
        policy = self.dtype_policy.name
        return {
            "network": self.network.model_dump(),
            "loss": self.training_loss,
            "memory": self.memory,
            "precision": self.precision,
            "name": self.name,
            "dtype": policy,
        }


@keras.saving.register_keras_serializable("bart_tf")
class LastValue(keras.metrics.Metric):
    """The value of the last batch. Keras's own loss metric is the mean over the batches of the epoch so far."""

    def __init__(self, name: str = "last_value", **kwargs: object) -> None:
        super().__init__(name=name, **kwargs)
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, value: Tensor, *_: object, **__: object) -> None:
        """Store the value of a batch."""
        self.value.assign(ops.stop_gradient(ops.cast(value, self.value.dtype)))

    def result(self) -> Tensor:
        """Return the stored value."""
        return ops.convert_to_tensor(self.value)


def _as_batch(images: Tensor) -> Tensor:
    """Turn each map into a slice of its own: `(batch, y, x, 2 * maps)` to `(maps * batch, y, x, 2)`."""
    maps = split_maps(images)
    return images if len(maps) == 1 else ops.concatenate(maps, axis=0)


def _complex(values: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.complex64]:
    if values.shape == shape:
        return values.astype(np.complex64)
    # A view, because arithmetic loses the sign of a zero.
    return np.ascontiguousarray(values, np.float32).view(np.complex64)[..., 0]
