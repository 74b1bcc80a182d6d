"""The settings of an optimizer study: one YAML file in `configs/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler, ValidationError, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue

from bart_bridge.errors import first_fault
from bart_bridge.reconet.network_settings import Network, Settings
from bart_bridge.reconet.training_settings import BLOCKS, Training, dotted, merged, nested
from compare.settings import strict, without_effect
from compare.settings.engine_names import EngineName, KerasEngineName
from compare.settings.experiment import DatasetChoice, Experiment, TrainedNetwork, dataset_from


class _TrainingSchema:
    """Tells editors that a candidate has the keys of a training; `Study` checks it together with what all share."""

    def __get_pydantic_json_schema__(self, _: object, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(Training.__pydantic_core_schema__)


# Some of the settings of a training.
Candidate = Annotated[dict[str, Any], _TrainingSchema()]
Algorithm = Literal["sgd", "adam", "ipalm", "admm"]


class Study(Settings):
    """What a study compares.

    Attributes:
        name: Letters, digits, `-` and `_`; the default output folder is `reports/<name>`.
        description: A sentence for the report.
        dataset: The data.
        networks: Networks by the name they have in the results.
        training: What all optimizers share: batch size, epochs, loss.
        seeds: Seeds of the initial weights, at least three, none below 0.
        optimizers: Candidates of each optimizer, the settings of `Training` in which they differ; as many for each.
        engines: Engines to run. The first of Keras, which has all optimizers, trains the candidates.
        device: `cpu` or `gpu`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    description: str = ""
    dataset: DatasetChoice
    networks: dict[str, Network] = Field(min_length=1)
    training: Candidate
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=3)
    optimizers: dict[Algorithm, list[Candidate]] = Field(min_length=1)
    engines: list[EngineName] = Field(default=["bart", "keras-tensorflow"])
    device: Literal["cpu", "gpu"] = "cpu"

    @model_validator(mode="before")
    @classmethod
    def _no_experiment(cls, content: Any) -> Any:
        if isinstance(content, dict) and "optimizers" not in content and isinstance(content.get("networks"), dict):
            for name, network in content["networks"].items():
                if isinstance(network, dict) and "training" in network:
                    raise ValueError(
                        f"an experiment, because networks.{name} has a training and there is no key optimizers; "
                        "'bart-tf compare' takes it"
                    )
        return content

    @field_validator("training")
    @classmethod
    def _nested_training(cls, training: Candidate) -> Candidate:
        return nested(training)

    @field_validator("optimizers")
    @classmethod
    def _nested_candidates(cls, optimizers: dict[Algorithm, list[Candidate]]) -> dict[Algorithm, list[Candidate]]:
        return {name: [nested(candidate) for candidate in grid] for name, grid in optimizers.items()}

    @model_validator(mode="after")
    def _fair(self) -> Study:
        counts = {name: len(grid) for name, grid in self.optimizers.items()}
        if len(set(counts.values())) != 1 or 0 in counts.values():
            raise ValueError(f"every optimizer needs the same number of candidates, received {counts}")
        if not any(map(KerasEngineName.parse, self.engines)):
            raise ValueError(f"engines must have one of Keras, which has all optimizers, received {self.engines}")
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ, received {self.seeds}")
        for name, grid in self.optimizers.items():
            for number, candidate in enumerate(grid):
                self._check(name, number, candidate)
        # What an experiment refuses, such as an engine that does not exist, is refused here.
        for seed in self.seeds:
            with _in_one_line():
                experiment(self, seed, self.engines, candidates(self))
        return self

    @property
    def tuned_on(self) -> EngineName:
        """The engine that trains the candidates: the first of Keras."""
        return next(engine for engine in self.engines if KerasEngineName.parse(engine))

    def _check(self, algorithm: str, number: int, candidate: Candidate) -> None:
        """Refuse a candidate whose training breaks a rule, and name the block that the fault is in."""
        fault = self._fault(algorithm, candidate)
        if fault is None:
            return
        if fault == self._fault(algorithm, {}):  # also without the candidate's settings
            separator = "." if fault.partition(":")[0] in dict(dotted(self.training)) else ": "
            raise ValueError(f"training{separator}{fault}")
        raise ValueError(f"optimizers.{algorithm}.{number}: {fault}")

    def _fault(self, algorithm: str, candidate: Candidate) -> str | None:
        """Return the rule that the training of a candidate breaks, if any."""
        try:
            self.trained(algorithm, candidate)
        except ValidationError as error:
            return first_fault(error, merged(self.training, candidate), partial(strict.known_keys, Training))
        except ValueError as error:
            return str(error)
        return None

    def trained(self, algorithm: str, candidate: Candidate) -> Training:
        """Return the training of a candidate.

        Raises:
            ValueError: It names an algorithm itself.
            ValidationError: A key is unknown, or a value has the wrong type or range.
        """
        if "algorithm" in {*self.training, *candidate}:
            raise ValueError("algorithm: leave it out, the key in optimizers names it")
        return strict.validated({**merged(self.training, candidate), "algorithm": algorithm}, Training)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Put a fault of settings that are made of others into the words of the study."""
    try:
        yield
    except ValidationError as error:
        raise ValueError(first_fault(error)) from None


def load(path: Path) -> Study:
    """Read a study that a user wrote.

    Raises:
        InputError: The file cannot be read or breaks a rule, which the message names (see
            `compare.settings.without_effect`).
    """
    study = load_kept(path)
    without_effect.refuse(path, _without_effect(study))
    return study


def load_kept(path: Path) -> Study:
    """Read the study that a folder keeps, as `compare.settings.experiment.load_kept` does.

    Raises:
        InputError: The file cannot be read or breaks a rule, which the message names.
    """
    study = strict.read(path, Study)
    return study.model_copy(update={"dataset": dataset_from(path, study.dataset)})


def candidates(study: Study) -> dict[str, TrainedNetwork]:
    """Name all that is trained to choose the settings of each optimizer, `<network>-<optimizer>-<number>`."""
    return {
        f"{network}-{algorithm}-{number}": TrainedNetwork(
            network=settings, training=study.trained(algorithm, candidate)
        )
        for network, settings in study.networks.items()
        for algorithm, grid in study.optimizers.items()
        for number, candidate in enumerate(grid)
    }


def experiment(study: Study, seed: int, engines: list[EngineName], networks: dict[str, TrainedNetwork]) -> Experiment:
    """Return the part of a study that trains some networks from one seed."""
    return Experiment(
        name=study.name,
        dataset=study.dataset,
        networks=networks,
        engines=engines,
        device=study.device,
        seed=seed,
        validate_epochs=True,
    )


def _without_effect(study: Study) -> Iterator[without_effect.Fault]:
    """Yield such keys of an optimizer study; what all optimizers share may be of use to some of them only."""
    yield from without_effect.with_prefix("dataset.simulate", without_effect.in_simulation(study.dataset.simulate))
    yield from without_effect.in_engines(study.engines)
    for block in BLOCKS:
        if block in study.training and block not in study.optimizers:
            yield f"training.{block}", f"only for the algorithm {block}, optimizers has {', '.join(study.optimizers)}"
    for name, network in study.networks.items():
        yield from without_effect.with_prefix(f"networks.{name}", without_effect.in_network(network))
        for algorithm, grid in study.optimizers.items():
            for number, candidate in enumerate(grid):
                faults = list(without_effect.in_training(study.trained(algorithm, candidate), network))
                keys = dict(dotted(candidate))
                own_faults = (fault for fault in faults if fault[0] in {*keys, *candidate})
                yield from without_effect.with_prefix(f"optimizers.{algorithm}.{number}", own_faults)
                if "loss" not in keys:
                    yield from without_effect.with_prefix("training", (fault for fault in faults if fault[0] == "loss"))
