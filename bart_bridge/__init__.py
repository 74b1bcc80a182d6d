"""Everything that knows BART: its files, its command-line tools, its networks' weights. Nothing here imports Keras.

The names below are for users of the package:

    from bart_bridge import Dataset, Toolbox, read_cfl, read_weights, write_cfl, write_weights

They are loaded when they are first used, so `import bart_bridge` loads nothing but Python's own modules.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from bart_bridge import former_names

if TYPE_CHECKING:
    from bart_bridge.data.dataset import Dataset
    from bart_bridge.files.cfl import read as read_cfl
    from bart_bridge.files.cfl import write as write_cfl
    from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
    from bart_bridge.reconet.training_settings import Training
    from bart_bridge.reconet.weights import read as read_weights
    from bart_bridge.reconet.weights import write as write_weights
    from bart_bridge.tools.toolbox import Toolbox

__version__ = "0.2.0"
__all__ = [
    "Dataset",
    "ModlSettings",
    "Toolbox",
    "Training",
    "VarNetSettings",
    "read_cfl",
    "read_weights",
    "write_cfl",
    "write_weights",
]

# Module, and name there.
_SOURCES = {
    "Dataset": ("data.dataset", "Dataset"),
    "ModlSettings": ("reconet.network_settings", "ModlSettings"),
    "Toolbox": ("tools.toolbox", "Toolbox"),
    "Training": ("reconet.training_settings", "Training"),
    "VarNetSettings": ("reconet.network_settings", "VarNetSettings"),
    "read_cfl": ("files.cfl", "read"),
    "read_weights": ("reconet.weights", "read"),
    "write_cfl": ("files.cfl", "write"),
    "write_weights": ("reconet.weights", "write"),
}

former_names.install()

# Type checkers would take any name from a module with `__getattr__`.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load a public name when it is first used (PEP 562)."""
        if name not in _SOURCES:
            raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
        module, name_there = _SOURCES[name]
        globals()[name] = value = getattr(import_module(f"{__name__}.{module}"), name_there)
        return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
