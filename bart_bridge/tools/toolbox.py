"""Find a BART binary, ask what it is, and run its tools."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bart_bridge.errors import ToolError
from bart_bridge.files import cfl
from bart_bridge.tools import process, versions

Argument: TypeAlias = "str | int | float | Path | NDArray[np.generic]"

# They name a BART, the first before the second.
VARIABLES = ("BART_TOOLBOX_PATH", "TOOLBOX_PATH")
_STDERR_LINES = 3
# BART says its version in 0.04 s; for a usage, one that is a Python package loads a library of PyTorch first.
_VERSION_S, _USAGE_S = 10, 60
# 0.9 says the second where BART_TOOLBOX_PATH names the binary instead of its folder.
_UNKNOWN = ("Unknown bart command", "Executing bart command failed")
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Toolbox:
    """A BART binary.

    Examples:
        >>> toolbox = Toolbox.find()
        >>> image = np.zeros((8, 8), np.complex64)
        >>> image[4, 4] = 8
        >>> kspace = toolbox.compute("fft", "-u", 3, image)  # 3 is the bit mask of dimensions 0 and 1
        >>> bool(np.allclose(kspace, 1))
        True

    Attributes:
        path: The binary.
        source: Where the path comes from: `explicit path`, `BART_TOOLBOX_PATH`, `TOOLBOX_PATH`, `PATH`, or what
            `tools.discovery` says.
        version: For example `(0, 8, 0)`.
        build_flags: The build options in the output of `bart version -V`, for example `{"CUDA": "0", "OMP": "1"}`.
        environment: Variables that `run` and `compute` set; none by default.
    """

    path: Path
    source: str
    version: versions.Version
    build_flags: dict[str, str] = field(hash=False)
    environment: dict[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def find(cls, path: str | Path | None = None, named_by: str = "explicit path") -> Toolbox:
        """Find BART by the given path, by `BART_TOOLBOX_PATH`, by `TOOLBOX_PATH`, or on `PATH`, in this order.

        The first that is given or set decides; if no working BART is there, the others are not tried.

        Args:
            path: The binary or its folder.
            named_by: The `source` of this path.

        Raises:
            ToolError: There is no BART, or it does not answer `version -V`.
        """
        binary, source = locate(path, named_by)
        finished = _ask(binary, "version", "-V", timeout_s=_VERSION_S)
        match = re.match(r"(?:BART_VERSION=)?v?(\d+)\.(\d+)\.(\d+)", finished.stdout[0] if finished.stdout else "")
        if finished.returncode != 0 or not match:
            raise ToolError(
                f"not a working BART: it {finished.describe()}",
                (str(binary), "version", "-V"),
                finished.returncode,
                finished.stderr[-_STDERR_LINES:],
            )
        flags = dict(line.split("=", 1) for line in finished.stdout[1:] if "=" in line)
        return cls(binary, source, tuple(int(number) for number in match.groups()), flags)

    @property
    def version_text(self) -> str:
        """The version as BART writes it, for example `0.8.00`."""
        return versions.text(self.version)

    @property
    def build(self) -> str:
        """The build flags in one line, for example `CUDA=0, OMP=1`."""
        return ", ".join(f"{flag}={value}" for flag, value in self.build_flags.items())

    @property
    def has_cuda(self) -> bool:
        """Whether it was built with CUDA, by its own build flags."""
        return self.build_flags.get("CUDA") == "1"

    @property
    def package(self) -> str:
        """The Python package that this BART is a part of, such as `bartorch 0.0.17`; empty if it is a program.

        The process of such a BART has a library of PyTorch loaded: its main memory is not BART's alone.
        """
        version = self.build_flags.get("BARTORCH", "")
        library = self.build_flags.get("BARTORCH_LIBRARY", "")
        return f"bartorch {version}{f' with {library}' if library else ''}" if version else ""

    @property
    def warning(self) -> str:
        """Why to doubt results with this version; empty for those that are compared with Keras."""
        if versions.is_compared(self.version):
            return ""
        return f"BART {self.version_text} was never compared with ours: run bart-tf parity before you trust results"

    def has(self, change: versions.Change) -> bool:
        """Return whether this version has a change of `bart_bridge.tools.versions`."""
        return change.is_in(self.version)

    def in_the_form_of(self, version: versions.Version) -> Toolbox:
        """Return this BART with the random numbers and the nufft of an older version, see `BART_COMPAT_VERSION`.

        A version that is not older changes nothing.
        """
        return replace(self, environment={versions.COMPATIBILITY: f"v{versions.text(version)}"})

    def missing(self, *tools: str) -> list[str]:
        """Return those of `tools` that this binary was built without."""

        def is_missing(tool: str) -> bool:
            finished = _ask(self.path, tool, "-h", timeout_s=_USAGE_S)
            return any(text in line for line in finished.stderr + finished.stdout for text in _UNKNOWN)

        return [tool for tool in tools if is_missing(tool)]

    def require(self, tool: str) -> None:
        """Fail early, in one line, if a tool is missing.

        Raises:
            ToolError: This binary was built without the tool.
        """
        if self.missing(tool):
            raise ToolError(f"BART {self.version_text} at {self.path} was built without '{tool}', which is needed here")

    def argv(self, *arguments: str | int | float | Path) -> list[str]:
        """Return the command line of a tool, for `process.run` or for the user."""
        return [str(self.path), *map(str, arguments)]

    def run(
        self,
        *arguments: str | int | float | Path,
        timeout_s: float | None = None,
        on_line: process.OnLine | None = None,
    ) -> process.Finished:
        """Run a tool on files.

        It runs in a temporary folder of its own, so the paths of files must be absolute.

        Args:
            arguments: The tool's name and its arguments, each passed on unchanged.
            timeout_s: Wall seconds after which the tool is ended; unlimited by default.
            on_line: Called with each line of output as it comes.

        Raises:
            ToolError: The tool failed; the error holds its command line, exit code and last lines of standard error.
        """
        argv = self.argv(*arguments)
        with tempfile.TemporaryDirectory(prefix="bart-") as folder:
            finished = process.run(
                argv, folder=Path(folder), environment=self.environment, timeout_s=timeout_s, on_line=on_line
            )
        if finished.returncode != 0:
            raise failure(argv, finished)
        return finished

    def compute(self, *arguments: Argument, timeout_s: float | None = None) -> NDArray[np.complex64]:
        """Run a tool on arrays and return its output.

        Args:
            arguments: The tool's name and its arguments, with arrays in place of the names of input files. The name of
                the output file is appended.
            timeout_s: Wall seconds after which the tool is ended; unlimited by default.

        Returns:
            The output in memory, complex64, with BART's dimensions.

        Raises:
            ToolError: The tool failed.
        """
        with tempfile.TemporaryDirectory(prefix="bart-") as name:
            folder = Path(name)
            argv: list[str] = []
            for number, argument in enumerate(arguments):
                if isinstance(argument, np.ndarray):
                    cfl.write(folder / f"input{number}", argument, durable=False)
                    argv.append(str(folder / f"input{number}"))
                else:
                    argv.append(str(argument))
            self.run(*argv, folder / "output", timeout_s=timeout_s)
            return np.array(cfl.read(folder / "output"), order="F")


def failure(argv: Sequence[str], finished: process.Finished) -> ToolError:
    """Return the error for a BART command that failed."""
    lines = (_CONTROL.sub("", line).strip() for line in finished.stderr or finished.stdout)
    tail = [line for line in lines if line][-_STDERR_LINES:]
    return ToolError(f"{' '.join(['bart', *argv[1:2]])} {finished.describe()}", argv, finished.returncode, tail)


def locate(path: str | Path | None = None, named_by: str = "explicit path") -> tuple[Path, str]:
    """Return the binary that `Toolbox.find` asks for its version, and its `source`.

    Raises:
        ToolError: There is none, or it has no run bit.
    """
    settings = [(path, named_by), *((os.environ.get(variable), variable) for variable in VARIABLES)]
    for setting, source in settings:
        if not setting:
            continue
        binary = Path(setting).expanduser().absolute()
        if binary.is_dir():
            binary = binary / "bart"
        if not binary.is_file():
            raise ToolError(f"no BART binary at {binary} (named by {source})")
        _check_run_bit(binary, source)
        return binary, source
    on_path = shutil.which("bart") or shutil.which("bart", os.F_OK)
    if on_path is None:
        raise ToolError(
            f"BART was not found: neither {' nor '.join(VARIABLES)} is set, and no 'bart' is on PATH "
            "(Debian and Ubuntu: apt-get install bart)"
        )
    _check_run_bit(Path(on_path), "PATH")
    return Path(on_path).absolute(), "PATH"


def _check_run_bit(binary: Path, source: str) -> None:
    if not os.access(binary, os.X_OK):
        raise ToolError(f"{binary} (named by {source}) has no run bit: chmod +x sets it")


def _ask(binary: Path, *arguments: str, timeout_s: float) -> process.Finished:
    with tempfile.TemporaryDirectory() as folder:
        return process.run([str(binary), *arguments], folder=Path(folder), timeout_s=timeout_s)
