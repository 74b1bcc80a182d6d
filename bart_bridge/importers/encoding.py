"""The encodings in the XML header of ISMRMRD, which fastMRI files contain too.

Inati et al. (2017), doi 10.1002/mrm.26089.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np

from bart_bridge.errors import InputError
from bart_bridge.importers.source import names_in, reading

NAMESPACE = "{http://www.ismrm.org/ISMRMRD}"
# A file can declare a text of 4 GB and store nothing.
_LARGEST_HEADER_BYTES = 16 * 2**20
_STEPS = ("kspace_encoding_step_1", "kspace_encoding_step_2")


@dataclass(frozen=True)
class Header:
    """What an XML header says.

    Attributes:
        encodings: Its encodings, as the `ismrmrd` package represents them; values that importers use have their types.
        left_out: Count of the elements outside of the schema, by a description that names them.
    """

    encodings: list[Any]
    left_out: dict[str, int]


def read_header(text: bytes, path: Path) -> Header:
    """Parse an XML header. Elements outside of the schema are skipped, and a missing namespace is added.

    Raises:
        InputError: The text is not such a header, or a value has the wrong type.
    """
    from ismrmrd.xsd import ismrmrdHeader
    from xsdata.formats.dataclass.parsers import XmlParser
    from xsdata.formats.dataclass.parsers.config import ParserConfig

    with reading(path, "ISMRMRD (its XML header)"), warnings.catch_warnings():
        # The library warns about a value of the wrong type and keeps it as text; `_check_types` rejects it.
        warnings.simplefilter("ignore")
        root = _completed(ElementTree.fromstring(text))
        # The library also logs such a value.
        logging.getLogger("xsdata").setLevel(logging.CRITICAL)
        parser = XmlParser(config=ParserConfig(fail_on_unknown_properties=False))
        header = parser.from_bytes(ElementTree.tostring(root), ismrmrdHeader)
        skipped = _elements(root) - _elements(ElementTree.fromstring(header.toXML()))
        for encoding, element in zip(header.encoding, root.iter(f"{NAMESPACE}encoding"), strict=True):
            _check_types(encoding, path)
            _check_centres(element, path)
    names = names_in(sorted({names[-1].removeprefix(NAMESPACE) for names in skipped})[:4])
    left_out = {f"elements of the header outside of ISMRMRD's schema ({names})": skipped.total()} if skipped else {}
    return Header(header.encoding, left_out)


def stored_header(group: h5py.Group, name: str, path: Path) -> bytes:
    """Read an XML header that is stored as one text, or as an array of one, which writers do in both ways.

    Args:
        group: The group with the header.
        name: Its name there.
        path: The file, for messages.

    Raises:
        InputError: There is no header, or it is something else.
    """
    place = f"{group.name.rstrip('/')}/{name}".lstrip("/")
    item = group.get(name)
    if not isinstance(item, h5py.Dataset):
        raise InputError(f"{path}: no '{place}' in it, which is the header (found: {names_in(group)})")
    if item.size != 1 or not h5py.check_string_dtype(item.dtype) or item.dtype.itemsize > _LARGEST_HEADER_BYTES:
        raise InputError(
            f"{path}: '{place}', the header, must be one text, found an array {item.shape} of type {item.dtype}"
        )
    return bytes(np.ravel(item[()])[0])


def parse_header(text: bytes, path: Path) -> Any:
    """Return the single two-dimensional Cartesian encoding that an XML header describes.

    Raises:
        InputError: As for `read_header`, or the header describes several encodings, a non-Cartesian trajectory or a
            volume.
    """
    encodings = read_header(text, path).encodings
    if len(encodings) != 1:
        raise InputError(f"{path}: one encoding is supported, its header has {len(encodings)}")
    trajectory, depth = encodings[0].trajectory.value, encodings[0].encodedSpace.matrixSize.z
    if trajectory != "cartesian":
        raise InputError(f"{path}: only Cartesian encodings are supported, its header says '{trajectory}'")
    if depth != 1:
        raise InputError(f"{path}: only two-dimensional encodings are supported, its header has {depth} partitions")
    return encodings[0]


def _completed(root: ElementTree.Element) -> ElementTree.Element:
    """Add what the library requires and importers do not need: the namespace, and the frequency of the scanner."""
    if root.tag == "ismrmrdHeader":
        for element in root.iter():
            element.tag = f"{NAMESPACE}{element.tag}"
    if root.tag != f"{NAMESPACE}ismrmrdHeader":
        raise ValueError(f"its root is '{root.tag}'")
    conditions = root.find(f"{NAMESPACE}experimentalConditions")
    if conditions is None:
        conditions = ElementTree.SubElement(root, f"{NAMESPACE}experimentalConditions")
    if conditions.find(f"{NAMESPACE}H1resonanceFrequency_Hz") is None:
        ElementTree.SubElement(conditions, f"{NAMESPACE}H1resonanceFrequency_Hz").text = "0"
    return root


def _elements(root: ElementTree.Element, above: tuple[str, ...] = ()) -> Counter[tuple[str, ...]]:
    """Count the elements of each name, with the names of those around it."""
    names = (*above, root.tag)
    counts = Counter([names])
    for child in root:
        counts += _elements(child, names)
    return counts


def _check_types(encoding: Any, path: Path) -> None:
    spaces, sizes = ("encodedSpace", "reconSpace"), ("matrixSize", "fieldOfView_mm")
    numbers = [f"{space}.{size}.{axis}" for space in spaces for size in sizes for axis in "xyz"]
    limits = encoding.encodingLimits
    numbers += [f"encodingLimits.{step}.center" for step in _STEPS if limits and getattr(limits, step)]
    for name in numbers:
        value = attrgetter(name)(encoding)
        number, rule = (float, "a number") if "fieldOfView" in name else (int, "a whole number")
        if not isinstance(value, number):
            raise InputError(f"{path}: {name} of its header must be {rule}, found '{names_in([str(value)])}'")
    if isinstance(encoding.trajectory, str):
        found = names_in([encoding.trajectory])
        raise InputError(f"{path}: trajectory of its header must be such as 'cartesian', found '{found}'")


def _check_centres(encoding: ElementTree.Element, path: Path) -> None:
    """Reject limits without a centre: the library reads 0, which would shift every line by half of k-space."""
    for step in _STEPS:
        for limits in encoding.iterfind(f"{NAMESPACE}encodingLimits/{NAMESPACE}{step}"):
            if limits.find(f"{NAMESPACE}center") is None:
                raise InputError(f"{path}: its header has no center in encodingLimits.{step}")


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
