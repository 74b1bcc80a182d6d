"""Which candidate of each optimizer is chosen, and which BART cannot train with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.reconet import commands
from bart_bridge.tools.toolbox import Toolbox
from compare.running.run_files import Run
from compare.settings.engine_names import EngineName, is_bart
from compare.settings.experiment import TrainedNetwork
from compare.study.choices import on
from compare.study.rows import CHOSEN_BY, read_history
from compare.study.settings import Algorithm, Study

# The candidates of a network and optimizer, their scores, and which of them was chosen, if any.
Choice = dict[str, Any]
NONE_FINITE = "ends with a finite error; choose smaller steps"


def tuned(study: Study) -> Iterator[tuple[str, str, Algorithm]]:
    """Yield all that has settings to choose: its name `<network>-<optimizer>`, the network and the optimizer."""
    for network in study.networks:
        for algorithm in study.optimizers:
            yield f"{network}-{algorithm}", network, algorithm


def choose(study: Study, folder: Path) -> dict[str, Choice]:
    """Choose the settings of each network and optimizer, see `choice`, by `<network>-<optimizer>`."""
    return {name: choice(study, folder, name, algorithm) for name, _, algorithm in tuned(study)}


def choice(study: Study, folder: Path, name: str, algorithm: Algorithm) -> Choice:
    """Take the candidate with the least error of the validation slices after the last epoch.

    Args:
        study: The study.
        folder: Of the experiment that trained the candidates.
        name: Network and optimizer, `<network>-<optimizer>`.
        algorithm: The optimizer.
    """
    grid = study.optimizers[algorithm]
    scores = [_score(Run(folder, f"{name}-{number}", study.tuned_on)) for number in range(len(grid))]
    best = int(np.argmin(np.where(np.isfinite(scores), scores, np.inf)))
    is_finite = bool(np.isfinite(scores[best]))
    rates = [study.trained(algorithm, candidate).learning_rate for candidate in grid]
    return {
        "candidates": grid,
        "scores": [score if np.isfinite(score) else None for score in scores],
        "chosen": grid[best] if is_finite else None,
        "at_the_edge": is_finite and min(rates) < max(rates) and rates[best] in (min(rates), max(rates)),
    }


def _score(run: Run) -> float:
    """Return the error after the last epoch; NaN for a training that diverged."""
    return float(read_history(run)[CHOSEN_BY][-1, -1]) if run.record("train").exists() else float("nan")


def chosen(study: Study, choices: Mapping[str, Choice]) -> dict[str, TrainedNetwork]:
    """Return the networks with the chosen settings of each optimizer, without those that have none."""
    return {
        name: TrainedNetwork(
            network=study.networks[network], training=study.trained(algorithm, choices[name]["chosen"])
        )
        for name, network, algorithm in tuned(study)
        if choices[name]["chosen"] is not None
    }


def refusals(study: Study, choices: Mapping[str, Choice], toolboxes: Mapping[EngineName, Toolbox]) -> dict[str, str]:
    """Say why a BART cannot train networks with their chosen settings, by network, optimizer and engine, see `on`."""
    reasons = {}
    for engine in filter(is_bart, study.engines):
        for name, trained in chosen(study, choices).items():
            try:
                commands.check_algorithm(toolboxes[engine], trained.network, trained.training)
            except InputError as error:
                reasons[on(name, engine)] = str(error)
    return reasons
