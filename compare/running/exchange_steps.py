"""Reconstructions with the trained weights of the other engine: BART with those of Keras, Keras with those of BART.

The images show how much of a difference between two engines is one of reconstruction. The rest is one of training.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import permutations
from pathlib import Path

from compare.engines.base import Engine
from compare.engines.keras import write_bart_weights
from compare.running import determinants
from compare.running.prepared_data import PreparedData
from compare.running.run_files import exchange_phase
from compare.running.run_inputs import RunInputs
from compare.running.run_steps import run_steps
from compare.running.steps import Details, Step
from compare.settings.engine_names import has_lowmem, is_bart
from compare.settings.experiment import Experiment


def exchanges(experiment: Experiment, network: str) -> list[tuple[str, str]]:
    """List pairs of engines of a network, the one that reconstructs and the one that trained: a BART and Keras.

    BART with `--lowmem` is left out, because the option changes its training only.
    """
    if not experiment.exchange_weights:
        return []
    engines = [name for name in experiment.engines_of(network) if not has_lowmem(name)]
    return [pair for pair in permutations(engines, 2) if is_bart(pair[0]) != is_bart(pair[1])]


def exchange_steps(root: Path, experiment: Experiment, engines: list[Engine], data: PreparedData) -> list[Step]:
    """List the reconstructions of every network with weights of other engines, for the engines that are run."""
    by_name = {engine.name: engine for engine in engines}
    steps = []
    for name in experiment.networks:
        for reconstructs, trains in exchanges(experiment, name):
            if {reconstructs, trains} <= by_name.keys():
                pair = (RunInputs(root, experiment, name, by_name[each], data) for each in (reconstructs, trains))
                steps.append(_step(*pair))
    return steps


def _step(inputs: RunInputs, other: RunInputs) -> Step:
    phase = exchange_phase(other.engine.name)
    training = run_steps(other)["train"]
    own = run_steps(inputs)["apply"]
    return replace(
        own,
        title=f"{inputs.name} on {inputs.engine.name}: reconstruct with the weights of {other.engine.name}",
        record=inputs.files.record(phase),
        files=(f"{phase}*",),
        determinants=partial(determinants.of_exchange, inputs, other),
        work=lambda advance: _reconstruct(inputs, other),
        after=training,
        leaves=(inputs.files.images(phase),),
    )


def _reconstruct(inputs: RunInputs, other: RunInputs) -> Details:
    run, phase = inputs.files, exchange_phase(other.engine.name)
    run.folder.mkdir(parents=True, exist_ok=True)
    weights = other.weights
    if other.engine.backend:
        weights = run.folder / f"{phase}-weights"
        write_bart_weights(other.weights, weights, other.engine.backend)
    test = inputs.data.dataset.split("test")
    measurement = inputs.engine.apply(run.folder, inputs.trained.network, test, weights, run.images(phase))
    return {"measurement": measurement}
