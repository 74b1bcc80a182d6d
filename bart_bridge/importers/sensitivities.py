"""Coil sensitivities of imported data: from the source, from a BART file, or estimated by `bart ecalib`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import InputError, ToolError
from bart_bridge.files.dims import from_batch_coil_yx, to_batch_map_coil_yx
from bart_bridge.importers import cfl_files
from bart_bridge.importers.gridding import cartesian_centre
from bart_bridge.importers.source import Complex, Slice, Source
from bart_bridge.tools import versions
from bart_bridge.tools.toolbox import Toolbox

# Options of ecalib for the estimate.
_OPTION = re.compile(r"-[tckrvm]|-[tckrvm]?[0-9.:]+|-[SWIPa]", re.ASCII)
# Its kernel without the option -k, in samples along each axis.
_KERNEL = 6
_VALUE = re.compile(r"[0-9.:]+", re.ASCII)


def coils_of(choice: str, source: Source, find_toolbox: Callable[[], Toolbox]) -> Callable[[Slice, int], Complex]:
    """Return the function that computes the coil sensitivities of a slice.

    Args:
        choice: `ecalib` with options, such as `ecalib -r 20 -c 0.5`, or `-m 2` for two maps (soft SENSE; one map by
            default); or the path of a BART file with one slice or all slices. If empty, the sensitivities of the source
            are used, or else `ecalib`.
        source: The source.
        find_toolbox: Finds BART; called only if it is needed.

    Returns:
        Function of a slice and its position in the source, which returns sensitivities `(map, coil, y, x)` complex64.

    Raises:
        InputError: An option of ecalib is unknown, or the file cannot be read or has another number of slices.
    """
    command = choice.split() or ["source" if source.has_coils else "ecalib"]
    if command == ["source"]:
        return lambda item, _: _source_coils(item, source)
    if command[0] == "ecalib":
        options = _check_options(command[1:])
        bart = find_toolbox().in_the_form_of(versions.OLD_RANDOM_NUMBERS)  # -a and -W draw some
        return lambda item, _: _estimate(item, bart, options)
    path = Path(choice)
    cfl_files.check_there(path, "--coils", "source, ecalib with its options,")
    count = len(cfl_files.view(path, to_batch_map_coil_yx))
    total = sum(map(len, source.units.values()))
    if count not in {1, total}:
        raise InputError(f"{path}: coil sensitivities of 1 or of all {total} slices are needed, found {count}")
    return lambda _, position: cfl_files.read_item(path, position if count > 1 else 0, to_batch_map_coil_yx)


def _check_options(options: list[str]) -> list[str]:
    for previous, option in zip(["", *options], options, strict=False):
        if not _OPTION.fullmatch(option) and not (_VALUE.fullmatch(option) and re.fullmatch("-[tckrvm]", previous)):
            raise InputError(f"--coils ecalib takes the options -t -c -k -r -v -m -S -W -I -P -a, received '{option}'")
    return options


def _source_coils(item: Slice, source: Source) -> Complex:
    if item.coils is None:
        raise InputError(f"{source.path}: it has no coil sensitivities; choose --coils ecalib or a file")
    return item.coils if item.coils.ndim == 4 else item.coils[None]


def _estimate(item: Slice, toolbox: Toolbox, options: list[str]) -> Complex:
    """Estimate from all measured data; ecalib uses its fully sampled centre (Uecker et al. 2014)."""
    if item.trajectory is None:
        measured = item.kspace if item.calibration is None else item.calibration
    else:
        measured = cartesian_centre(item, toolbox)
    # If an option is given twice, BART uses the last one.
    try:
        maps = toolbox.compute("ecalib", "-m", 1, *options, from_batch_coil_yx(measured[None]))
    except ToolError as error:
        y, x = _sampled_centre(np.asarray(np.any(measured != 0, axis=0)))
        if min(y, x) >= _KERNEL:
            raise
        raise InputError(
            f"ecalib needs a fully sampled centre of at least {_KERNEL} x {_KERNEL} samples, the size of its kernel "
            f"(-k), found {x} x {y}"
        ) from error
    if not np.isfinite(maps).all() or not maps.any():
        raise InputError(
            "ecalib finds no coil sensitivities: there is too little signal, or the fully sampled centre is too small; "
            "--slices and --split leave slices out, --coils 'ecalib -c 0.5' lowers the threshold"
        )
    return to_batch_map_coil_yx(maps)[0]


def _sampled_centre(sampled: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the size `(y, x)` of the fully sampled rectangle around the centre of k-space `(y, x)`."""
    centre_y, centre_x = (size // 2 for size in sampled.shape)
    if not sampled[centre_y, centre_x]:
        return 0, 0
    columns = _run(sampled[centre_y], centre_x)
    rows = _run(np.asarray(sampled[:, columns].all(axis=1)), centre_y)
    return rows.stop - rows.start, columns.stop - columns.start


def _run(sampled: NDArray[np.bool_], centre: int) -> slice:
    """Return the neighbours of a sampled position that are sampled without a gap."""
    gaps = np.flatnonzero(~sampled)
    return slice(max(gaps[gaps < centre], default=-1) + 1, min(gaps[gaps > centre], default=sampled.size))
