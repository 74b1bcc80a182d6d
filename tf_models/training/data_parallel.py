"""Data-parallel training on JAX: each device computes some slices of every batch, and all make the same update.

Weights are on every device (`keras.distribution.DataParallel`), and loss and gradient are computed within
`jax.shard_map` (`tf_models.backend.replicas`). What the network computes stays on its device, except for means over the
whole batch and, at the end, the sum of the gradients. `docs/scaling.md` gives the reasons.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError, ToolError


def prepare(devices: int, device: str) -> None:
    """Make the devices of a training available; call this before the backend computes anything.

    On a CPU its cores become devices. In a Slurm step with several tasks, each task is a process of the training.

    Args:
        devices: Number of devices of all processes together, at least 1.
        device: `cpu` or `gpu`.

    Raises:
        InputError: Several devices are wanted and the backend is not JAX.
        ToolError: There are fewer devices.
    """
    if devices == 1:
        return
    if keras.backend.backend() != "jax":
        raise InputError(f"devices: {devices} devices need the backend jax, this is {keras.backend.backend()}")
    import jax

    # Slurm sets it for the tasks of a step, not for the script of a job.
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if device == "cpu":
        jax.config.update("jax_num_cpu_devices", devices // tasks)
    if tasks > 1:
        # Keras's own `initialize` would add a common seed for layers that draw random numbers; we have none.
        jax.distributed.initialize(cluster_detection_method="slurm")
    if jax.device_count() < devices:
        raise ToolError(f"devices: {devices} are wanted, JAX sees {jax.device_count()} ({device})")


@contextmanager
def on_devices(devices: int) -> Iterator[None]:
    """Put networks that are built and trained in this context on several devices."""
    if devices == 1:
        yield
        return
    names = keras.distribution.list_devices()[:devices]
    # `slices_of_this_process` gives each process its slices of a batch.
    distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
    with distribution.scope():
        yield


@contextmanager
def on_one_device() -> Iterator[None]:
    """Put networks that are built and used in this context on one device of this process."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def process_index() -> int:
    """Return the number of this process of the training, from 0."""
    if keras.backend.backend() != "jax":
        return 0
    import jax

    return jax.process_index()


def process_count() -> int:
    """Return the number of processes of the training."""
    if keras.backend.backend() != "jax":
        return 1
    import jax

    return jax.process_count()


def copy_to_devices() -> Callable[[Any], Any]:
    """Return a function that copies a batch to the devices that share it, for any thread.

    It takes and returns NumPy or JAX arrays in any structure. With several processes, it selects the slices of this
    one, and Keras copies them. Without a `keras.distribution`, it returns the batch.
    """
    distribution = keras.distribution.distribution()
    if distribution is None:
        return lambda batch: batch
    if process_count() > 1:
        return _slices_of_this_process
    import jax

    def copy(array: NDArray[np.generic]) -> Any:
        return jax.device_put(array, distribution.get_data_layout(array.shape).backend_layout)

    return partial(keras.tree.map_structure, copy)


def _slices_of_this_process(batch: Any) -> Any:
    number, processes = process_index(), process_count()

    def select(array: NDArray[np.generic]) -> NDArray[np.generic]:
        size = len(array) // processes
        return array[number * size : (number + 1) * size]

    return keras.tree.map_structure(select, batch)
