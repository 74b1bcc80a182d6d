"""Optimizers for Keras: SGD, Adam and iPALM as BART defines them, and ADMM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def refuse(names: Iterable[str], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of Keras's optimizers that one of ours does not have.

    Raises:
        ValueError: One of them is given, and not as None, False or 0.
    """
    for name in names:
        if arguments.get(name):
            raise ValueError(f"`{name}` is not supported. Received: {name}={arguments[name]}")
