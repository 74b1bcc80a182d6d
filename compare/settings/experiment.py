"""The settings of an experiment: one YAML file in `configs/`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from bart_bridge.data.simulation import Simulation
from bart_bridge.errors import InputError, first_fault
from bart_bridge.reconet.network_settings import MemoryPlan, Network, Settings
from bart_bridge.reconet.training_settings import Training, check_shared
from compare.settings import strict, without_effect
from compare.settings.engine_names import (
    BART_OF_VERSION,
    ENGINES,
    EngineName,
    KerasEngineName,
    has_lowmem,
    is_bart_binary,
    wanted_bart,
    without_lowmem,
)
from compare.settings.slurm import Slurm

# What an editor offers; `Experiment` itself also knows the names of `bart_binaries`.
_EngineNames = list[
    Annotated[EngineName, WithJsonSchema({"anyOf": [{"enum": list(ENGINES)}, {"type": "string", "pattern": "^bart-"}]})]
]
BaselineName = Literal["cg-sense", "gridding", "l1-wavelet", "total-variation"]


class DatasetChoice(Settings):
    """The source of the data, exactly one of the two.

    Attributes:
        simulate: Phantoms to simulate into the experiment's folder.
        folder: An existing dataset folder. A relative path starts at the folder of the configuration file.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["simulate"]}, {"required": ["folder"]}]})

    simulate: Simulation | None = None
    folder: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> DatasetChoice:
        if (self.simulate is None) == (self.folder is None):
            raise ValueError("name either 'simulate' or 'folder'")
        return self


class TrainedNetwork(Settings):
    """A network and its training.

    Attributes:
        network: Sizes and options of the network.
        training: How it is trained.
        seed: Seed of the initial weights, for several trainings that differ in nothing else; default that of the
            experiment.
        engines: Those engines of the experiment that train it; default all.
    """

    network: Network
    training: Training
    seed: int | None = Field(default=None, ge=0)
    engines: _EngineNames | None = Field(default=None, min_length=1)


