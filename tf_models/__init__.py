"""VarNet and MoDL as Keras 3 models that compute what BART's `reconet` computes.

Complex numbers are real arrays with a trailing axis of 2 (real, imaginary). Importing this package does not import
Keras; the first use of one of its names does.

>>> from tf_models import VarNet, Modl, build
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tf_models.files.model_files import load, save
    from tf_models.networks.build import build
    from tf_models.networks.modl import Modl
    from tf_models.networks.varnet import VarNet
    from tf_models.training.fit import train

__all__ = ["Modl", "VarNet", "build", "load", "save", "train"]

_MODULES = {
    "Modl": "tf_models.networks.modl",
    "VarNet": "tf_models.networks.varnet",
    "build": "tf_models.networks.build",
    "load": "tf_models.files.model_files",
    "save": "tf_models.files.model_files",
    "train": "tf_models.training.fit",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'tf_models' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
