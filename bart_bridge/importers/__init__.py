"""Import other file formats into dataset folders.

Each importer opens a `Source`, whose slices have names and are read one at a time. `convert` does what all formats have
in common: pattern, coil sensitivities, reference, checks, and writing slice by slice.
"""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bart_bridge.errors import InputError

if TYPE_CHECKING:
    from bart_bridge.importers.source import Source

# The function that opens each kind. Its keyword arguments are the options of this kind on the command line.
KINDS = {
    "varnet-mat": "varnet_mat.open_varnet",
    "modl-hdf5": "modl_hdf5.open_modl",
    "fastmri": "fastmri.open_fastmri",
    "fastmri-breast": "fastmri_breast.open_breast",
    "m4raw": "m4raw.open_m4raw",
    "skm-tea": "skm_tea.open_skm_tea",
    "ismrmrd": "ismrmrd_raw.open_ismrmrd",
    "twix": "twix.open_twix",
    "calgary-campinas": "calgary_campinas.open_calgary",
    "cmrxrecon": "cmrxrecon.open_cmrxrecon",
    "cfl": "cfl_files.open_cfl",
}


def open_source(kind: str, path: Path, **options: Any) -> Source:
    """Open a file or folder of one kind.

    Args:
        kind: One of `KINDS`.
        path: The file or folder.
        options: Keyword arguments of the function in `KINDS`, which documents them. An option that is None was not
            given.

    Raises:
        InputError: The kind is unknown, does not support an option, or does not match the file.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given.keys() - option_names(kind):
        kinds = ", ".join(other for other in KINDS if name in option_names(other)) or "no kind"
        raise InputError(f"--{name.strip('_').replace('_', '-')} belongs to {kinds}, received it for {kind}")
    source: Source = _opener(kind)(path, **given)
    return source


def open_sources(kind: str, path: Path, **options: Any) -> dict[str, Source]:
    """Open a file or folder that may become several datasets.

    Args:
        kind: One of `KINDS`.
        path: The file or folder.
        options: As in `open_source`. With `match="each"`, a folder of `fastmri` becomes one source for each size and
            number of coils.

    Returns:
        The sources by the names of their dataset folders, or a single one by an empty name.

    Raises:
        InputError: As in `open_source`.
    """
    if kind == "fastmri" and options.get("match") == "each":
        from bart_bridge.importers.fastmri import open_each

        return open_each(path, options.get("average"))
    return {"": open_source(kind, path, **options)}


def option_names(kind: str) -> set[str]:
    """Return the names of the options of a kind, with underscores; `set_` stands for `--set`.

    Raises:
        InputError: The kind is unknown.
    """
    return set(list(signature(_opener(kind)).parameters)[1:])


def _opener(kind: str) -> Any:
    if kind not in KINDS:
        raise InputError(f"KIND must be one of {', '.join(KINDS)}, received '{kind}'")
    module, function = KINDS[kind].split(".")
    return getattr(import_module(f"bart_bridge.importers.{module}"), function)
