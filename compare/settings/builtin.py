"""The experiments and optimizer studies that the package brings: `configs/` of the repository."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.files import atomic, yaml_files
from compare.settings.engine_names import without_lowmem

FOLDER = Path(__file__).resolve().parents[1] / "builtin" / "configs"
# Editors look for them beside a file of settings, whose first line names one of the two.
SCHEMAS = ("experiment.schema.json", "study.schema.json")
# An experiment like the others, but written to be traced.
_TRACED = "profile"


@dataclass(frozen=True)
class Summary:
    """What one chooses a file by.

    Attributes:
        name: Its name, without `.yaml`.
        command: The command of `bart-tf` that takes it.
        needs: What it needs besides BART.
        sentence: The first sentence of its description.
    """

    name: str
    command: str
    needs: str
    sentence: str


def names() -> list[str]:
    """Return the names of all experiments and studies, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(path: Path) -> Path:
    """Return the file that a user means: a path, or the name of a file that the package brings.

    A file in the working folder goes before one of the package, and so does an experiment's folder.

    Raises:
        InputError: It is a name, and neither a file nor a folder nor the package has it; or the package has it, but
            not the data that it needs.
    """
    if path.name != str(path) or path.suffix or path.is_file() or (path / "experiment.yaml").is_file():
        return path
    if path.name not in names():
        raise InputError(f"{path}: no such file, and no built-in experiment (found: {', '.join(names())})")
    target = FOLDER.resolve() / f"{path.name}.yaml"
    folder = yaml_files.read(target)["dataset"].get("folder")
    if folder and not (target.parent / folder).exists():
        raise InputError(f"{path}: it needs your data: 'bart-tf configs copy {path}', and set dataset.folder there")
    return target


def summaries() -> list[Summary]:
    """Describe all experiments and studies."""
    return [_summary(name, yaml_files.read(FOLDER / f"{name}.yaml")) for name in names()]


def copy(name: str, folder: Path) -> Path:
    """Copy an experiment or a study, and the schemas for editors beside it.

    Args:
        name: Its name.
        folder: Where to; it is made if it does not exist.

    Returns:
        The new file.

    Raises:
        InputError: The package has no such file, or the folder has one already.
    """
    if name not in names():
        raise InputError(f"no built-in experiment '{name}' (found: {', '.join(names())})")
    target = folder / f"{name}.yaml"
    if target.exists():
        raise InputError(f"{target}: it exists already; --output takes another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file in (*SCHEMAS, target.name):
        with atomic.new_file(folder / file) as temporary:
            shutil.copyfile(FOLDER / file, temporary)
    return target


def _summary(name: str, content: dict[str, object]) -> Summary:
    dataset, engines = content["dataset"], content.get("engines", [])
    assert isinstance(dataset, dict)
    assert isinstance(engines, list)
    needs = ["your data"] if "folder" in dataset else []
    needs += ["an NVIDIA GPU"] if content.get("device") == "gpu" else []
    needs += dict.fromkeys(without_lowmem(engine) for engine in engines if engine.startswith("bart-"))
    needs += ["JAX"] if any(engine.startswith("keras-jax") for engine in engines) else []
    command = "optimizers" if "optimizers" in content else "profile" if name == _TRACED else "compare"
    description = " ".join(str(content["description"]).split())
    return Summary(name, command, ", ".join(needs), f"{description.removesuffix('.').partition('. ')[0]}.")
