"""Counts and distributions of what a GPU did, by kind and name: the common form of every tracer's output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt

MEMORY = ("memcpy", "memset")
BUSY = (*MEMORY, "kernel")


@dataclass(frozen=True)
class Distribution:
    """Values of one quantity.

    Attributes:
        count: How many.
        total, minimum, maximum: In the quantity's unit.
        squares: Sum of squared deviations from the mean.
        buckets: Number of values from each lower bound on; a bucket is 1 wide below 128 and 1/128 of the power of two
            below it above, so that a median is within 0.4 %.
        exact_median: Where all values were known.
    """

    count: int
    total: float
    minimum: float
    maximum: float
    squares: float
    buckets: dict[int, int] = field(default_factory=dict)
    exact_median: float | None = None

    @classmethod
    def of(cls, values: Iterable[int]) -> Distribution:
        """Describe values exactly."""
        ordered = sorted(values)
        if not ordered:
            return NOTHING
        mean = sum(ordered) / len(ordered)
        squares = sum((value - mean) ** 2 for value in ordered)
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        return cls(len(ordered), sum(ordered), ordered[0], ordered[-1], squares, {}, middle)

    @property
    def mean(self) -> float | None:
        """Arithmetic mean; None without values."""
        return self.total / self.count if self.count else None

    @property
    def std(self) -> float | None:
        """Standard deviation of a sample (n - 1 in the denominator, as Nsight has it); None below two values."""
        return sqrt(self.squares / (self.count - 1)) if self.count > 1 else None

    @property
    def median(self) -> float | None:
        """Median, within 0.4 % if it comes from buckets; None without buckets or an exact median."""
        if self.exact_median is not None:
            return self.exact_median
        if not self.buckets:
            return None
        return (self._ordered((self.count - 1) // 2) + self._ordered(self.count // 2)) / 2

    def _ordered(self, rank: int) -> float:
        """Estimate from the buckets the value that has `rank` smaller ones."""
        below = 0
        for lower in sorted(self.buckets):
            below += self.buckets[lower]
            if below > rank:
                width = 1 if lower < 128 else 1 << (lower.bit_length() - 8)
                return min(max(lower + (width - 1) / 2, self.minimum), self.maximum)
        return self.maximum

    def plus(self, other: Distribution) -> Distribution:
        """Merge two distributions; an exact median is lost."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        distance = other.total / other.count - self.total / self.count
        return Distribution(
            count,
            self.total + other.total,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.squares + other.squares + distance**2 * self.count * other.count / count,
            dict(Counter(self.buckets) + Counter(other.buckets)),
        )


NOTHING = Distribution(0, 0, 0, 0, 0.0)


@dataclass(frozen=True)
class Activity:
    """All operations of one kind and name.

    Attributes:
        kind: `memcpy`, `memset` or `kernel` on the GPU; `runtime` or `driver` for calls on the host.
        name: For copies `HtoD`, `DtoH`, `DtoD`, ...; the mangled name of a kernel; the name of a function.
        count: How many.
        untimed: How many of them have no time.
        time_ns: Durations.
        bytes: Sizes, for memory operations.
    """

    kind: str
    name: str
    count: int
    untimed: int
    time_ns: Distribution
    bytes: Distribution = NOTHING

    def plus(self, other: Activity) -> Activity:
        """Add operations of the same kind and name."""
        return Activity(
            self.kind,
            self.name,
            self.count + other.count,
            self.untimed + other.untimed,
            self.time_ns.plus(other.time_ns),
            self.bytes.plus(other.bytes),
        )
