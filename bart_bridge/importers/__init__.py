"""Import other file formats into dataset folders.

Each importer opens a `Source`, whose slices have names and are read one at a time. `convert` does what all formats have
in common: pattern, coil sensitivities, reference, checks, and writing slice by slice.
"""

from __future__ import annotations

from pathlib import Path

from bart_bridge.errors import InputError
from bart_bridge.importers.source import Source

KINDS = ("varnet-mat", "modl-hdf5", "fastmri", "ismrmrd", "cfl")


def open_source(
    kind: str, path: Path, noise: float | None = None, seed: int = 0, average_repetitions: bool = False
) -> Source:
    """Open a file or folder of one kind.

    Args:
        kind: One of `KINDS`.
        path: The file or folder.
        noise: Standard deviation of the noise to add; only for `modl-hdf5`, where the default is 0.01.
        seed: Seed of this noise (default 0).
        average_repetitions: Average repetitions instead of rejecting them; only for `ismrmrd` (default false).

    Raises:
        InputError: The kind is unknown, does not support an option, or does not match the file.
    """
    if noise is not None and kind != "modl-hdf5":
        raise InputError(f"--noise belongs to modl-hdf5, received it for {kind}")
    if average_repetitions and kind != "ismrmrd":
        raise InputError(f"--average-repetitions belongs to ismrmrd, received it for {kind}")
    if kind == "varnet-mat":
        from bart_bridge.importers.varnet_mat import open_varnet

        return open_varnet(path)
    if kind == "modl-hdf5":
        from bart_bridge.importers.modl_hdf5 import NOISE, open_modl

        return open_modl(path, NOISE if noise is None else noise, seed)
    if kind == "fastmri":
        from bart_bridge.importers.fastmri import open_fastmri

        return open_fastmri(path)
    if kind == "ismrmrd":
        from bart_bridge.importers.ismrmrd_raw import open_ismrmrd

        return open_ismrmrd(path, average_repetitions)
    if kind == "cfl":
        from bart_bridge.importers.cfl_files import open_cfl

        return open_cfl(path)
    raise InputError(f"KIND must be one of {', '.join(KINDS)}, received '{kind}'")
