"""Import Keras and its backend without their log messages, so that a terminal shows only the lines of our programs.

TensorFlow, JAX and PyTorch write to standard error about processor, drivers, options and possible slowness. Their
errors are exceptions, which still reach the caller.
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
    """Import Keras with its backend and silence both; programs call it before anything else imports Keras.

    It respects TF_CPP_MIN_LOG_LEVEL and `python -W` where they are set.

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
    """Discard what is written to standard error, also by C++ libraries, which write at any log level as they load."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
