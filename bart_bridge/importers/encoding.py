"""What the XML header of ISMRMRD says of the encoding; fastMRI files have the same header.

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
    """Return the one encoding that an XML header describes.

    Raises:
        InputError: It is no such header, or a value that matters is of another type; or it describes several encodings,
            a trajectory that is not Cartesian, or a volume.
    """
    import ismrmrd

    with reading(path, "ISMRMRD (its XML header)"), warnings.catch_warnings():
        # The library keeps a value of a wrong type as text and warns; what is used is checked here.
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
        kind, rule = (float, "a number") if "fieldOfView" in name else (int, "a whole number")
        if not isinstance(value, kind):
            raise InputError(f"{path}: {name} of its header must be {rule}, found '{value}'")
    if isinstance(encoding.trajectory, str):
        raise InputError(f"{path}: trajectory of its header must be such as 'cartesian', found '{encoding.trajectory}'")


def _check_centre(text: bytes | str, path: Path) -> None:
    """Refuse limits without a centre, which the library takes for 0: every line would be half of k-space off."""
    for limits in ElementTree.fromstring(text).iterfind(".//{*}encodingLimits/{*}kspace_encoding_step_1"):
        if limits.find("{*}center") is None:
            raise InputError(f"{path}: its header has no center in encodingLimits.kspace_encoding_step_1")


def readout_pixels(encoding: Any, samples: int, path: Path) -> int:
    """Return how many of the readout's pixels the reconstructed field of view has.

    Raises:
        InputError: The encoded size is not the number of samples, or the field of view makes no sense.
    """
    encoded, wanted = encoding.encodedSpace, encoding.reconSpace
    if encoded.matrixSize.x != samples:
        raise InputError(f"{path}: its header has a readout of {encoded.matrixSize.x}, its data one of {samples}")
    if not 0 < wanted.fieldOfView_mm.x <= 1.001 * encoded.fieldOfView_mm.x:
        raise InputError(
            f"{path}: the reconstructed field of view must be within the encoded one along the readout, found "
            f"{wanted.fieldOfView_mm.x:g} mm of {encoded.fieldOfView_mm.x:g} mm"
        )
    return min(samples, max(1, round(samples * wanted.fieldOfView_mm.x / encoded.fieldOfView_mm.x)))
