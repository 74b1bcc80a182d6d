"""Whether what is traced becomes part of a program that XLA compiles (TensorFlow).

Some operations exist in such programs alone. TensorFlow does not tell while it traces a function, so whoever has one
compiled says so. An export, an eager call and a function that is not compiled stay outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_ACTIVE = ContextVar("compiling", default=False)


@contextmanager
def compiling(active: bool = True) -> Iterator[None]:
    """Trace a function for XLA; with `active=False`, for anything else."""
    token = _ACTIVE.set(bool(active))
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def is_compiling() -> bool:
    """Return whether this traces a function of TensorFlow inside of `compiling`."""
    if not _ACTIVE.get() or keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.executing_eagerly()
