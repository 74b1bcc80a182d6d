"""How far iPALM goes in a step: the rules of the paper, of BART and of the original VarNet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tf_models.optimizers.arguments import check_count, check_number


@dataclass(frozen=True)
class Rules:
    """How far iPALM goes in a step; see `IPALM` for the letters.

    Attributes:
        alpha: float, at least 0, or None. Inertia of the point that steps start from. Defaults to None, k / (k + 3).
        beta: float, at least 0, or None. Inertia of the point where the gradient is taken. Defaults to None,
            k / (k + 3).
        increase_factor: float above 1. L is multiplied by it after a rejected try. Defaults to 2.
        decrease_factor: float, at least 1. L is divided by it after an accepted try. Defaults to 1.2.
        lipschitz_min: float above 0. Lower limit of L. Defaults to 1e-10.
        lipschitz_max: float, at least `lipschitz_min`. Upper limit of L, with which every try is accepted. Defaults to
            1e10.
        slack: float, at least 0, or None. By how much of its magnitude the bound may be missed. Defaults to None, 16
            times the machine epsilon.
        reduce_momentum: Whether a rejected try halves the inertia, and the gradient is taken anew. Defaults to False.
        maximum_tries: int, at least 1. The last try is accepted. Defaults to 100.
        step: `trivial` (default), `nonconvex` or `convex`, see `tau`. With `nonconvex` alpha must be below 0.5, with
            `convex` below 1.

    Raises:
        ValueError: A field is out of its range.
    """

    alpha: float | None = None
    beta: float | None = None
    increase_factor: float = 2.0
    decrease_factor: float = 1.2
    lipschitz_min: float = 1e-10
    lipschitz_max: float = 1e10
    slack: float | None = None
    reduce_momentum: bool = False
    maximum_tries: int = 100
    step: str = "trivial"

    def __post_init__(self) -> None:
        """Check every field."""
        # At these values of alpha the step size is infinite, beyond them negative.
        limits = {"nonconvex": 0.5, "convex": 1.0, "trivial": math.inf}
        if self.step not in limits:
            raise ValueError(f"`step` must be one of {', '.join(limits)}. Received: step={self.step!r}")
        check_number("alpha", self.alpha, least=0, below=limits[self.step])
        check_number("beta", self.beta, least=0)
        check_number("increase_factor", self.increase_factor, above=1)
        check_number("decrease_factor", self.decrease_factor, least=1)
        check_number("lipschitz_min", self.lipschitz_min, above=0)
        check_number("lipschitz_max", self.lipschitz_max, least=self.lipschitz_min)
        check_number("slack", self.slack, least=0)
        check_count("maximum_tries", self.maximum_tries)

    def tau(self) -> float:
        """Return tau / L.

        ```
        trivial, or an inertia is None:   1
        nonconvex:                        (1 + 2 beta) / (1 - 2 alpha)
        convex, for convex f_i:           (1 + 2 beta) / (2 - 2 alpha)
        ```

        As in BART, `iPALM` in `src/iter/italgos.c`.
        """
        if self.alpha is None or self.beta is None or self.step == "trivial":
            return 1.0
        return (1 + 2 * self.beta) / ((2 if self.step == "convex" else 1) - 2 * self.alpha)


PRESETS = {
    "paper": Rules(),
    "bart": Rules(slack=1e-3, reduce_momentum=True),
    "vn": Rules(
        alpha=0.7,
        beta=0.7,
        decrease_factor=4 / 3,
        lipschitz_min=1e-3,
        lipschitz_max=1e12,
        slack=1e-3,
        maximum_tries=40,
    ),
}
LEARNING_RATES = {"paper": 1.0, "bart": 1.0, "vn": 1e-3}
# Fields as experiments (`ipalm:` in YAML) and the model files of version 0.2.0 name them.
OTHER_NAMES = {
    "increase": "increase_factor",
    "reduce": "decrease_factor",
    "smallest": "lipschitz_min",
    "largest": "lipschitz_max",
}


def field_names(rules: Mapping[str, Any]) -> dict[str, Any]:
    """Return rules by the names of the fields of `Rules`; the names in `OTHER_NAMES` are accepted too.

    Raises:
        ValueError: A name is neither.
    """
    names = {OTHER_NAMES.get(name, name): name for name in rules}
    unknown = set(names) - {field.name for field in fields(Rules)}
    if unknown:
        raise ValueError(f"`rules` must be fields of Rules. Received: {', '.join(sorted(unknown))}")
    return {name: rules[given] for name, given in names.items()}
