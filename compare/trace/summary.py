"""The summary of one traced run: a Parquet file with a row for each kind and name, and facts about the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from bart_bridge.errors import InputError, why_unreadable
from bart_bridge.files import atomic
from compare.trace.activity import BUSY, MEMORY, NOTHING, Activity, Distribution

Facts: TypeAlias = dict[str, Any]
"""What is known of a run, JSON types only."""
Row: TypeAlias = dict[str, Any]
_PARTS = (("time_ns", "ns"), ("bytes", "bytes"))


@dataclass(frozen=True)
class Summary:
    """What one run did on the GPU.

    Attributes:
        activities: By kind and name.
        facts: About the run: `engine`, `network`, `optimizer`, `repeat`, `tracer`, `wall_s` (of the traced processes),
            `machine`, versions, `dropped` records, and `state`, the GPU's state while it ran. Any may be missing.
    """

    activities: list[Activity]
    facts: Facts

    @property
    def run(self) -> str:
        """Network, engine, optimizer and repeat, in one line."""
        repeat = self.facts.get("repeat")
        words = [self.facts.get(name) for name in ("network", "engine", "optimizer")]
        words += [f"repeat {repeat}" if repeat else "", "by nsys" if self.facts.get("tracer") == "nsys" else ""]
        named = ", ".join(str(word) for word in words if word)
        return named if self.facts.get("engine") else str(self.facts.get("source", "unnamed run"))

    def of(self, *kinds: str) -> list[Activity]:
        """Return the activities of some kinds, the longest first."""
        return sorted((row for row in self.activities if row.kind in kinds), key=lambda row: -row.time_ns.total)

    def total_ns(self, *kinds: str) -> float:
        """Add up the durations of some kinds; what ran at the same time counts twice."""
        return sum(row.time_ns.total for row in self.of(*kinds))

    def shares(self, row: Activity) -> dict[str, float | None]:
        """Return the part of an operation's time in the time of memory operations, of the busy GPU and of the run.

        None where the operation is no part of it, or the whole is not known.
        """
        wall_s = self.facts.get("wall_s")
        wholes = {
            "memory operations": self.total_ns(*MEMORY) if row.kind in MEMORY else 0,
            "GPU busy time": self.total_ns(*BUSY) if row.kind in BUSY else 0,
            "wall time": float(wall_s) * 1e9 if wall_s else 0,
        }
        return {name: row.time_ns.total / whole if whole else None for name, whole in wholes.items()}


def rows(summary: Summary) -> list[Row]:
    """Return a summary as rows of plain numbers; None if something is unknown."""
    return [
        {"kind": row.kind, "name": row.name, "count": row.count, "untimed": row.untimed}
        | {key: value for part, unit in _PARTS for key, value in _columns(getattr(row, part), unit).items()}
        for row in summary.of("memset", "memcpy", "kernel", "runtime", "driver")
    ]


def write(summary: Summary, path: Path) -> None:
    """Write a summary as Parquet; the facts are in its metadata under `bart-tf`."""
    import pyarrow
    import pyarrow.parquet

    fields = [("kind", pyarrow.string()), ("name", pyarrow.string())]
    fields += [("count", pyarrow.int64()), ("untimed", pyarrow.int64())]
    fields += [(name, pyarrow.float64()) for _, unit in _PARTS for name in _columns(NOTHING, unit)]
    schema = pyarrow.schema(fields, metadata={"bart-tf": json.dumps(summary.facts)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic.new_file(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(summary), schema=schema), temporary)


def read(path: Path) -> Summary:
    """Read a summary.

    Raises:
        InputError: The file is not one.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
        facts = json.loads((table.schema.metadata or {})[b"bart-tf"])
        return Summary([_activity(row) for row in table.to_pylist()], facts)
    except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: not a summary of a trace ({why_unreadable(error)[:200]})") from None


def _columns(part: Distribution, unit: str) -> dict[str, float | None]:
    known = part.count > 0
    return {
        f"total_{unit}": part.total if known else None,
        f"mean_{unit}": part.mean,
        f"median_{unit}": part.median,
        f"min_{unit}": part.minimum if known else None,
        f"max_{unit}": part.maximum if known else None,
        f"std_{unit}": part.std,
    }


def _activity(row: Row) -> Activity:
    count, untimed = row["count"], row["untimed"]
    return Activity(
        row["kind"],
        row["name"],
        count,
        untimed,
        _distribution(row, "ns", count - untimed),
        _distribution(row, "bytes", count),
    )


def _distribution(row: Row, unit: str, count: int) -> Distribution:
    if row[f"total_{unit}"] is None:
        return NOTHING
    squares = (row[f"std_{unit}"] or 0.0) ** 2 * (count - 1)
    total, minimum, maximum = (row[f"{name}_{unit}"] for name in ("total", "min", "max"))
    return Distribution(count, total, minimum, maximum, squares, {}, row[f"median_{unit}"])
