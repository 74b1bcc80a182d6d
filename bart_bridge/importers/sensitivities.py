"""Coil sensitivities of imported data: its own, from a BART file, or estimated by `bart ecalib`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.files.dims import from_batch_coil_yx, to_batch_map_coil_yx
from bart_bridge.importers import cfl_files
from bart_bridge.importers.source import Complex, Slice, Source
from bart_bridge.tools.toolbox import Toolbox

# What ecalib takes for calibration.
_OPTION = re.compile(r"-[tckrvm]|-[tckrvm]?[0-9.:]+|-[SWIPa]", re.ASCII)
_VALUE = re.compile(r"[0-9.:]+", re.ASCII)


def coils_of(choice: str, source: Source, toolbox: Callable[[], Toolbox]) -> Callable[[Slice, int], Complex]:
    """Return what gives a slice its coil sensitivities.

    Args:
        choice: Empty: those of the source, otherwise `ecalib`. `ecalib` with options, such as `ecalib -r 20 -c 0.5`, or
            `-m 2` for two maps (soft SENSE; one by default); or the path of a BART file with those of one or of all
            slices.
        source: What is imported.
        toolbox: Finds BART; called only where it is needed.

    Returns:
        Function of a slice and its position in the source; it returns sensitivities `(map, coil, y, x)`.

    Raises:
        InputError: An option of ecalib is not known, or the file cannot be read or has another number of slices.
    """
    words = choice.split() or ["source" if source.has_coils else "ecalib"]
    if words == ["source"]:
        return lambda item, _: _own(item, source)
    if words[0] == "ecalib":
        options = _options(words[1:])
        bart = toolbox()
        return lambda item, _: _estimate(item, bart, options)
    path = Path(choice)
    count = len(cfl_files.view(path, to_batch_map_coil_yx))
    total = sum(map(len, source.units.values()))
    if count not in {1, total}:
        raise InputError(f"{path}: coil sensitivities of 1 or of all {total} slices are needed, found {count}")
    return lambda _, position: cfl_files.read_item(path, position if count > 1 else 0, to_batch_map_coil_yx)


def _options(words: list[str]) -> list[str]:
    for previous, word in zip(["", *words], words, strict=False):
        if not _OPTION.fullmatch(word) and not (_VALUE.fullmatch(word) and re.fullmatch("-[tckrvm]", previous)):
            raise InputError(f"--coils ecalib takes the options -t -c -k -r -v -m -S -W -I -P -a, received '{word}'")
    return words


def _own(item: Slice, source: Source) -> Complex:
    if item.coils is None:
        raise InputError(f"{source.path}: it has no coil sensitivities; choose --coils ecalib or a file")
    return item.coils[None]


def _estimate(item: Slice, toolbox: Toolbox, options: list[str]) -> Complex:
    """Estimate from all of the measured data: ecalib takes its fully sampled centre (Uecker et al. 2014)."""
    measured = item.kspace if item.calibration is None else item.calibration
    # Of an option that is given twice BART takes the last one.
    maps = toolbox.compute("ecalib", "-m", 1, *options, from_batch_coil_yx(measured[None]))
    return to_batch_map_coil_yx(maps)[0]
