"""Computing on several devices (JAX) that share each batch: their number, means over them, and the loss."""

from __future__ import annotations

from collections.abc import Callable

import keras

from tf_models.backend.ops import Tensor, Tensors


def replica_count() -> int:
    """Return the number of devices that share a batch, 1 outside of a `keras.distribution`."""
    distribution = keras.distribution.distribution()
    return 1 if distribution is None else int(distribution.num_model_replicas)


def mean_over_replicas(value: Tensor) -> Tensor:
    """Return the mean of a value that each device has computed from its slices of a batch."""
    if replica_count() == 1:
        return value
    import jax

    return jax.lax.pmean(value, keras.distribution.distribution().batch_dim_name)


def compute_on_each_replica(compute_loss_and_updates: Callable[..., Tensors]) -> Callable[..., Tensors]:
    """Let each device compute Keras's method `compute_loss_and_updates` for its slices.

    The derivative by what is the same on all devices, the weights, is the sum over the devices.
    """
    import jax
    from jax.sharding import PartitionSpec

    distribution = keras.distribution.distribution()
    everywhere, split = PartitionSpec(), PartitionSpec(distribution.batch_dim_name)

    def call(*state: Tensors, training: bool, optimizer_variables: Tensors) -> Tensors:
        def compute(optimizer_variables: Tensors, *state: Tensors) -> Tensors:
            return compute_loss_and_updates(*state, training=training, optimizer_variables=optimizer_variables)

        # The state: trainable, other and metrics' variables, inputs, references and weights of the slices.
        mapped = jax.shard_map(
            compute,
            mesh=distribution.device_mesh.backend_mesh,
            in_specs=(everywhere, everywhere, everywhere, everywhere, split, split, split),
            out_specs=(everywhere, (everywhere, split, everywhere, everywhere)),
            check_vma=False,
        )
        return mapped(optimizer_variables, *state)

    return call
