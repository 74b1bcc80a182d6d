"""Data-parallel training on JAX: each device computes some slices of every batch, and all make the same update.

Weights are on every device (`keras.distribution.DataParallel`), and loss and gradient are computed within
`jax.shard_map` (`tf_models.backend.replicas`): what the network computes stays on its device, but for means over the
whole batch and, at the end, the sum of the gradients. `docs/scaling.md` says why JAX and why so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from bart_bridge.errors import InputError, ToolError


def prepare(devices: int, device: str) -> None:
    """Find the devices; to be called before the backend computes anything.

    On a CPU they are made of its cores. In a Slurm step of several tasks, each task is a process of this training.

    Args:
        devices: How many there are to be, of all processes.
        device: `cpu` or `gpu`.

    Raises:
        InputError: The backend is not JAX.
        ToolError: There are fewer devices.
    """
    if devices == 1:
        return
    if keras.backend.backend() != "jax":
        raise InputError(f"devices: {devices} devices need the backend jax, this is {keras.backend.backend()}")
    import jax

    # Set for the tasks of a step only, not for the script of a job.
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if device == "cpu":
        jax.config.update("jax_num_cpu_devices", devices // tasks)
    if tasks > 1:
        # Keras's own `initialize` is this and a common seed for layers that draw, of which there are none here.
        jax.distributed.initialize(cluster_detection_method="slurm")
    if jax.device_count() < devices:
        raise ToolError(f"devices: {devices} are wanted, JAX sees {jax.device_count()} ({device})")


@contextmanager
def spread_over(devices: int) -> Iterator[None]:
    """Put networks that are built and trained inside on several devices."""
    if devices == 1:
        yield
        return
    names = keras.distribution.list_devices()[:devices]
    # Each process is given its slices of a batch by `own_part`.
    distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)
    with distribution.scope():
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Put networks that are built and used inside on one device of this process."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def process() -> tuple[int, int]:
    """Return the number of this process, from 0, and how many there are."""
    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def own_part(batch: Any) -> Any:
    """Return the slices of a batch that are for the devices of this process."""
    number, processes = process()
    if processes == 1:
        return batch

    def part(array: Any) -> Any:
        size = len(array) // processes
        return array[number * size : (number + 1) * size]

    return keras.tree.map_structure(part, batch)