class Experiment(Settings):
    """What is compared.

    Attributes:
        name: Letters, digits, `-` and `_`; the default output folder is `reports/<name>`.
        description: A sentence for the report.
        dataset: The data.
        networks: Networks by the name they have in the results; there may be none beside baselines.
        baselines: Reconstructions without a network, see `bart_bridge.baselines`, each with its regularization chosen
            on the validation slices; default CG-SENSE.
        engines: Engines to run: `bart`, `bart-` with a version (`bart-0.9`, see `bart_bridge.tools.discovery`), also
            with `-openblas` after it, each of them with `-lowmem` after it (BART's option in training), `keras-` with a
            backend (`tensorflow`, `jax`, `torch`), the same with `-lean` for the memory plan `lean`, or a name of
            `bart_binaries`; default `bart` and `keras-tensorflow`.
        bart_binaries: More BART binaries (or their folders) by the name of their engine, such as `bart-cudnn`; a
            relative path starts at the folder of the configuration file.
        device: `cpu` (default) or `gpu`.
        devices: GPUs, or parts of a CPU, that share every batch of a training (default 1); engines on JAX only.
        threads: Threads of each engine; default OMP_NUM_THREADS, and without that all cores this process may use.
        seed: Seed of the initial weights (default 0).
        validate_epochs: Measure the validation slices after every epoch of training (default false); it costs time.
        same_initial_weights: All engines start from the same weights (default), or each draws its own.
        exchange_weights: Reconstruct the test slices also with the trained weights of the other engines, BART with
            those of Keras and Keras with those of BART (default false); see `compare.running.exchange_steps`.
        repeats: How often training and reconstruction are measured, the engines taking turns (default 1).
        repeat_epochs: Epochs of each stage in repeats after the first; default as many as in the first.
        inference_calls: Timed reconstructions of a slice after the first, over all repeats (default 20).
        slurm: What jobs ask for, where the experiment runs on a cluster (`bart-tf compare --on slurm`).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    description: str = ""
    dataset: DatasetChoice
    networks: dict[str, TrainedNetwork] = Field(default_factory=dict)
    baselines: list[BaselineName] = Field(default=["cg-sense"])
    engines: _EngineNames = Field(["bart", "keras-tensorflow"], min_length=1)
    bart_binaries: dict[str, Path] = Field(default={})
    device: Literal["cpu", "gpu"] = "cpu"
    devices: int = Field(default=1, ge=1)
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    validate_epochs: bool = False
    same_initial_weights: bool = True
    exchange_weights: bool = False
    repeats: int = Field(default=1, ge=1)
    repeat_epochs: int | None = Field(default=None, ge=1)
    inference_calls: int = Field(default=20, ge=1)
    slurm: Slurm = Slurm()

    @model_validator(mode="before")
    @classmethod
    def _no_study(cls, content: Any) -> Any:
        if isinstance(content, dict) and "optimizers" in content:
            raise ValueError("an optimizer study, because it has the key optimizers; 'bart-tf optimizers' takes it")
        return content

    @model_validator(mode="after")
    def _shared(self) -> Experiment:
        if self.devices > 1:
            for engine in self.engines:
                keras = KerasEngineName.parse(engine)
                if keras is None or keras.backend != "jax":
                    raise ValueError(
                        f"devices: only keras-jax and keras-jax-lean train on several devices, received {self.devices} "
                        f"and the engine '{engine}'"
                    )
            for trained in self.networks.values():
                check_shared(trained.training, trained.training.batch_size, self.devices)
        return self

    @model_validator(mode="after")
    def _names(self) -> Experiment:
        for name in [*self.networks, *self.bart_binaries]:
            if name in self.bart_binaries and has_lowmem(name):
                raise ValueError(f"bart_binaries: the engine says '-lowmem', its binary does not, received '{name}'")
            has_version = name in self.bart_binaries and wanted_bart(name) is not None
            if not has_version and not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"names of networks may have letters, digits, '-' and '_', received '{name}'")
        if not self.networks and not self.baselines:
            raise ValueError("name networks, or baselines, or both")
        for name in self.bart_binaries:
            if not is_bart_binary(name):
                raise ValueError(f"names of bart_binaries must begin with 'bart-', received '{name}'")
        for name in self.engines:
            named = (*ENGINES, *self.bart_binaries)
            if name not in named and wanted_bart(name) is None and without_lowmem(name) not in named:
                available = ", ".join([*ENGINES, BART_OF_VERSION, *self.bart_binaries])
                raise ValueError(f"engines: no engine '{name}' (found: {available})")
        if len(set(self.engines)) != len(self.engines):
            raise ValueError(f"engines must differ, received {', '.join(self.engines)}")
        for name, trained in self.networks.items():
            for engine in trained.engines or []:
                if engine not in self.engines:
                    raise ValueError(
                        f"networks.{name}.engines: must be some of engines (found: {', '.join(self.engines)}), "
                        f"received '{engine}'"
                    )
        for name, engine in self.runs():
            keras = KerasEngineName.parse(engine)
            if keras and keras.memory_plan == "lean" and self.networks[name].network.cg_derivative == "unrolled":
                raise ValueError(f"the memory plan lean needs cg_derivative 'implicit', '{name}' has 'unrolled'")
        return self

    def engines_of(self, network: str) -> list[EngineName]:
        """List the engines that train a network, in the order of the experiment."""
        chosen = self.networks[network].engines
        return [engine for engine in self.engines if chosen is None or engine in chosen]

    def runs(self) -> list[tuple[str, EngineName]]:
        """List network and engine of each run, network by network."""
        return [(name, engine) for name in self.networks for engine in self.engines_of(name)]


def apart_from_seeds(experiment: Experiment) -> list[list[str]]:
    """List the names of networks that differ in seed and engines only, in groups of two or more.

    Of several with the same seed, which are the same training, a group has the first.
    """
    groups: dict[str, dict[int, str]] = {}
    for name, trained in experiment.networks.items():
        alike = trained.model_copy(update={"seed": None, "engines": None})
        seed = experiment.seed if trained.seed is None else trained.seed
        groups.setdefault(alike.model_dump_json(), {}).setdefault(seed, name)
    return [[*names.values()] for names in groups.values() if len(names) > 1]


def load(path: Path) -> Experiment:
    """Read an experiment that a user wrote.

    Raises:
        InputError: The file cannot be read, a key is unknown or missing, does nothing or contradicts another (see
            `compare.settings.without_effect`), or a value has the wrong type or range; the message names the file, the
            key, the rule and the value.
    """
    experiment = load_kept(path)
    without_effect.refuse(path, without_effect.in_experiment(experiment))
    return experiment


def load_kept(path: Path) -> Experiment:
    """Read the experiment that a folder keeps; it may be older than the rules of `compare.settings.without_effect`.

    Raises:
        InputError: The file cannot be read, a key is unknown or missing, or a value has the wrong type or range.
    """
    experiment = strict.read(path, Experiment)
    binaries = {name: _from(path, binary) for name, binary in experiment.bart_binaries.items()}
    experiment = experiment.model_copy(update={"bart_binaries": binaries})
    return experiment.model_copy(update={"dataset": dataset_from(path, experiment.dataset)})


def dataset_from(configuration: Path, choice: DatasetChoice) -> DatasetChoice:
    """Return a choice whose folder is absolute; a relative one starts at the folder of the configuration file."""
    if choice.folder is None:
        return choice
    return choice.model_copy(update={"folder": _from(configuration, choice.folder)})


def _from(configuration: Path, path: Path) -> Path:
    return (configuration.parent / path.expanduser()).absolute()


def with_memory(experiment: Experiment, network: str, engine: str, memory: MemoryPlan) -> tuple[Experiment, str]:
    """Return the experiment with one of its Keras engines in a memory plan, and the name of that engine.

    Args:
        experiment: The experiment.
        network: The network that is to be trained so; others need not be able to.
        engine: The engine.
        memory: The plan.

    Raises:
        InputError: It is not a Keras engine of the experiment, or the network cannot have the plan.
    """
    keras = KerasEngineName.parse(engine)
    if keras is None or engine not in experiment.engines:
        available = ", ".join(name for name in experiment.engines if KerasEngineName.parse(name))
        raise InputError(f"--memory: engine must be one of Keras (found: {available}), received '{engine}'")
    if keras.memory_plan == "lean" and memory == "plain":
        raise InputError(f"--memory plain contradicts the engine '{engine}', which has the plan lean in its name")
    name = str(replace(keras, memory_plan=memory))
    engines = list(dict.fromkeys([*experiment.engines, name]))
    trained = experiment.networks.get(network)
    networks = {network: trained.model_copy(update={"engines": None})} if trained else {}
    try:
        Experiment.model_validate({**dict(experiment), "engines": engines, "networks": networks})
    except ValidationError as error:
        raise InputError(f"--memory: {first_fault(error)}") from None
    return experiment.model_copy(update={"engines": engines}), name
