"""Find every BART of this machine: several versions can be there side by side, see `make barts`."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bart_bridge.errors import ToolError
from bart_bridge.tools.blas import OPENBLAS, blas_of
from bart_bridge.tools.toolbox import VARIABLES, Toolbox, locate

VARIABLE = "BART_TF_BARTS"
FOLDER = ".barts"
_CHECKOUT = Path(__file__).resolve().parents[2]
_BINARIES = ("bart", "bart-openblas")
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(-openblas)?")


@dataclass(frozen=True)
class Wanted:
    """A BART by its version.

    Attributes:
        version: For example `(0, 9)`, which is any 0.9, or `(0, 9, 0)`.
        openblas: Whether it must compute with OpenBLAS; otherwise it may have any BLAS.
        cuda: Whether it must be built with CUDA; otherwise it may be built with it or without.
    """

    version: tuple[int, ...]
    openblas: bool = False
    cuda: bool = False

    @classmethod
    def parse(cls, text: str) -> Wanted | None:
        """Read `0.9`, `0.9.00` or `0.9-openblas`; None if it is nothing like this."""
        match = _VERSION.fullmatch(text)
        if not match:
            return None
        *numbers, openblas = match.groups()
        return cls(tuple(int(number) for number in numbers if number is not None), openblas is not None)

    def __str__(self) -> str:
        """Return the version as BART writes it, for example `0.9` or `0.9.00 with OpenBLAS`."""
        *first, last = self.version
        numbers = [*first, f"{last:02d}"] if len(self.version) > 2 else self.version
        features = " and ".join(["OpenBLAS"] * self.openblas + ["CUDA"] * self.cuda)
        return ".".join(map(str, numbers)) + (f" with {features}" if features else "")

    def fits(self, toolbox: Toolbox) -> bool:
        """Return whether a BART is the wanted one."""
        if toolbox.version[: len(self.version)] != self.version or (self.cuda and not toolbox.has_cuda):
            return False
        return not self.openblas or blas_of(toolbox).startswith(OPENBLAS)


def every_bart(path: str | Path | None = None) -> tuple[list[Toolbox], list[ToolError]]:
    """Find every BART: the first is the one that `Toolbox.find` takes, if that works.

    They are searched in this order: the given path, `BART_TOOLBOX_PATH`, `TOOLBOX_PATH`, `PATH`, and the folder of
    BARTs that `BART_TF_BARTS` names. Without that variable it is `.barts` of the checkout and of the working directory.
    A folder of BARTs has a folder for each version, as `make barts` leaves it; the newest version comes first.

    Args:
        path: A binary or its folder.

    Returns:
        The BARTs, each once, and what is wrong with those that do not work.
    """
    faults: list[ToolError] = []
    single = _working(_single(path), faults)
    binaries = list(_in_folders())
    if not binaries and (named := os.environ.get(VARIABLE)):
        faults.append(ToolError(f"{VARIABLE} must name a folder with BARTs such as 0.9.00/bart, received '{named}'"))
    in_folders = sorted(_working(binaries, faults), key=lambda toolbox: toolbox.version, reverse=True)
    distinct: dict[Path, Toolbox] = {}
    for toolbox in (*single, *in_folders):
        distinct.setdefault(toolbox.path.resolve(), toolbox)
    return list(distinct.values()), faults


def default_of(available: Iterable[Toolbox], faults: Iterable[ToolError], path: str | Path | None = None) -> Toolbox:
    """Return what `Toolbox.find` returns, out of the answer of `every_bart`, so that no BART is asked twice.

    Args:
        available: The BARTs.
        faults: What is wrong with others.
        path: The binary or its folder that both were asked for.

    Raises:
        ToolError: As `Toolbox.find`.
    """
    binary, _ = locate(path)
    for fault in faults:
        if fault.argv[:1] == (str(binary),):
            raise fault
    return next(toolbox for toolbox in available if toolbox.path.resolve() == binary.resolve())


def find_version(wanted: Wanted) -> Toolbox:
    """Find the first BART of a version, in the order of `every_bart`.

    Raises:
        ToolError: There is none.
    """
    available, faults = every_bart()
    for toolbox in available:
        if wanted.fits(toolbox):
            return toolbox
    versions = ", ".join(dict.fromkeys(toolbox.version_text for toolbox in available)) or "none"
    raise ToolError(
        f"no BART {wanted} was found (found: {versions}): "
        f"{'make gpu fetches it' if wanted.cuda else 'make barts fetches 0.8, 0.9 and 1.0'}, "
        f"or let {VARIABLE} name a folder with it{_first_of(faults)}"
    )


def _first_of(faults: Sequence[ToolError]) -> str:
    """Name the first binary that does not work, and count the others: moved with its folder, each would be one."""
    if not faults:
        return ""
    others = f"; and {len(faults) - 1} more" if len(faults) > 1 else ""
    repair = "; make barts repairs those that it fetched" if faults[0].argv else ""
    return f"; {faults[0]}{others}{repair}"


def _working(binaries: Iterable[tuple[Path, str]], faults: list[ToolError]) -> Iterator[Toolbox]:
    """Yield those that work, and append what is wrong with the others to `faults`."""
    for binary, source in binaries:
        try:
            yield Toolbox.find(binary, source)
        except ToolError as error:
            faults.append(error)


def _single(path: str | Path | None) -> Iterator[tuple[Path, str]]:
    """Yield the binaries that are named one by one, and where each name comes from."""
    if path:
        yield Path(path), "explicit path"
    for variable in VARIABLES:
        if value := os.environ.get(variable):
            yield Path(value), variable
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if folder and (binary := shutil.which("bart", path=folder)):
            yield Path(binary), "PATH"


def _in_folders() -> Iterator[tuple[Path, str]]:
    """Yield the binaries in the folders of BARTs, in each version that of Debian's default BLAS first."""
    named = os.environ.get(VARIABLE)
    folders = [Path(named).expanduser()] if named else list(dict.fromkeys([_CHECKOUT / FOLDER, Path.cwd() / FOLDER]))
    for folder in folders:
        for version in sorted(folder.glob("[0-9]*")):
            for name in _BINARIES:
                if (version / name).is_file():
                    yield version / name, VARIABLE if named else str(folder)
