"""The encoding in the XML header of ISMRMRD, which fastMRI files contain too.

Inati et al. (2017), doi 10.1002/mrm.26089.
"""

from __future__ import annotations

import warnings
from operator import attrgetter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from bart_bridge.errors import InputError
from bart_bridge.importers.source import reading


def parse_header(text: bytes | str, path: Path) -> Any:
    """Return the encoding that an XML header describes.

    Raises:
        InputError: The text is not such a header, a value has the wrong type, or the header describes several
            encodings, a non-Cartesian trajectory or a volume.
    """
    import ismrmrd

    with reading(path, "ISMRMRD (its XML header)"), warnings.catch_warnings():
        # The library warns about a value of the wrong type and keeps it as text; `_check_types` rejects it.
        warnings.simplefilter("ignore")
        encodings = ismrmrd.xsd.CreateFromDocument(text).encoding
        if len(encodings) != 1:
            raise InputError(f"{path}: one encoding is supported, its header has {len(encodings)}")
        encoding = encodings[0]
        _check_types(encoding, path)
        _check_centre(text, path)
        trajectory, depth = encoding.trajectory.value, encoding.encodedSpace.matrixSize.z
        if trajectory != "cartesian":
            raise InputError(f"{path}: only Cartesian encodings are supported, its header says '{trajectory}'")
        if depth != 1:
            raise InputError(f"{path}: only two-dimensional encodings are supported, its header has {depth} partitions")
    return encoding


def _check_types(encoding: Any, path: Path) -> None:
    spaces, sizes = ("encodedSpace", "reconSpace"), ("matrixSize", "fieldOfView_mm")
    numbers = [f"{space}.{size}.{axis}" for space in spaces for size in sizes for axis in "xyz"]
    limits = encoding.encodingLimits and encoding.encodingLimits.kspace_encoding_step_1
    numbers += ["encodingLimits.kspace_encoding_step_1.center"] if limits else []
    for name in numbers:
        value = attrgetter(name)(encoding)
        number, rule = (float, "a number") if "fieldOfView" in name else (int, "a whole number")
        if not isinstance(value, number):
            raise InputError(f"{path}: {name} of its header must be {rule}, found '{value}'")
    if isinstance(encoding.trajectory, str):
        raise InputError(f"{path}: trajectory of its header must be such as 'cartesian', found '{encoding.trajectory}'")


def _check_centre(text: bytes | str, path: Path) -> None:
    """Reject limits without a centre: the library reads 0, which would shift every line by half of k-space."""
    for limits in ElementTree.fromstring(text).iterfind(".//{*}encodingLimits/{*}kspace_encoding_step_1"):
        if limits.find("{*}center") is None:
            raise InputError(f"{path}: its header has no center in encodingLimits.kspace_encoding_step_1")


def readout_pixels(encoding: Any, samples: int, path: Path) -> int:
    """Return the length of the readout in the reconstructed field of view, in pixels.

    Args:
        encoding: From `parse_header`.
        samples: Length of the measured readout.
        path: The file, for the error message.

    Raises:
        InputError: The encoded size differs from `samples`, or the reconstructed field of view exceeds the encoded one.
    """
    encoded, reconstructed = encoding.encodedSpace, encoding.reconSpace
    if encoded.matrixSize.x != samples:
        raise InputError(f"{path}: its header has a readout of {encoded.matrixSize.x}, its data one of {samples}")
    if not 0 < reconstructed.fieldOfView_mm.x <= 1.001 * encoded.fieldOfView_mm.x:
        raise InputError(
            f"{path}: the reconstructed field of view must be within the encoded one along the readout, found "
            f"{reconstructed.fieldOfView_mm.x:g} mm of {encoded.fieldOfView_mm.x:g} mm"
        )
    return min(samples, max(1, round(samples * reconstructed.fieldOfView_mm.x / encoded.fieldOfView_mm.x)))
