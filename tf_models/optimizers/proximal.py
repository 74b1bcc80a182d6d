"""Proximal maps of weights, which iPALM and ADMM share.

The proximal map of a function f with step t takes v to argmin_x |x - v|^2 / 2 + t f(x). The proximal map of the
indicator of a set is the projection onto it, whatever the step; see `tf_models.backend.projections`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.backend.projections import (
    project_box,
    project_non_negative,
    project_unit_ball,
    project_zero_mean_unit_ball,
    project_zero_mean_unit_sphere,
)
from tf_models.optimizers import check_number

ProximalMap = Callable[[Tensor, Tensor], Tensor]
# Name of a map and the numbers it takes, as they stand in the configuration of an optimizer: `["l1", 0.1]`.
Specification = Sequence[Any]


def prox_l1(values: Tensor, step: Tensor, weight: float = 1.0) -> Tensor:
    """Return argmin_x |x - v|^2 / 2 + step * weight * sum |x_i|, soft thresholding."""
    return ops.sign(values) * ops.maximum(ops.abs(values) - step * weight, 0)


def prox_squared_l2(values: Tensor, step: Tensor, weight: float = 1.0) -> Tensor:
    """Return argmin_x |x - v|^2 / 2 + step * weight / 2 * |x|^2."""
    return values / (1 + step * weight)


def _check_penalty(name: str, weight: float = 1.0) -> None:
    check_number(f"weight of {name}", weight, least=0)


def _check_nothing(name: str) -> None:
    """Take no number."""


def _check_box(name: str, lower: float, upper: float) -> None:
    check_number("lower", lower)
    check_number("upper", upper, least=lower)


_PENALTIES = {"l1": prox_l1, "squared_l2": prox_squared_l2}
_SETS: dict[str, Callable[..., Tensor]] = {
    "box": project_box,
    "non_negative": project_non_negative,
    "unit_ball": project_unit_ball,
    "zero_mean_unit_sphere": project_zero_mean_unit_sphere,
    "zero_mean_unit_ball": project_zero_mean_unit_ball,
}
_CHECKS: dict[str, Callable[..., None]] = {**dict.fromkeys(_PENALTIES, _check_penalty), "box": _check_box}


def proximal_map(specification: Specification) -> ProximalMap:
    """Return the map `(values, step)` of a specification.

    Args:
        specification: `["l1", weight]`, `["squared_l2", weight]`, `["box", lower, upper]`, `["non_negative"]`,
            `["unit_ball"]`, `["zero_mean_unit_sphere"]` or `["zero_mean_unit_ball"]`.

    Raises:
        ValueError: The name is unknown, or there are too few, too many or wrong numbers.
    """
    known = ", ".join([*_PENALTIES, *_SETS])
    if isinstance(specification, str) or not specification or specification[0] not in {**_PENALTIES, **_SETS}:
        raise ValueError(f"`proximal` must be a list that begins with one of {known}. Received: {specification}")
    name, *numbers = specification
    try:
        _CHECKS.get(name, _check_nothing)(name, *numbers)
    except TypeError:
        raise ValueError(f"`proximal` has too few or too many numbers for {name}. Received: {specification}") from None
    if name in _PENALTIES:
        penalty = _PENALTIES[name]
        return lambda values, step: penalty(values, step, *numbers)
    project = _SETS[name]
    return lambda values, step: project(values, *numbers)


def checked(proximal: Mapping[str, Specification] | None) -> dict[str, list[Any]]:
    """Return a copy of the specifications of variables.

    Raises:
        ValueError: One of them is wrong, see `proximal_map`.
    """
    for specification in (proximal or {}).values():
        proximal_map(specification)
    return {name: list(specification) for name, specification in (proximal or {}).items()}


def maps_of(variables: Sequence[Any], proximal: Mapping[str, Specification]) -> list[ProximalMap]:
    """Return the map of each variable: the one given for its name, else its Keras constraint, else the identity.

    Args:
        variables: Keras variables.
        proximal: Specifications by the names of variables, such as `conv`.

    Raises:
        ValueError: A name is no variable's, or a specification is wrong or not for a variable of that shape.
    """
    unknown = set(proximal) - {variable.name for variable in variables}
    if unknown:
        names = ", ".join(variable.name for variable in variables)
        raise ValueError(f"`proximal` must name variables ({names}). Received: {', '.join(sorted(unknown))}")
    return [_map_of(variable, proximal) for variable in variables]


def _map_of(variable: Any, proximal: Mapping[str, Specification]) -> ProximalMap:
    if variable.name in proximal:
        specification = proximal[variable.name]
        if specification[0].startswith("zero_mean") and len(variable.shape) != 6:
            found = f"{variable.name} {tuple(variable.shape)}"
            raise ValueError(
                f"`proximal` {specification[0]} is for filters (iteration, y, x, in, out, 2). Received: {found}"
            )
        return proximal_map(specification)
    constraint = variable.constraint
    return (lambda values, step: values) if constraint is None else (lambda values, step: constraint(values))
