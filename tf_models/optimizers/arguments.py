"""Checks of the arguments of optimizers; each error names the argument, the rule and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import TypeAlias

import keras

LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def refuse(names: Iterable[str], arguments: Mapping[str, object]) -> None:
    """Refuse arguments of Keras's optimizers that one of ours does not support.

    Args:
        names: Names of the unsupported arguments.
        arguments: Arguments by name, as the caller gave them.

    Raises:
        ValueError: An unsupported argument is given, and is not None, False or 0.
    """
    for name in names:
        if arguments.get(name):
            raise ValueError(f"`{name}` is not supported. Received: {name}={arguments[name]}")


def check_number(
    name: str, value: object, above: float = -math.inf, least: float = -math.inf, below: float = math.inf
) -> None:
    """Check that an argument is a finite number within a range, or None for an argument that was not given.

    Args:
        name: Name of the argument.
        value: Its value.
        above: Exclusive lower limit. Defaults to none.
        least: Inclusive lower limit. Defaults to none.
        below: Exclusive upper limit. Defaults to none.

    Raises:
        ValueError: The value is not a finite number, or is out of the range.
    """
    if value is None:
        return
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if number and above < value < below and value >= least:  # type: ignore[operator]
        return
    limits = {"above": above, "at least": least, "below": below}
    rules = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
    raise ValueError(f"`{name}` must be a number{rules and f' {rules}'}. Received: {name}={value!r}")


def check_count(name: str, value: object, least: int = 1) -> None:
    """Check that an argument is an integer of at least `least`, or None for an argument that was not given.

    Raises:
        ValueError: The value is not an integer, or is too small.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < least):
        raise ValueError(f"`{name}` must be a whole number at least {least}. Received: {name}={value!r}")


def check_rate(value: LearningRate | None) -> None:
    """Check that a learning rate that is a number is above 0; a schedule checks its own.

    Raises:
        ValueError: The number is not finite, or not above 0.
    """
    if isinstance(value, Real):
        check_number("learning_rate", value, above=0)
