"""Import Keras and its backend without their log messages, so that a terminal shows only the lines of our programs.

TensorFlow, JAX and PyTorch write messages about processor, drivers, options and slowness to standard error. Their
errors are exceptions and still reach the caller.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from bart_bridge.errors import MissingExtraError, ToolError

# Keras 3.15 imports these where they are installed, for inputs, wrappers and plots that we do not have. They take a
# third of its import, and 150 MB of memory in every process.
_EXTRAS = ("matplotlib", "pandas", "sklearn")
# Backends that only an extra of their name installs.
_OF_EXTRAS = ("jax", "torch")


def import_backend() -> None:
    """Import Keras with its backend and silence both; programs call it before anything else imports Keras.

    TF_CPP_MIN_LOG_LEVEL and `python -W` are respected if they are set.

    Raises:
        ToolError: The backend cannot be imported. KERAS_BACKEND names it; it defaults to `tensorflow`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    extras = [name for name in _EXTRAS if name not in sys.modules]
    # With None, `import` finds that a package is not installed.
    sys.modules.update(dict.fromkeys(extras))  # type: ignore[arg-type]
    is_collecting = gc.isenabled()
    # What a module makes stays: looking through all of it again and again takes a fifth of the import.
    gc.disable()
    try:
        import keras  # noqa: F401
    except Exception as error:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        if isinstance(error, ModuleNotFoundError) and error.name == backend and backend in _OF_EXTRAS:
            raise MissingExtraError(backend, backend) from error
        raise ToolError(f"Keras with the backend {backend} cannot be imported: {error}") from error
    finally:
        for name in extras:
            del sys.modules[name]
        # Nor does it change: leaving it out of later collections takes a second off the end of the process.
        gc.freeze()
        if is_collecting:
            gc.enable()
    # After the import, because Abseil's logger of this name must have its own class.
    for name in ("absl", "jax", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


class _SilentTensorFlow(MetaPathFinder):
    """Import TensorFlow silently, even late: on other backends, Keras imports it when it saves a model."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find TensorFlow, and nothing else."""
        spec = PathFinder.find_spec(name, path) if name == "tensorflow" else None
        if spec and spec.loader:
            spec.loader.exec_module = _silent()(spec.loader.exec_module)  # type: ignore[method-assign]
        return spec


_FINDER = _SilentTensorFlow()


@contextmanager
def _silent() -> Iterator[None]:
    """Discard standard error, also that of C++ libraries, which write at any log level while they load."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
