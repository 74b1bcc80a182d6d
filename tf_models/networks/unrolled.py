"""The loop that both networks share: initial image, T times regularizer and data consistency, scaling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from bart_bridge.reconet.network_settings import Loss, MemoryPlan, Network, Precision
from bart_bridge.reconet.weights import Weights, layout
from tf_models.backend.complex_arrays import split_maps, squared_magnitude
from tf_models.backend.ops import Tensor, value_of, vjp
from tf_models.backend.precision import use_full_precision
from tf_models.backend.replicas import compute_on_each_replica, mean_over_replicas, replica_count
from tf_models.networks.batch_norm import BatchNorm
from tf_models.networks.checkpointed import Iterations, Statistics, unroll
from tf_models.networks.closure_training import ClosureTrainingMixin
from tf_models.networks.data_consistency import DataConsistency, Measured
from tf_models.networks.iteration import Iteration
from tf_models.networks.losses import LOSSES
from tf_models.operators.conjugate_gradient import solve_regularized
from tf_models.operators.sense import SenseNormal

Inputs = dict[str, Tensor]


class UnrolledNetwork(ClosureTrainingMixin, keras.Model):
    """Reconstruct images from `{"adjoint", "coils", "psf"}`; see `network_inputs` for their shapes.

    The output is the image `(batch, y, x, 2 * maps)`, float32. With `normalize`, slices are divided by s = max |A^H y|
    before the first iteration and the result is multiplied by s; the training loss compares image / s with reference /
    s. Where coils have several maps, only the image of the first is regularized, the others come from the data, and in
    the losses each map is an image of its own, as in BART.

    A new network has the weights 0: give it some with `set_named_weights`, or load a saved one.

    Args:
        network: Sizes and options.
        loss: Weight of each training loss by its name; BART's default for the network if None.
        memory: `plain` (default) is the network as its authors wrote it, `lean` computes the same with little memory,
            see `tf_models.networks.checkpointed`; it needs the implicit derivative of conjugate gradients.
        precision: With `mixed_bfloat16` or `mixed_float16`, convolutions and features of the regularizer have that
            type, and everything else stays in single precision: images, Fourier transforms, conjugate gradients,
            statistics, losses, weights. `float32` (default) has no reduced precision anywhere.
        **kwargs: Of `keras.Model`; `dtype="float64"` computes in double precision.
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
        if network.start_of_own_lambda() is not None:
            self.own_lambda = self.add_weight(
                name="lambda_init", shape=(1,), initializer="zeros", constraint=keras.constraints.NonNeg()
            )
        self.batch_loss = LastValue(name="batch_loss")
        self.built = True

    @property
    def feature_dtype(self) -> str | None:
        """Type of the regularizer's features if they have less than the network's precision."""
        return None if self.precision == "float32" else self.precision.removeprefix("mixed_")

    def regularized(
        self, image: Tensor, arrays: list[Tensor], statistics: Statistics | None
    ) -> tuple[Tensor, Statistics]:
        """Compute what the data-consistency step of an iteration gets, without a change to the network.

        Args:
            image: `(batch, y, x, 2 * maps)`.
            arrays: Weights of the regularizer in this iteration.
            statistics: Mean and variance for each batch norm; None for those of the batch.

        Returns:
            The regularized image, and the statistics that were used.
        """
        raise TypeError(f"{type(self).__name__} is not a network of its own; use VarNet or Modl")

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
        """Return stored mean and variance of each batch norm, with an axis for iterations in front."""
        return []

    def update_statistics(self, iteration: int, statistics: Statistics, image: Tensor) -> None:
        """Take the statistics of a batch of images into those that are stored."""

    def named_variables(self) -> dict[str, Any]:
        """Return the variables by the names of `bart_bridge.reconet.weights`, without the statistics of batch norm."""
        variables = {"lambda_init": self.own_lambda, "lambda": self.data_consistency.lambdas}
        return {name: variable for name, variable in variables.items() if variable is not None}

    def call(self, inputs: Inputs, training: bool = False) -> Tensor:
        """Reconstruct a batch."""
        normal = SenseNormal(inputs["coils"], inputs["psf"])
        image, scale = self._start(inputs["adjoint"], normal)
        adjoint = inputs["adjoint"] / scale
        image = image / scale
        if self.memory == "lean":
            image, used = unroll(self._iterations(adjoint, inputs["coils"], inputs["psf"]), image, training)
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
        """Return the iterations for the lean plan."""
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
        )

    def scale(self, inputs: Inputs) -> Tensor:
        """Return what each slice is divided by, `(batch, 1, 1, 1)`; 1 without normalisation."""
        return self._start(inputs["adjoint"], SenseNormal(inputs["coils"], inputs["psf"]))[1]

    def _start(self, adjoint: Tensor, normal: SenseNormal) -> tuple[Tensor, Tensor]:
        """Return the initial image, and what each slice is divided by, `(batch, 1, 1, 1)`."""
        image = adjoint
        if self.network.sense_initialization is not None:
            fixed_lambda, steps = self.network.initial_solver()
            weight = fixed_lambda
            if fixed_lambda is None:
                weight = self.data_consistency.weight(0) if self.own_lambda is None else self.own_lambda[0]
            weight = ops.cast(weight, adjoint.dtype)
            image = solve_regularized(normal, adjoint, weight, steps, self.network.cg_derivative)
            if fixed_lambda is None:
                # A trained initial image is part of the network: its data is scaled before it is known.
                return image, self._scale(adjoint)
        return image, self._scale(image)

    def _scale(self, image: Tensor) -> Tensor:
        if not self.network.normalize:
            return ops.ones_like(image[:, :1, :1, :1])
        return ops.sqrt(ops.max(squared_magnitude(image), axis=(1, 2, 3), keepdims=True))

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """Return the training loss of a batch, on images divided by the scale of their slice."""
        scale = self.scale(x)
        reference, image = _as_batch(ops.cast(y, y_pred.dtype) / scale), _as_batch(y_pred / scale)
        loss = sum(weight * LOSSES[name](reference, image) for name, weight in self.training_loss.items())
        # Every loss is a mean over slices.
        loss = mean_over_replicas(loss)
        self.batch_loss.update_state(loss)
        return loss

    def compute_loss_and_updates(self, *state: Any, training: bool = False, optimizer_variables: Any = None) -> Any:
        """Compute what JAX differentiates, each device for its slices."""
        compute = super().compute_loss_and_updates
        if replica_count() > 1:
            compute = compute_on_each_replica(compute)
        return compute(*state, training=training, optimizer_variables=optimizer_variables)

    def set_named_weights(self, weights: Weights) -> None:
        """Take over weights with the names and shapes of `bart_bridge.reconet.weights`.

        Real weights (lambda, activations) take the real part.
        """
        for name, variable in self.named_variables().items():
            values = weights[name]
            real = len(variable.shape) == values.ndim
            variable.assign(values.real if real else np.stack([values.real, values.imag], axis=-1))

    def named_weights(self) -> Weights:
        """Return the weights with the names, shapes and order of `bart_bridge.reconet.weights`."""
        values = {name: ops.convert_to_numpy(variable) for name, variable in self.named_variables().items()}
        return {
            array.name: _complex(values[array.name], array.shape)
            for array in layout(self.network)
            if array.name in values
        }

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` needs."""
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
    """The value of the last batch; Keras's own loss metric is the mean over the epoch so far."""

    def __init__(self, name: str = "last_value", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, value: Tensor, *_: Any, **__: Any) -> None:
        """Remember a value."""
        self.value.assign(ops.stop_gradient(ops.cast(value, self.value.dtype)))

    def result(self) -> Tensor:
        """Return it."""
        return ops.convert_to_tensor(self.value)


def _as_batch(images: Tensor) -> Tensor:
    """Make each map a slice of its own: `(batch, y, x, 2 * maps)` to `(maps * batch, y, x, 2)`."""
    maps = split_maps(images)
    return images if len(maps) == 1 else ops.concatenate(maps, axis=0)


def _complex(values: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.complex64]:
    if values.shape == shape:
        return values.astype(np.complex64)
    # Not by arithmetic, which loses the sign of a zero.
    return np.ascontiguousarray(values, np.float32).view(np.complex64)[..., 0]
