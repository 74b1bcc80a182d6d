"""What the numbers of an engine depend on besides its name: version, BLAS, build, machine and threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bart_bridge.baselines import BASELINES
from compare.settings.engine_names import is_bart

if TYPE_CHECKING:
    import pandas

_BART, _KERAS = "BART", "Keras"


def software(results: pandas.DataFrame) -> dict[str, str]:
    """Name version and BLAS of each engine and baseline, for example `BART 0.9.00, OpenBLAS 0.3.21`.

    Args:
        results: The results table.
    """
    texts = {}
    for engine, rows in results.groupby("engine", sort=False):
        family = _family(str(engine))
        values = [*_versions(rows.engine_version, family), *_distinct(rows.engine_blas)]
        if values:
            texts[str(engine)] = ", ".join(values)
    return texts


def differences(results: pandas.DataFrame) -> dict[str, str]:
    """Name what an engine's runs do not have in common with all others, where anything does differ.

    Versions, BLAS and build flags are compared among the engines that are BART, and among those of Keras; machines
    (processor, cores, memory and cards), threads and devices among all. Where the runs of one engine differ, all of its
    values are listed, such as `threads: 2 / 8`.

    Args:
        results: The results table.
    """
    parts: dict[str, list[str]] = {}
    for family in (_BART, _KERAS):
        members = results[results.engine.map(_family) == family]
        versions = {text: _version(text, family) for text in _distinct(members.engine_version)}
        members = members.assign(engine_version=members.engine_version.map(versions).fillna(""))
        for column in ("engine_version", "engine_blas", "engine_build"):
            _add_differing(parts, members, column, "")
    computed = results[results.machine != ""]
    for column, label in (("machine", ""), ("threads", "threads: "), ("device", "device: ")):
        if column in computed.columns:
            _add_differing(parts, computed, column, label)
    return {engine: ", ".join(texts) for engine, texts in parts.items()}


def _add_differing(parts: dict[str, list[str]], rows: pandas.DataFrame, column: str, label: str) -> None:
    """Append for each engine the comma-separated parts of a column that not all engines have."""
    values = {str(engine): _distinct(group[column]) for engine, group in rows.groupby("engine", sort=False)}
    values = {engine: texts for engine, texts in values.items() if texts}
    split = [set(text.split(", ")) for texts in values.values() for text in texts]
    common = set.intersection(*split) if split else set()
    for engine, texts in values.items():
        kept = [", ".join(part for part in text.split(", ") if part not in common) for text in texts]
        if shown := " / ".join(dict.fromkeys(filter(None, kept))):
            parts.setdefault(engine, []).append(label + shown)


def _distinct(column: pandas.Series[str]) -> list[str]:
    return [str(text) for text in column.unique() if str(text)]


def _versions(column: pandas.Series[str], family: str) -> list[str]:
    return list(dict.fromkeys(_version(text, family) for text in _distinct(column)))


def _version(text: str, family: str) -> str:
    """Name a version with its family: `Keras 3.15.1, jax 0.11.2`, or `BART 0.9.00`.

    A baseline's version names the tool, too: `bart pics 0.9.00`.
    """
    plain = text.rpartition(" ")[2] if family == _BART else text.replace(" with ", ", ")
    return f"{family} {plain}".strip()


def _family(engine: str) -> str:
    if is_bart(engine) or engine in BASELINES:
        return _BART
    return _KERAS if engine.startswith("keras") else ""
