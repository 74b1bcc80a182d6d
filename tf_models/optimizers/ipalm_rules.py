"""How far iPALM goes in a step: the rules of the paper, of BART and of the original VarNet."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tf_models.optimizers import check_count, check_number


@dataclass(frozen=True)
class Rules:
    """How far iPALM goes in a step; see `IPALM` for the letters.

    Attributes:
        alpha: Inertia of the point that steps start from; None is k / (k + 3).
        beta: Inertia of the point where the gradient is taken; None is k / (k + 3).
        increase: What L is multiplied by after a try that was rejected.
        reduce: What L is divided by after one that was accepted.
        smallest, largest: Limits of L; a try with the largest is always accepted.
        slack: By how much of its magnitude the bound may be missed; None is 16 times the machine epsilon.
        reduce_momentum: Halve the inertia after a rejected try, and take the gradient anew.
        maximum_tries: The last try is kept.
        step: tau is L if `trivial` or if an inertia is None, else (1 + 2 beta) / (1 - 2 alpha) L if `nonconvex` and
            (1 + 2 beta) / (2 - 2 alpha) L if `convex`, which is for convex f_i.
    """

    alpha: float | None = None
    beta: float | None = None
    increase: float = 2.0
    reduce: float = 1.2
    smallest: float = 1e-10
    largest: float = 1e10
    slack: float | None = None
    reduce_momentum: bool = False
    maximum_tries: int = 100
    step: str = "trivial"

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ValueError: One is out of its range.
        """
        # Beyond, the step size is infinite or negative.
        limits = {"nonconvex": 0.5, "convex": 1.0, "trivial": math.inf}
        if self.step not in limits:
            raise ValueError(f"`step` must be one of {', '.join(limits)}. Received: step={self.step!r}")
        check_number("alpha", self.alpha, least=0, below=limits[self.step])
        check_number("beta", self.beta, least=0)
        check_number("increase", self.increase, above=1)
        check_number("reduce", self.reduce, least=1)
        check_number("smallest", self.smallest, above=0)
        check_number("largest", self.largest, least=self.smallest)
        check_number("slack", self.slack, least=0)
        check_count("maximum_tries", self.maximum_tries)

    def tau(self) -> float:
        """Return tau / L."""
        if self.alpha is None or self.beta is None or self.step == "trivial":
            return 1.0
        return (1 + 2 * self.beta) / ((2 if self.step == "convex" else 1) - 2 * self.alpha)


PRESETS = {
    "paper": Rules(),
    "bart": Rules(slack=1e-3, reduce_momentum=True),
    "vn": Rules(alpha=0.7, beta=0.7, reduce=4 / 3, smallest=1e-3, largest=1e12, slack=1e-3, maximum_tries=40),
}
LEARNING_RATES = {"paper": 1.0, "bart": 1.0, "vn": 1e-3}
