"""What the result of each step depends on. A record with other determinants belongs to another result."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import bart_bridge
from bart_bridge.baselines import BASELINES
from bart_bridge.data import content
from bart_bridge.files import cfl
from bart_bridge.tools.toolbox import Toolbox
from compare.running.prepared_data import Identity, PreparedData
from compare.running.records import Determinants
from compare.running.run_inputs import RunInputs


def of_zero_filled(data: PreparedData) -> Determinants:
    """Return the determinants of the zero-filled images."""
    return _common(_tested(data.identity)) | {"gridded_by": data.dataset.gridded_by}


def of_baseline(name: str, data: PreparedData, toolbox: Toolbox) -> Determinants:
    """Return the determinants of a baseline, whose regularization is chosen on the validation slices."""
    slices = _tested(data.identity) | {"validation": data.identity["validation"]}
    return _common(slices) | {"baseline": name, "grid": BASELINES[name].grid, "bart": toolbox.version_text}


def of_run(inputs: RunInputs) -> dict[str, Callable[[], Determinants]]:
    """Return functions that return the determinants of each phase of a run, for the moment when the phase is next.

    The number of threads is one of them only if the experiment sets it. By default it depends on where a process runs,
    and it changes rounding and time only, which is not worth another training.
    """
    experiment, trained, identity = inputs.experiment, inputs.trained, inputs.data.identity
    common = _of_network_and_engine(inputs)
    trained_on = ("train", "validation") if experiment.validate_epochs else ("train",)
    train = _common({name: identity[name] for name in trained_on}) | common
    train |= {"training": inputs.training.flat(), "devices": experiment.devices}
    # Pretraining draws weights of one iteration, which are repeated for all.
    initial = _common(_tested(identity)) | common | {"pretraining": inputs.training.pretraining_epochs > 0}
    applied = _common(_tested(identity)) | common | {"training": trained.training.flat()}
    timed = applied | {"calls": inputs.timed_calls}
    return {
        "initial": lambda: initial,
        "train": lambda: train,
        "apply": partial(_with_weights, applied, inputs.weights),
        "infer": partial(_with_weights, timed, inputs.weights),
    }


def of_exchange(inputs: RunInputs, other: RunInputs) -> Determinants:
    """Return the determinants of a reconstruction with the weights that another engine trained."""
    common = _common(_tested(inputs.data.identity)) | _of_network_and_engine(inputs)
    return _with_weights(common | {"trained_by": other.engine.name}, other.weights)


def _of_network_and_engine(inputs: RunInputs) -> Determinants:
    experiment, engine = inputs.experiment, inputs.engine
    common: Determinants = {
        "network": inputs.trained.network.model_dump(),
        "seed": inputs.seed,
        "device": experiment.device,
        "engine": {"name": engine.name, "version": engine.version, "memory_plan": engine.memory_plan},
    }
    if experiment.threads:
        common["threads"] = experiment.threads
    if engine.backend:  # BART grids by itself
        common["gridded_by"] = inputs.data.dataset.gridded_by
    return common


def _common(data: Identity) -> Determinants:
    return {"version": bart_bridge.__version__, "data": data}


def _tested(identity: Identity) -> Identity:
    """Return what reconstructions read of the test slices: everything except the reference."""
    return {"test": {name: digest for name, digest in identity["test"].items() if name != "reference"}}


def _with_weights(determinants: Determinants, weights: Path) -> Determinants:
    file = weights if weights.suffix else cfl.files(weights)[0]
    return determinants | {"weights": content.file_digest(file) if file.is_file() else None}
