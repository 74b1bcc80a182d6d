"""Proximal maps of weights, which iPALM and ADMM share.

The proximal map of a function f with step t takes v to argmin_x |x - v|^2 / 2 + t f(x). The proximal map of the
indicator of a set is the projection onto it, whatever the step; see `tf_models.backend.projections`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.backend.projections import (
    project_box,
    project_non_negative,
    project_unit_ball,
    project_zero_mean_unit_ball,
    project_zero_mean_unit_sphere,
)
from tf_models.optimizers.arguments import check_number

ProximalMap = Callable[[Tensor, Tensor], Tensor]
# Name of a map and its numbers, as in the configuration of an optimizer: `["l1", 0.1]`.
Specification = Sequence[str | float]


def prox_l1(values: Tensor, step: Tensor, weight: float = 1.0) -> Tensor:
    """Return argmin_x |x - v|^2 / 2 + step * weight * sum |x_i|, which is soft thresholding."""
    return ops.sign(values) * ops.relu(ops.abs(values) - step * weight)


def prox_squared_l2(values: Tensor, step: Tensor, weight: float = 1.0) -> Tensor:
    """Return argmin_x |x - v|^2 / 2 + step * weight / 2 * |x|^2."""
    return values / (1 + step * weight)


def _check_penalty(name: str, weight: float = 1.0) -> None:
    check_number(f"weight of {name}", weight, least=0)


def _check_box(name: str, lower: float, upper: float) -> None:
    check_number("lower", lower)
    check_number("upper", upper, least=lower)


def _check_no_numbers(name: str) -> None:
    """Accept a name without numbers; the signature refuses them."""


_PENALTIES = {"l1": prox_l1, "squared_l2": prox_squared_l2}
_PROJECTIONS: dict[str, Callable[..., Tensor]] = {
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
            `["unit_ball"]`, `["zero_mean_unit_sphere"]` or `["zero_mean_unit_ball"]`. A weight is at least 0 and
            defaults to 1, `lower` is at most `upper`.

    Raises:
        ValueError: The name is unknown, or a number is missing, superfluous or out of its range.
    """
    names = [*_PENALTIES, *_PROJECTIONS]
    if isinstance(specification, str) or not specification or specification[0] not in names:
        raise ValueError(
            f"`proximal` must be a list that begins with one of {', '.join(names)}. Received: {specification}"
        )
    name, numbers = str(specification[0]), specification[1:]
    try:
        _CHECKS.get(name, _check_no_numbers)(name, *numbers)
    except TypeError:
        raise ValueError(f"`proximal` has too few or too many numbers for {name}. Received: {specification}") from None
    if name in _PENALTIES:
        penalty: Callable[..., Tensor] = _PENALTIES[name]
        return lambda values, step: penalty(values, step, *numbers)
    project = _PROJECTIONS[name]
    return lambda values, step: project(values, *numbers)


def check_specifications(proximal: Mapping[str, Specification] | None) -> dict[str, list[str | float]]:
    """Return a copy of the specifications, by the names of variables.

    Raises:
        ValueError: A specification is wrong, see `proximal_map`.
    """
    for specification in (proximal or {}).values():
        proximal_map(specification)
    return {name: list(specification) for name, specification in (proximal or {}).items()}


def proximal_maps(variables: Sequence[keras.Variable], proximal: Mapping[str, Specification]) -> list[ProximalMap]:
    """Return the map of each variable: the specified one, else its Keras constraint, else the identity.

    Args:
        variables: Variables of a model.
        proximal: Specifications by the names of variables, such as `conv`.

    Raises:
        ValueError: A name belongs to no variable, or a specification is wrong or not for a variable of that shape.
    """
    unknown = set(proximal) - {variable.name for variable in variables}
    if unknown:
        names = ", ".join(variable.name for variable in variables)
        raise ValueError(f"`proximal` must name variables ({names}). Received: {', '.join(sorted(unknown))}")
    return [_proximal_map_of(variable, proximal.get(variable.name)) for variable in variables]


def _proximal_map_of(variable: keras.Variable, specification: Specification | None) -> ProximalMap:
    if specification is not None:
        if str(specification[0]).startswith("zero_mean") and len(variable.shape) != 6:
            raise ValueError(
                f"`proximal` {specification[0]} is for filters (iteration, y, x, in, out, 2). "
                f"Received: {variable.name} {tuple(variable.shape)}"
            )
        return proximal_map(specification)
    constraint = variable.constraint
    return (lambda values, step: values) if constraint is None else (lambda values, step: constraint(values))
