"""What differs between the versions of BART that this project depends on; no other module compares versions.

Each `Change` is a row: since which version BART behaves so, and what follows from it here. Ask `toolbox.has(change)`.
`tests/bart_bridge/tools/test_versions.py` shows each row on the binaries that are found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Version = tuple[int, ...]

# Versions whose results are compared with ours.
_COMPARED = {(0, 8), (0, 9), (1, 0)}
# Every BART simulates in the form of this version, so that the same seed gives the same dataset.
SIMULATION: Version = (0, 8, 0)
# Where a tool's random numbers show in its result, every BART is asked for those of this version, see `PHILOX`.
OLD_RANDOM_NUMBERS: Version = (0, 9, 0)
# What is assumed where no BART says which one it is.
NEWEST: Version = (1, 0, 0)
# With this variable, a BART since 0.9 computes some things as an older version. We pass it to BART where we ask for
# that, and never from the user's environment: the changes below would not be true of such a BART.
COMPATIBILITY = "BART_COMPAT_VERSION"


@dataclass(frozen=True)
class Change:
    """A change in BART's behaviour.

    Attributes:
        since: First version that has it, for example `(1, 0)`.
        bart: What BART does since then, and what it did before.
        here: What it changes in this project.
    """

    since: Version
    bart: str
    here: str

    def is_in(self, version: Version) -> bool:
        """Return whether a version has this change."""
        return version >= self.since


NAMED_IPALM = Change(
    (1, 0),
    bart="`reconet -T ipalm` trains with iPALM. Before, it trained with Adam and ignored the sub-options of `--iPALM`",
    here="other constants of iPALM than the default ones, and iPALM for MoDL, are refused before; the drop-in refuses "
    "the name",
)
SCALED_MSE = Change(
    (1, 0),
    bart="`mse scaled` is the last measure of `reconet --eval`, of validation slices in a history, and of `measure`",
    here="the drop-in appends it, too; `read_history` leaves it out",
)
WARMUP_REPEATS_SCHEDULE = Change(
    (1, 0),
    bart="after a warm-up of w epochs, a falling learning rate repeats its first w epochs to the end. Before, it fell "
    "to its minimum",
    here="a warm-up before a falling rate is refused since then",
)
TRAINS_ON_ONE_SLICE = Change(
    (1, 0),
    bart="`reconet` trains on a single slice. Before, it stopped at an assertion",
    here="a training on one slice is refused before",
)
REPORTS_ON_STDERR = Change(
    (1, 0),
    bart="`reconet` writes its progress and measures to standard error. Before, they went to standard output",
    here="progress is read from both streams; the drop-in keeps to standard output for measures",
)
ERRORS_EXIT = Change(
    (1, 0),
    bart="an error ends a tool with exit code 1. Before, it ended in an abort (SIGABRT)",
    here="before, only its message tells an error from the abort after a training that has written everything",
)
NMSE_OF_ALL_MAPS = Change(
    (1, 0),
    bart="`nmse` and `nmse-magnitude` of `reconet` are sums over all maps of a slice. Before, every map was an image "
    "of its own",
    here="the drop-in measures so; a training of several maps with such a loss is refused since then",
)
PICS_OF_ALL_SIZES = Change(
    (1, 0),
    bart="`pics` is right for all image sizes. Before, it turned the sign for each axis of 4n + 2 pixels, and was "
    "wrong for odd sizes",
    here="before, the baselines turn the sign back, and refuse odd sizes or compute in Python",
)
PHILOX = Change(
    (1, 0),
    bart="another random generator: noise, phantoms of tubes, masks, initial weights, the shifts of wavelets and the "
    "noise that `ecalib -a` and `-W` draw are others. `BART_COMPAT_VERSION=v0.9.00` brings the old numbers back",
    here="simulated datasets, the baseline l1-wavelet and the coils of imported data ask for the old numbers",
)
EXACT_NUFFT = Change(
    (0, 9),
    bart="`nufft` is the exact sum to 1e-5. Before, every pixel was weighted by a factor from 1.0010 at the corners to "
    "1.0014 in the centre. `BART_COMPAT_VERSION=v0.8.00` brings it back",
    here="adjoint and psf of non-Cartesian data move by 1.4e-3; simulated datasets ask for k-space with the factor",
)
BRAIN_PHANTOM = Change(
    (0, 9),
    bart="`phantom --BRAIN` draws a slice of a head. Before, there was no such option",
    here="simulated datasets of the phantom `brain` are refused before",
)
EIGENVALUE_OF_SAMPLED = Change(
    (0, 9),
    bart="`pics -e` estimates the largest eigenvalue of A^H A with the pattern, before without it, for Cartesian data",
    here="FISTA of l1-wavelet takes longer steps, which moves its images by up to 3e-3",
)
L1_ENDS_WITH_THRESHOLD = Change(
    (1, 0),
    bart="FISTA in `pics` ends with the threshold, `--ist_last` with the gradient step as before",
    here="the baseline l1-wavelet asks for the old end; the new one moves its images by 1 to 8 %",
)
FORWARD_TV = Change(
    (1, 0),
    bart="total variation in `pics` takes forward differences. Before, it took backward differences",
    here="the images of the baseline total-variation move by 0.3 to 2 %; `engine_version` in results names the version",
)


def is_compared(version: Version) -> bool:
    """Return whether the results of a version are compared with ours."""
    return version[:2] in _COMPARED


def parse(version_text: str) -> Version:
    """Read a version that is compared with ours, with or without its last number.

    Raises:
        ValueError: It is none of those; the message lists them.
    """
    match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?", version_text, re.ASCII)
    version = tuple(int(number or 0) for number in match.groups()) if match else ()
    if not is_compared(version):
        known = ", ".join(f"{major}.{minor}" for major, minor in sorted(_COMPARED))
        raise ValueError(f"one of {known}")
    return version


def asked_for(version: Version, compatibility: str) -> Version:
    """Return the version whose random numbers BART draws with a value of `BART_COMPAT_VERSION`, such as `v0.9.00`.

    It is the older of the two; a value that is no version changes nothing.
    """
    match = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", compatibility, re.ASCII)
    return min(version, tuple(map(int, match.groups()))) if match else version


def text(version: Version) -> str:
    """Return a version as BART writes it, for example `0.8.00`."""
    major, minor, patch = version
    return f"{major}.{minor}.{patch:02d}"
