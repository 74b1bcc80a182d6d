"""Answer as `bart` does, with the BART inside of the Python package bartorch; `make barts BARTS=pip` copies this file.

The package is made for Python. Its own command line runs some tools by other code, asks for files that a tool is about
to write, keeps to itself what BART says, and puts FINUFFT with a tolerance of 1e-3 in the place of BART's nufft. Here
every tool is BART's own, and BART says what it always says.
"""

import os
import sys

from bartorch import _dispatch, _finufft, _options
from bartorch._catalogue import COMMANDS
from bartorch._lib import LOG_FN

PREFIXES = {0: "ERROR: ", 1: "WARNING: "}
INFO = 2  # BART's default, which shows the progress of a training


def say(context, level, function, file, line, message):
    # The message has lost the end of its line.
    sys.stderr.write(f"{PREFIXES.get(level, '')}{message.decode(errors='replace')}\n")
    sys.stderr.flush()


def main(words):
    if not words or words[0] not in COMMANDS:
        sys.stderr.write(f'Unknown bart command: "{words[0]}".\n' if words else "Usage: bart <command> [arguments]\n")
        return 255
    if _options.HELP_FLAGS.intersection(words[1:]):  # BART would end this process
        sys.stdout.write(_options.describe(words[0]))
        return 0
    _dispatch._log_cb = LOG_FN(say)
    _finufft._installed = True  # otherwise the first tool would install it
    _finufft.use_in_tools(False)
    _dispatch.set_debug_level(int(os.environ.get("BART_DEBUG_LEVEL") or INFO))
    code, printed, _ = _dispatch.run_command(words)
    sys.stdout.write(printed)
    return 0 if code == 0 else 1


sys.exit(main(sys.argv[1:]))
