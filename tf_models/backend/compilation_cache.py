"""Where JAX keeps what it has compiled for a GPU, so that the next process need not compile it again."""

from __future__ import annotations

import os
from pathlib import Path

from bart_bridge.wording import counted

_MOST_BYTES = 2**31


def folder() -> Path:
    """Return the folder: JAX's own setting, or one in the user's cache."""
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bart-tf" / "jax"


def use_compilation_cache() -> None:
    """Let JAX keep compiled functions, unless the user has decided otherwise.

    Only on a GPU: code for a CPU may not run on another one that shares the folder.
    """
    import jax

    undecided = jax.config.jax_compilation_cache_dir is None and jax.config.jax_enable_compilation_cache
    if undecided and jax.default_backend() == "gpu":
        jax.config.update("jax_compilation_cache_dir", str(folder()))
        jax.config.update("jax_compilation_cache_max_size", _MOST_BYTES)


def describe() -> str:
    """Return the folder and how much is in it, for `bart-tf doctor`."""
    place = folder()
    sizes = [path.stat().st_size for path in place.glob("*") if path.is_file()]
    if not sizes:
        return f"{place}, empty (JAX on a GPU keeps them there)"
    return f"{place}, {counted(len(sizes), 'file')}, {sum(sizes) / 2**20:.0f} MiB"
