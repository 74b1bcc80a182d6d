"""Calls of Triton kernels from JAX, which Triton compiles once for all processes.

jax-triton compiles in each process, and JAX's compilation cache saves only what XLA does afterwards. A function that
`jax.export` has exported contains the compiled kernel, so one is kept for each call, in the folder of that cache.
"""

from __future__ import annotations

import hashlib
import importlib
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

import jax

from bart_bridge.files.atomic import new_file
from tf_models.backend.ops import Tensor, Tensors

# What was exported or loaded in this process, by the name of its file.
_EXPORTED: dict[str, jax.export.Exported] = {}


def triton_call(
    *arguments: Tensor | int, kernel: str, out_shape: Tensors, grid: tuple[int, ...], **options: Any
) -> Any:
    """Call a Triton kernel, like `jax_triton.triton_call`.

    Args:
        *arguments: Arrays and integers, in the order of the kernel's parameters.
        kernel: Module in `tf_models.kernels` and name, `module.function`.
        out_shape: Shape and type of each result, `jax.ShapeDtypeStruct`; one or a list.
        grid: Number of programs along each axis.
        **options: Constants of the kernel, `num_warps` and `num_stages`.
    """
    arrays = [argument for argument in arguments if not isinstance(argument, int)]
    numbers = [argument if isinstance(argument, int) else None for argument in arguments]
    module, function = kernel.split(".")
    shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in arrays]
    name = file_name(module, function, numbers, shapes, out_shape, grid, sorted(options.items()))

    def compile_and_call(*arrays: Tensor) -> Tensors:
        import jax_triton

        remaining = iter(arrays)
        return jax_triton.triton_call(
            *(next(remaining) if number is None else number for number in numbers),
            kernel=getattr(importlib.import_module(f"tf_models.kernels.{module}"), function),
            out_shape=out_shape,
            grid=grid,
            compute_capability=_compute_capability(),
            **options,
        )

    if name not in _EXPORTED:
        _EXPORTED[name] = _load(name) or _export(name, jax.jit(compile_and_call), shapes)
    return _EXPORTED[name].call(*arrays)


def file_name(module: str, *description: Any) -> str:
    """Return a name for what kernels of a module give on this GPU, with the versions of today."""
    # Tiles decide whether a kernel fits.
    content = _versions(), _source(module), _source("triton_tiles"), description
    return f"triton-{hashlib.sha256(repr(content).encode()).hexdigest()}"


def folder() -> Path | None:
    """Return the folder of JAX's compilation cache, or None if it is not used."""
    name = jax.config.jax_compilation_cache_dir
    if not name or "://" in name or not jax.config.jax_enable_compilation_cache:
        return None
    return Path(name)


def _load(name: str) -> jax.export.Exported | None:
    kept = folder()
    try:
        return None if kept is None else jax.export.deserialize(bytearray((kept / name).read_bytes()))
    # Missing, cut off or of another format: it is compiled again.
    except Exception:  # noqa: BLE001
        return None


def _export(name: str, function: Any, shapes: list[jax.ShapeDtypeStruct]) -> jax.export.Exported:
    # JAX does not promise that other versions load custom calls, but those have other names.
    unchecked = [jax.export.DisabledSafetyCheck.custom_call("triton_kernel_call")]
    exported = jax.export.export(function, platforms=["cuda"], disabled_checks=unchecked)(*shapes)
    write(name, exported.serialize)
    return exported


def write(name: str, content: Any) -> None:
    """Write what `content` returns to a file in the cache, if there is a cache and it can be written."""
    kept = folder()
    if kept is None:
        return
    try:
        kept.mkdir(parents=True, exist_ok=True)
        with new_file(kept / name, durable=False) as path:
            path.write_bytes(content())
    except (OSError, ImportError):  # jax.export needs the package flatbuffers to serialize
        return


@cache
def _versions() -> tuple[object, ...]:
    device = jax.devices()[0]
    packages = [metadata.version(name) for name in ("jax", "jaxlib", "jax-triton", "triton")]
    return *packages, device.device_kind, _compute_capability(), device.client.platform_version


@cache
def _compute_capability() -> int:
    return round(10 * float(jax.devices()[0].compute_capability))


@cache
def _source(module: str) -> bytes:
    spec = util.find_spec(f"tf_models.kernels.{module}")
    return Path(spec.origin).read_bytes() if spec and spec.origin else b""
