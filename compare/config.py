"""The schema of an experiment: one YAML file in `configs/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bart_bridge.errors import InputError
from bart_bridge.settings import Network, Training
from bart_bridge.simulate import Simulation

EngineName = Literal["bart", "keras-tensorflow"]
BaselineName = Literal["cg-sense", "gridding", "l1-wavelet", "total-variation"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DatasetChoice(_Frozen):
    """Where the data comes from: exactly one of the two.

    Attributes:
        simulate: Phantoms to be made in the experiment's folder.
        folder: A dataset folder that exists; a relative path starts at the folder of the configuration file.
    """

    simulate: Simulation | None = None
    folder: Path | None = None

    @model_validator(mode="after")
    def _one(self) -> DatasetChoice:
        if (self.simulate is None) == (self.folder is None):
            raise ValueError("name either 'simulate' or 'folder'")
        return self


class TrainedNetwork(_Frozen):
    """A network and how it is trained.

    Attributes:
        network: Its sizes and options.
        training: Its training.
    """

    network: Network
    training: Training


class Experiment(_Frozen):
    """What is compared.

    Attributes:
        name: Letters, digits, `-` and `_`; the default output folder is `reports/<name>`.
        description: A sentence for the report.
        dataset: The data.
        networks: Networks by the name they have in the results; there may be none beside baselines.
        baselines: Reconstructions without a network, see `bart_bridge.baselines`, each with its regularization chosen
            on the validation slices; default CG-SENSE.
        engines: Engines to run; default both.
        device: `cpu` (default) or `gpu`.
        seed: Seed of the initial weights, from which all engines start (default 0).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    description: str = ""
    dataset: DatasetChoice
    networks: dict[str, TrainedNetwork] = Field(default_factory=dict)
    baselines: list[BaselineName] = ["cg-sense"]
    engines: list[EngineName] = Field(["bart", "keras-tensorflow"], min_length=1)
    device: Literal["cpu", "gpu"] = "cpu"
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _names(self) -> Experiment:
        for name in self.networks:
            if not name.replace("-", "").replace("_", "").isalnum():
                raise ValueError(f"names of networks may have letters, digits, '-' and '_', received '{name}'")
        if not self.networks and not self.baselines:
            raise ValueError("name networks, or baselines, or both")
        if len(set(self.engines)) != len(self.engines):
            raise ValueError(f"engines must differ, received {', '.join(self.engines)}")
        return self


def load(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        InputError: The file cannot be read, a key is unknown or missing, or a value has the wrong type or range; the
            message names the file, the key, the rule and the value.
    """
    try:
        content = yaml.safe_load(path.read_text())
        # Through JSON, because its strict mode takes a YAML list for a tuple but not a word for a number.
        experiment = Experiment.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error)}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    folder = experiment.dataset.folder
    if folder is None:
        return experiment
    dataset = DatasetChoice(folder=(path.parent / folder.expanduser()).absolute())
    return experiment.model_copy(update={"dataset": dataset})


def describe(error: ValidationError) -> str:
    """Say in one line what a configuration breaks: key, rule and value of the first fault."""
    faults: list[dict[str, Any]] = [dict(fault) for fault in error.errors()]
    first = faults[0]
    key = ".".join(str(part) for part in first["loc"]) or "the file"
    message = f"{key}: {first['msg']}"
    if first["type"] not in {"missing", "extra_forbidden"} and not isinstance(first["input"], dict):
        message += f" (received {first['input']!r})"
    return message + (f"; and {len(faults) - 1} more" if len(faults) > 1 else "")
