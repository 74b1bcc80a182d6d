"""Optimizers for Keras: SGD, Adam and iPALM as BART defines them, and ADMM."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any


def refuse(names: Iterable[str], arguments: Mapping[str, Any]) -> None:
    """Refuse arguments of Keras's optimizers that one of ours does not have.

    Raises:
        ValueError: One of them is given, and not as None, False or 0.
    """
    for name in names:
        if arguments.get(name):
            raise ValueError(f"`{name}` is not supported. Received: {name}={arguments[name]}")


def check_number(
    name: str, value: Any, above: float = -math.inf, least: float = -math.inf, below: float = math.inf
) -> None:
    """Refuse what is no finite number, or not in a range; None, for an argument that was not given, is allowed.

    Args:
        name: Of the argument.
        value: What it is.
        above, below: Limits that it must not reach.
        least: The smallest value that it may have.

    Raises:
        ValueError: With the name, the range and the value.
    """
    if value is None:
        return
    number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if number and above < value < below and value >= least:
        return
    limits = {"above": above, "at least": least, "below": below}
    rules = " and ".join(f"{word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
    raise ValueError(f"`{name}` must be a number{rules and f' {rules}'}. Received: {name}={value!r}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is no whole number from `least` on; None is allowed.

    Raises:
        ValueError: With the name, the rule and the value.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < least):
        raise ValueError(f"`{name}` must be a whole number at least {least}. Received: {name}={value!r}")


def check_rate(value: Any) -> None:
    """Refuse a learning rate that is a number and not above 0; schedules check themselves.

    Raises:
        ValueError: With the value.
    """
    if isinstance(value, Real):
        check_number("learning_rate", value, above=0)
