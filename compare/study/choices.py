"""`choices.json` of an optimizer study: the settings that were tried and chosen, and why runs have no result."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError, model_validator

from bart_bridge.errors import InputError, first_fault, why_unreadable
from compare.settings.engine_names import EngineName, is_bart
from compare.study.settings import Study

# What `choices.json` says, see `_File`.
Choices = dict[str, Any]
# Which engine chose, where `choices.json` does not say it: versions that had no other wrote it.
_TUNED_ON: EngineName = "keras-tensorflow"
ON = " on "


class _Choice(BaseModel):
    """What an optimizer could choose from, and what it chose, if any candidate ended with a finite error."""

    candidates: list[dict[str, Any]]
    scores: list[float | None]
    chosen: dict[str, Any] | None
    at_the_edge: bool

    @model_validator(mode="after")
    def _one_score_each(self) -> _Choice:
        if len(self.scores) != len(self.candidates):
            raise ValueError(f"scores: must be {len(self.candidates)}, one for each candidate, received {self.scores}")
        return self


class _File(BaseModel):
    """What a report needs of the file. Keys with a default came with later versions.

    Attributes:
        machine: Where the study ran.
        bart: Version, BLAS and build of its BARTs.
        choices: By network and optimizer, `<network>-<optimizer>`.
        reasons: Why a BART did not train a network with an optimizer, by `on`; see `refusals` for earlier versions.
        tuned_on: The engine that trained the candidates.
        diverged: Why other runs have no result, by their names.
    """

    machine: str
    bart: str
    choices: dict[str, _Choice]
    reasons: dict[str, str]
    tuned_on: EngineName = _TUNED_ON
    diverged: dict[str, str] = {}


def read_choices(path: Path, study: Study) -> Choices:
    """Read the choices of a study.

    Raises:
        InputError: The file cannot be read, or its content is not that of the study; the message names the file, the
            key, the rule and the value.
    """
    try:
        content = json.loads(path.read_text())
        found = _File.model_validate(content, strict=True)
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error, content)}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({why_unreadable(error)})") from None
    names = [f"{network}-{optimizer}" for network in study.networks for optimizer in study.optimizers]
    for name in found.choices:
        if name not in names:
            raise InputError(f"{path}: choices: must be of the study (found: {', '.join(names)}), received '{name}'")
    if "tuned_on" in content and found.tuned_on not in study.engines:
        engines = ", ".join(study.engines)
        raise InputError(f"{path}: tuned_on: must be an engine of the study ({engines}), received '{found.tuned_on}'")
    choices: Choices = content
    return choices


def tuned_on(choices: Choices) -> EngineName:
    """Return the engine that trained the candidates."""
    engine: EngineName = choices.get("tuned_on", _TUNED_ON)
    return engine


def on(name: str, engine: EngineName) -> str:
    """Name a network and optimizer, `<network>-<optimizer>`, on an engine; neither has a space in its name."""
    return f"{name}{ON}{engine}"


def refusals(study: Study, choices: Choices) -> Iterator[tuple[str, str]]:
    """Yield what a BART did not train, named by `on`, with the reason.

    Earlier versions did not name the engine: what one BART refused, no BART of the study trained.
    """
    for name, reason in choices["reasons"].items():
        yield name if ON in name else on(name, ", ".join(filter(is_bart, study.engines))), reason
