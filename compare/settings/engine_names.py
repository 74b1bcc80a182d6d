"""Names of engines, and what they say: `bart`, `bart-0.9`, `bart-cudnn`, `keras-jax`, `keras-jax-lean`."""

from __future__ import annotations

from dataclasses import dataclass

from bart_bridge.reconet.network_settings import MemoryPlan
from bart_bridge.tools.discovery import Wanted

# As configuration files, records and results have it.
EngineName = str
BART: EngineName = "bart"
# What messages call the engines that `wanted_bart` knows.
BART_OF_VERSION = "bart-X.Y, bart-X.Y-openblas, each also with -lowmem"
_LOWMEM = "-lowmem"
BACKENDS = ("tensorflow", "jax", "torch")


@dataclass(frozen=True)
class KerasEngineName:
    """The two choices in the name of a Keras engine; `str` returns the name.

    Attributes:
        backend: What computes: `tensorflow`, `jax` or `torch`.
        memory_plan: How a training spends memory (default `plain`).
    """

    backend: str
    memory_plan: MemoryPlan = "plain"

    @classmethod
    def parse(cls, name: EngineName) -> KerasEngineName | None:
        """Read the name of an engine; None if it is not one of Keras."""
        framework, _, backend = name.partition("-")
        if framework != "keras":
            return None
        return cls(backend.removesuffix("-lean"), "lean" if backend.endswith("-lean") else "plain")

    def __str__(self) -> str:
        """Return the name."""
        return f"keras-{self.backend}{'-lean' if self.memory_plan == 'lean' else ''}"


def is_bart(name: EngineName) -> bool:
    """Return whether an engine is a BART binary: `bart`, or `bart-` and anything."""
    return name == BART or is_bart_binary(name)


def is_bart_binary(name: EngineName) -> bool:
    """Return whether a name is one that `bart_binaries` of an experiment may define: `bart-` and anything."""
    return name.startswith(f"{BART}-")


def wanted_bart(name: EngineName) -> Wanted | None:
    """Read the version in the name of an engine: `bart-0.9`, `bart-0.9.00`, `bart-0.9-openblas`; None without one."""
    return Wanted.parse(without_lowmem(name).removeprefix(f"{BART}-")) if is_bart_binary(name) else None


def has_lowmem(name: EngineName) -> bool:
    """Return whether an engine is a BART that trains with its option `--lowmem`: `bart-lowmem`, `bart-1.0-lowmem`."""
    return is_bart_binary(name) and name.endswith(_LOWMEM)


def without_lowmem(name: EngineName) -> EngineName:
    """Return the engine that has the same BART without its option `--lowmem`."""
    return name.removesuffix(_LOWMEM) if has_lowmem(name) else name


def memory_plan(name: EngineName) -> str:
    """Return how an engine spends memory in training: `plain` or `lean` for Keras, `lowmem` or nothing for BART."""
    keras = KerasEngineName.parse(name)
    return keras.memory_plan if keras else _LOWMEM.removeprefix("-") * has_lowmem(name)


ENGINES = (BART, *(str(KerasEngineName(backend, plan)) for backend in BACKENDS for plan in ("plain", "lean")))
