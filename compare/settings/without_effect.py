"""Find settings of a configuration file that have no effect beside the others, or contradict them.

Only files that a user wrote are checked. Those that experiments keep may be older than a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from bart_bridge.data.simulation import Simulation
from bart_bridge.data.trajectories import KINDS
from bart_bridge.errors import InputError
from bart_bridge.reconet.network_settings import Network
from bart_bridge.reconet.training_settings import Training
from bart_bridge.tools.discovery import Wanted
from compare.settings.engine_names import EngineName, has_lowmem, is_bart, wanted_bart, without_lowmem

if TYPE_CHECKING:
    from compare.settings.experiment import Experiment

Fault = tuple[str, str]  # the key, and what is wrong with it


def refuse(path: Path, faults: Iterable[Fault]) -> None:
    """Raise an error for the first fault.

    Raises:
        InputError: There is a fault; the message has the file, the key and the reason.
    """
    for key, reason in faults:
        raise InputError(f"{path}: {key}: {reason}")


def in_experiment(experiment: Experiment) -> Iterator[Fault]:
    """Yield keys that have a value other than the default without any effect, or contradict others."""
    if experiment.exchange_weights and len({is_bart(name) for name in experiment.engines}) < 2:
        yield "exchange_weights", "engines must name a BART and Keras, one reconstructs with the weights of the other"
    if not experiment.same_initial_weights:
        for name, trained in experiment.networks.items():
            if trained.seed is not None:
                yield f"networks.{name}.seed", "without effect, same_initial_weights is false"
    if experiment.repeats == 1:
        yield from _without_effect(experiment, {"repeat_epochs": "without effect, repeats is 1"})
    yield from in_engines(experiment.engines, experiment.bart_binaries)
    used = {engine for _, engine in experiment.runs()}
    for name in experiment.engines if experiment.networks else []:
        if name not in used:
            yield "engines", f"'{name}' trains no network, each has other engines"
    for name in experiment.bart_binaries:
        if name not in map(without_lowmem, experiment.engines):
            yield f"bart_binaries.{name}", f"engines does not name it (found: {', '.join(experiment.engines)})"
    yield from with_prefix("dataset.simulate", in_simulation(experiment.dataset.simulate))
    for name, trained in experiment.networks.items():
        yield from with_prefix(f"networks.{name}.network", in_network(trained.network))
        yield from with_prefix(f"networks.{name}.training", in_training(trained.training, trained.network))


def in_engines(engines: Iterable[EngineName], binaries: Mapping[str, Path] | None = None) -> Iterator[Fault]:
    """Yield engines that are one BART under two names: two forms of one version, or two names of one binary.

    Args:
        engines: Names of engines.
        binaries: The BART binaries of some of them; default none.
    """
    earlier: list[tuple[EngineName, Path | Wanted]] = []
    for name in engines:
        binary = (binaries or {}).get(without_lowmem(name))
        bart = binary or wanted_bart(name)
        if bart is None:
            continue
        for other, taken in earlier:
            if has_lowmem(other) == has_lowmem(name) and _is_one(taken, bart):
                yield "engines", f"'{other}' and '{name}' are one BART, name it once"
        earlier.append((name, bart))


def _is_one(one: Path | Wanted, other: Path | Wanted) -> bool:
    if isinstance(one, Path) or isinstance(other, Path):
        return one == other
    length = min(len(one.version), len(other.version))
    return one.version[:length] == other.version[:length] and one.openblas == other.openblas


def in_simulation(simulation: Simulation | None) -> Iterator[Fault]:
    """Yield settings that do not belong to the sampling pattern."""
    if simulation is None:
        return
    if simulation.pattern in KINDS:
        reason = f"pattern '{simulation.pattern}' is not Cartesian, spokes says how much is sampled"
        names: tuple[str, ...] = ("acceleration", "reference_size")
    else:
        reason = f"pattern '{simulation.pattern}' is Cartesian, this is for {', '.join(KINDS)}"
        names = ("spokes", "density_compensation", "nufft")
    yield from _without_effect(simulation, dict.fromkeys(names, reason))


def in_network(network: Network) -> Iterator[Fault]:
    """Yield settings that do not belong to the network's data consistency, and negative regularizations."""
    if network.fixed_lambda is not None:
        yield from _without_effect(network, {"initial_lambda": "lambda is not trained, fixed_lambda is its value"})
    start = network.sense_initialization
    lambdas = {"fixed_lambda": network.fixed_lambda, "initial_lambda": network.initial_lambda}
    if start is not None:
        lambdas |= {f"sense_initialization.{name}": getattr(start, name) for name in ("fixed_lambda", "initial_lambda")}
    for name, value in lambdas.items():
        # Numbers below 0 have a meaning of their own to BART, such as -1: train it.
        if value is not None and value < 0:
            yield name, f"must not be negative, received {value:g}"
    if network.data_consistency == "gradient-step":
        reason = "gradient steps need no conjugate gradients, this is for data_consistency 'proximal-mapping'"
        yield from _without_effect(network, {"max_cg_iterations": reason})
        if start is None:
            yield from _without_effect(network, {"cg_derivative": reason})


def in_training(training: Training, network: Network) -> Iterator[Fault]:
    """Yield settings of other algorithms and of layers that the network does not have, and a loss without weight."""
    for algorithm, settings in (("adam", training.adam), ("ipalm", training.ipalm), ("admm", training.admm)):
        if algorithm == training.algorithm:
            continue
        reason = f"only for the algorithm {algorithm}, here it is {training.algorithm}"
        names = type(settings).model_fields
        yield from with_prefix(algorithm, _without_effect(settings, dict.fromkeys(names, reason)))
        # A copy of what an experiment's folder keeps has all keys of all blocks.
        if algorithm in training.model_fields_set and settings.model_fields_set != set(names):
            yield algorithm, reason
    if network.kind != "modl" or not network.batch_norm:
        yield from _without_effect(training, {"batch_norm_momentum": "this network has no batch norm"})
    if isinstance(training.loss, dict) and not (training.loss and all(weight > 0 for weight in training.loss.values())):
        yield "loss", f"losses need positive weights, received {training.loss}"


def with_prefix(key: str, faults: Iterable[Fault]) -> Iterator[Fault]:
    """Yield faults with a key in front of theirs."""
    for name, reason in faults:
        yield f"{key}.{name}", reason


def _without_effect(settings: BaseModel, reasons: Mapping[str, str]) -> Iterator[Fault]:
    """Yield those of some keys that differ from their default, with the reason and the value."""
    fields = type(settings).model_fields
    for name, reason in reasons.items():
        value = getattr(settings, name)
        if value != fields[name].default:
            yield name, reason if isinstance(value, BaseModel) else f"{reason} (received {value})"
