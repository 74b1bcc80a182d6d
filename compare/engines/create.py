"""Engines by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bart_bridge.errors import InputError, ToolError
from bart_bridge.tools.discovery import find_version
from bart_bridge.tools.parallel import usable_threads
from bart_bridge.tools.toolbox import Toolbox
from compare.engines.bart import BartEngine
from compare.engines.base import Device, Engine
from compare.engines.keras import KerasEngine
from compare.settings.engine_names import (
    EngineName,
    KerasEngineName,
    has_lowmem,
    is_bart,
    wanted_bart,
    without_lowmem,
)


def create(name: EngineName, device: Device, bart: Toolbox, threads: int | None = None) -> Engine:
    """Make an engine by its name.

    Args:
        name: `keras-tensorflow`, `bart`, or `bart-` and anything for another binary, such as `bart-0.9`.
        device: Device that it computes on.
        bart: The binary of a BART engine.
        threads: Number of threads; default `usable_threads`.

    Raises:
        InputError: The engine cannot use the device.
        MissingExtraError: Its backend is not installed.
    """
    count = threads or usable_threads()
    keras = KerasEngineName.parse(name)
    return KerasEngine(keras, device, count) if keras else BartEngine(bart, device, count, name)


def toolbox_of(name: EngineName, binaries: Mapping[str, Path], bart: Toolbox, device: Device = "cpu") -> Toolbox:
    """Return the BART of an engine: the one in `binaries`, or one of the version in its name, or the default.

    Where the default has the version, it is taken: it may be one that only `--bart` names. On a GPU, of several BARTs
    of a version the first that was built with CUDA is taken.

    Raises:
        InputError: The binary is of another version than the name of the engine says.
        ToolError: The binary is missing or does not work, or there is no BART of the version.
    """
    wanted = wanted_bart(name)
    if (binary := without_lowmem(name)) in binaries:
        toolbox = Toolbox.find(binaries[binary])
        if wanted and not wanted.fits(toolbox):
            raise InputError(
                f"bart_binaries: '{name}' must be a BART {wanted}, received {toolbox.version_text} at {toolbox.path}"
            )
        return toolbox
    if wanted is None or (wanted.fits(bart) and (device == "cpu" or bart.has_cuda)):
        return bart
    try:
        return find_version(replace(wanted, cuda=device == "gpu"))
    except ToolError as error:
        raise ToolError(f"engine '{name}': {error}") from None


def toolboxes_of(
    names: Iterable[EngineName], binaries: Mapping[str, Path], bart: Toolbox, device: Device = "cpu"
) -> dict[EngineName, Toolbox]:
    """Return the BART of each engine, see `toolbox_of`.

    Raises:
        InputError: Two engines are one BART, such as `bart` and `bart-1.0` where both are BART 1.0; or as `toolbox_of`.
        ToolError: As `toolbox_of`.
    """
    toolboxes = {name: toolbox_of(name, binaries, bart, device) for name in names}
    earlier: dict[tuple[Path, bool], EngineName] = {}
    for name, toolbox in toolboxes.items():
        # A binary that the experiment names may be the same on purpose.
        if is_bart(name) and without_lowmem(name) not in binaries:
            other = earlier.setdefault((toolbox.path.resolve(), has_lowmem(name)), name)
            if other != name:
                described = f"BART {toolbox.version_text} at {toolbox.path}"
                raise InputError(f"engines: '{other}' and '{name}' are one BART here, name it once ({described})")
    return toolboxes
