"""Import Keras and its backend without what they tell of themselves: a terminal shows the lines of our programs only.

TensorFlow, JAX and PyTorch write to standard error which processor, drivers and options they met, and what may be slow.
Their errors are exceptions, and reach whoever called.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from bart_bridge.errors import ToolError


def import_backend() -> None:
    """Import Keras with its backend, both silent from then on; programs call it before anything else imports Keras.

    A TF_CPP_MIN_LOG_LEVEL or `python -W` that somebody has set stays as it is.

    Raises:
        ToolError: The backend, the one of KERAS_BACKEND or `tensorflow`, cannot be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    try:
        with _silent_standard_error():
            import keras  # noqa: F401
    except Exception as error:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise ToolError(f"Keras with the backend {backend} cannot be imported: {error}") from error
    # After the import: Abseil needs a logger of its own class by its name.
    for name in ("absl", "jax", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _silent_standard_error() -> Iterator[None]:
    """Let nobody write to standard error, libraries in C++ neither: these do so at every log level as they are loaded."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
