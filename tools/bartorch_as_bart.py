"""Answer as `bart` does, with the BART inside of the Python package bartorch; `make barts BARTS=pip` copies this file.

The package is made for Python. Its own command line runs some tools by other code, asks for files that a tool is about
to write, keeps to itself what BART says, and puts FINUFFT with a tolerance of 1e-3 in the place of BART's nufft. Here
every tool is BART's own, and BART says what it always says. The package also imports PyTorch, which takes seconds at
each start. BART needs only two of its libraries, the BLAS and OpenMP, and here they are loaded without the rest.
"""

import ctypes
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path

PREFIXES = {0: "ERROR: ", 1: "WARNING: "}
INFO = 2  # BART's default, which shows the progress of a training


def folder_of(package):
    """Find the folder of a package without importing it."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec else None


def load():
    """Load BART's library, and give it PyTorch's BLAS."""
    package, torch = folder_of("bartorch"), folder_of("torch")
    with_cuda = filter(None, map(folder_of, ("bartorch_cuda13", "bartorch_cuda12")))
    # With this module in its place, modules inside of the package are imported without `bartorch/__init__.py`.
    spec = ModuleSpec("bartorch", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    sys.modules["bartorch"] = module_from_spec(spec)
    from bartorch import _backend, _lib

    blas = torch / "lib" / "libtorch_cpu.so"
    ctypes.CDLL(str(blas))  # first, so that BART takes the OpenMP that comes with it
    _lib._lib = _lib.bind(ctypes.CDLL(str(next(with_cuda, package) / "libbartorch.so")))
    _backend._torch_library = lambda: blas
    _backend.install()
    return _lib._lib


def main(words):
    bart = load()
    from bartorch import _marshal, _options
    from bartorch._catalogue import COMMANDS
    from bartorch._lib import LOG_FN

    def say(context, level, function, file, line, message):
        # The message has lost the end of its line.
        sys.stderr.write(f"{PREFIXES.get(level, '')}{message.decode(errors='replace')}\n")
        sys.stderr.flush()

    if not words or words[0] not in COMMANDS:
        sys.stderr.write(f'Unknown bart command: "{words[0]}".\n' if words else "Usage: bart <command> [arguments]\n")
        return 255
    if _options.HELP_FLAGS.intersection(words[1:]):  # BART would end this process
        sys.stdout.write(_options.describe(words[0]))
        return 0
    on_message = LOG_FN(say)
    bart.bartorch_set_log_handler(on_message, None)
    bart.bartorch_set_debug_level(int(os.environ.get("BART_DEBUG_LEVEL") or INFO))
    bart.bartorch_finufft_use_in_tools(0)
    bart.bartorch_nufft_allow_fallback(1)
    printed, error = _marshal.text_buffer(1 << 16), _marshal.text_buffer(4096)
    code = bart.bartorch_command(len(words), _marshal.argv(words), printed, len(printed), error, len(error))
    sys.stdout.write(printed.value.decode(errors="replace"))
    return 0 if code == 0 else 1


sys.exit(main(sys.argv[1:]))
