"""Batches of slices for `fit` and `predict`, from BART's files, in bounded memory."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import keras
import numpy as np
import psutil
from numpy.typing import NDArray

from bart_bridge.data.dataset import Split
from tf_models.training.data_parallel import copy_to_devices
from tf_models.training.network_inputs import (
    constant_psf_axis,
    network_inputs,
    network_reference,
    without_constant_axis,
)

Inputs: TypeAlias = dict[str, NDArray[np.float32]]
# Inputs and, where there is one, the reference `(batch, y, x, 2 * maps)`.
Batch: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True)
class Scaled:
    """Slices of files, each divided by its own number, as in the training of a network with `normalize`.

    Attributes:
        split: The files.
        divisors: What each slice is divided by, `(slice,)`.
    """

    split: Split
    divisors: NDArray[np.float32]

    @property
    def slice_count(self) -> int:
        """Number of slices."""
        return self.split.slice_count


# Files, or network inputs and references that are in memory already.
Slices: TypeAlias = Split | Scaled | tuple[Inputs, NDArray[np.float32]]


@dataclass(frozen=True)
class TrainingData:
    """The slices of a training.

    Attributes:
        slices: Files with a reference; or `tf_models.training.network_inputs.network_inputs` and fully sampled images
            `(batch, y, x, 2 * maps)` float32.
        validation: Other slices, measured after each epoch. Defaults to None.
        memory_limit_bytes: How much of prepared slices to keep for the next epoch. Defaults to half of the memory that
            is available.
    """

    slices: Slices
    validation: Slices | None = None
    memory_limit_bytes: int | None = None

    def batches(self, batch_size: int) -> tuple[SliceBatches, SliceBatches | None]:
        """Return the batches of the training and of its validation, which share the memory."""
        limit = default_memory_limit_bytes() if self.memory_limit_bytes is None else self.memory_limit_bytes
        validation = None
        if self.validation is not None:
            limit //= 2
            validation = SliceBatches(self.validation, batch_size, memory_limit_bytes=limit)
        # BART takes the slices in the order of the file and leaves a remainder out.
        return SliceBatches(self.slices, batch_size, remainder=False, memory_limit_bytes=limit), validation


def default_memory_limit_bytes() -> int:
    """Return half of the memory that is available now."""
    return int(psutil.virtual_memory().available // 2)


class SliceBatches(keras.utils.PyDataset):
    """Batches of slices in the order of their file, each prepared when it is needed.

    A psf that is constant along an axis in all slices has one pixel along it, so that networks leave out the transform.

    Pass the result of `feed` to `fit` and `predict`. Batches are kept while there is room, so data that fit are read
    once; the others are prepared again in each epoch. No file stays mapped.

    Args:
        slices: Files, or inputs and references in memory.
        batch_size: Slices in a batch, at least 1; at most all of them are used.
        remainder: Whether slices that do not fill a batch make a smaller one at the end, or are left out. Defaults to
            True.
        memory_limit_bytes: How much to keep. Defaults to half of the memory that is available.
    """

    def __init__(
        self, slices: Slices, batch_size: int, remainder: bool = True, memory_limit_bytes: int | None = None
    ) -> None:
        super().__init__()
        self.slices = slices
        self.slice_count = len(slices[1]) if isinstance(slices, tuple) else slices.slice_count
        self.batch_size = min(batch_size, self.slice_count)
        self.remainder = remainder
        self.memory_limit_bytes = default_memory_limit_bytes() if memory_limit_bytes is None else memory_limit_bytes
        self.kept_bytes = 0
        self._kept: dict[int, Batch] = {}

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.slice_count // self.batch_size) if self.remainder else self.slice_count // self.batch_size

    @cached_property
    def _constant_axis(self) -> int | None:
        if isinstance(self.slices, tuple):
            inputs, _ = self.slices
            cartesian = inputs["psf"].shape[1:] == inputs["adjoint"].shape[1:3]
            return constant_psf_axis(inputs["psf"]) if cartesian else None
        return constant_psf_axis(self.slices.split if isinstance(self.slices, Scaled) else self.slices)

    def __getitem__(self, index: int) -> Batch:
        """Return a batch."""
        selection = slice(index * self.batch_size, (index + 1) * self.batch_size)
        if isinstance(self.slices, tuple):
            inputs, reference = self.slices
            return self._for_network({name: values[selection] for name, values in inputs.items()}, reference[selection])
        if index in self._kept:
            return self._kept[index]
        batch = self._for_network(*_read(self.slices, selection))
        size = sum(array.nbytes for array in keras.tree.flatten(batch))
        if self.kept_bytes + size <= self.memory_limit_bytes:
            self._kept[index] = batch
            self.kept_bytes += size
        return batch

    def _for_network(self, inputs: Inputs, *reference: NDArray[np.float32]) -> Batch:
        return {**inputs, "psf": without_constant_axis(inputs["psf"], self._constant_axis)}, *reference


class _Ahead(keras.utils.PyDataset):
    """The batches from `first` on, for JAX and PyTorch; a thread prepares the next one while one is used.

    Keras reads a data set between two steps, and then copies a batch that several devices share; here, the thread does
    both. With several processes, each gets its own slices.
    """

    def __init__(self, batches: SliceBatches, first: int) -> None:
        super().__init__()
        self.batches, self.first = batches, first
        # Made here: Keras's distribution belongs to a thread.
        self.to_devices = copy_to_devices()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._ahead: dict[int, Future[Batch]] = {}

    def __len__(self) -> int:
        return len(self.batches) - self.first

    def __getitem__(self, index: int) -> Batch:
        batch = self._prepare(index).result()
        self._ahead = {index + 1: self._prepare(index + 1)} if index + 1 < len(self) else {}
        return batch

    def _prepare(self, index: int) -> Future[Batch]:
        if index in self._ahead:
            return self._ahead[index]
        return self._thread.submit(lambda: self.to_devices(self.batches[self.first + index]))


def feed(batches: SliceBatches, first: int = 0) -> Any:
    """Return the batches from `first` on in a form for `fit` and `predict`; the next is prepared while one is used.

    On TensorFlow it is a `tf.data.Dataset`. Keras would wrap `batches` in `tf.data.Dataset.from_generator`, which makes
    the whole process return freed memory to the system at once (`mallopt`) and slows all that follows.
    """
    if keras.backend.backend() != "tensorflow":
        return _Ahead(batches, first)
    import tensorflow as tf

    example = batches[first]
    flat = keras.tree.flatten(example)

    @tf.autograph.experimental.do_not_convert
    def batch(number: Any) -> Any:
        arrays = tf.numpy_function(
            lambda number: keras.tree.flatten(batches[int(number)]), [number], [array.dtype for array in flat]
        )
        for array, like in zip(arrays, flat, strict=True):
            array.set_shape((None, *like.shape[1:]))
        return keras.tree.pack_sequence_as(example, arrays)

    return tf.data.Dataset.range(first, len(batches)).map(batch).prefetch(1)


def _read(slices: Split | Scaled, selection: slice) -> Batch:
    split = slices.split if isinstance(slices, Scaled) else slices
    inputs = network_inputs(split, selection)
    arrays = [inputs["adjoint"], *([] if split.reference is None else [network_reference(split, selection)])]
    if isinstance(slices, Scaled):
        for array in arrays:
            array /= slices.divisors[selection, None, None, None]
    return (inputs, *arrays[1:])
