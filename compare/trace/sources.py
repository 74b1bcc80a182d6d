"""Read what was saved of a trace, whichever tracer made it."""

from __future__ import annotations

import json
from pathlib import Path

from bart_bridge.errors import InputError
from compare.trace import cupti, nsys, summary
from compare.trace.summary import Facts, Summary

FACTS = "facts.json"


def read(path: Path) -> list[Summary]:
    """Read summaries from a file or a folder.

    Args:
        path: A summary (`.parquet`), an export of Nsight Systems (`.sqlite`, or `.csv` of `nsys stats`), or a folder
            with summaries, else with exports or `trace-PID.tsv` of the tracer, else with such folders. CSV files in
            one folder are one run, and a `facts.json` beside a trace says which.

    Raises:
        InputError: There is nothing of these, or a file is damaged.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_dir():
        summaries = _folder(path)
        if not summaries:
            raise InputError(f"{path}: no summary, trace or export of Nsight Systems in it")
        return summaries
    if path.suffix == ".parquet":
        return [summary.read(path)]
    if path.suffix == ".sqlite":
        return [Summary(nsys.read_sqlite(path), {"tracer": "nsys", "source": path.name})]
    if path.suffix == ".csv":
        return [Summary(nsys.read_csv([path]), {"tracer": "nsys", "source": path.name})]
    raise InputError(f"{path}: must be a .parquet, .sqlite or .csv file, or a folder with traces")


def _folder(folder: Path) -> list[Summary]:
    summaries = [summary.read(path) for path in sorted(folder.glob("*.parquet"))]
    if summaries:
        # Made of the traces below, which must not count twice.
        return summaries
    if any(folder.glob("trace-*.tsv")):
        activities, facts = cupti.read(folder)
        summaries.append(Summary(activities, facts | _facts(folder, folder.name)))
    for path in sorted(folder.glob("*.sqlite")):
        summaries.append(Summary(nsys.read_sqlite(path), {"tracer": "nsys"} | _facts(folder, path.name)))
    exports = sorted(path for path in folder.glob("*.csv") if _is_export(path))
    if exports:
        summaries.append(Summary(nsys.read_csv(exports), {"tracer": "nsys"} | _facts(folder, folder.name)))
    if summaries:
        return summaries
    return [each for inner in sorted(folder.iterdir()) if inner.is_dir() for each in _folder(inner)]


def _facts(folder: Path, source: str) -> Facts:
    path = folder / FACTS
    if not path.exists():
        return {"source": source}
    try:
        facts = json.loads(path.read_text())
        return {"source": source, **facts}
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not a JSON object ({error})") from None


def _is_export(path: Path) -> bool:
    """Tell a report of `nsys stats` from other CSV files beside it, such as our own tables."""
    try:
        nsys.read_csv([path])
    except InputError as error:
        return "no report of nsys stats" not in str(error)
    return True
