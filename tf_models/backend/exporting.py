"""Whether a network is being exported to a graph that runs without our code, as an operator with derivatives.

Inside of `exporting`, the SENSE operator and solves with it have derivatives by coils and psf, too. PyTorch cannot
store derivatives that are written in Python, so there each function has the derivative of its operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras

_ACTIVE = ContextVar("exporting", default=False)


@contextmanager
def exporting() -> Iterator[None]:
    """Trace networks for an export."""
    token = _ACTIVE.set(True)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def is_exporting() -> bool:
    """Return whether this is inside of `exporting`."""
    return _ACTIVE.get()


def exports_own_derivatives() -> bool:
    """Return whether this is inside of `exporting`, and the exported graph can have derivatives of ours."""
    return is_exporting() and keras.backend.backend() != "torch"
