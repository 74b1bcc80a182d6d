"""Headers of ISMRMRD, which fastMRI files contain too: how they are stored, and what is in them."""

import h5py
import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.importers import open_source
from bart_bridge.inspection import inspect
from tests import foreign, foreign_raw
from tests.foreign_raw import header, slice_lines

# The library of the format stores an array of one text, h5py a text as such.
TEXTS = {
    "a text": lambda xml: xml.decode(),
    "a text of fixed length": np.bytes_,
    "an array of one text": lambda xml: np.array([xml.decode()], h5py.string_dtype()),
    "an array of one text of fixed length": lambda xml: np.array([xml]),
    "two dimensions": lambda xml: np.array([[xml.decode()]], h5py.string_dtype("ascii")),
}


@pytest.mark.parametrize("form", TEXTS)
def test_a_header_is_one_text_in_any_form(truth, imported, tmp_path, form):
    path = foreign_raw.write(tmp_path / "raw.h5", header(), slice_lines(truth.kspace[0]))
    foreign.write_fastmri(truth, tmp_path / "fastmri.h5")
    for file, place in ((path, "dataset/xml"), (tmp_path / "fastmri.h5", "ismrmrd_header")):
        with h5py.File(file, "r+") as opened:
            xml = np.ravel(opened[place][()])[0]
            del opened[place]
            opened[place] = TEXTS[form](xml)
    np.testing.assert_array_equal(imported(path)[1]["kspace"][0], truth.kspace[0])
    assert dict(inspect(path).table())["encoding 0"].startswith("cartesian, ")
    assert open_source("fastmri", tmp_path / "fastmri.h5").units.keys() == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.array([b"one", b"two"]), r"must be one text, found an array \(2,\) of type \|S3"),
        (np.zeros(0, "S3"), r"must be one text, found an array \(0,\) of type \|S3"),
        (h5py.Empty("S3"), r"must be one text, found an array None of type \|S3"),
        (np.arange(3), r"must be one text, found an array \(3,\) of type int64"),
        (None, r"no 'dataset/xml' in it, which is the header \(found: data\)"),
    ],
)
def test_other_headers_are_refused(truth, tmp_path, stored, message):
    path = foreign_raw.write(tmp_path / "raw.h5", header(), slice_lines(truth.kspace[0]))
    with h5py.File(path, "r+") as file:
        del file["dataset/xml"]
        if stored is not None:
            file["dataset/xml"] = stored
    with pytest.raises(InputError, match=message):
        open_source("ismrmrd", path)


def test_a_header_of_a_declared_size_is_not_brought_into_memory(truth, tmp_path):
    path = foreign_raw.write(tmp_path / "raw.h5", header(), slice_lines(truth.kspace[0]))
    with h5py.File(path, "r+") as file:
        del file["dataset/xml"]
        file["dataset"].create_dataset("xml", (1,), "S2000000000")
    with pytest.raises(InputError, match=r"must be one text, found an array \(1,\) of type \|S2000000000"):
        open_source("ismrmrd", path)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("<trajectory>", "<vendor><colour>red</colour></vendor><trajectory>", "colour, vendor"),
        ("<encoding>", "<encoding><version>3</version>", "version"),
        ("</ismrmrdHeader>", "<extra/></ismrmrdHeader>", "extra"),
        (' xmlns="http://www.ismrm.org/ISMRMRD"', "", ""),
        ("<H1resonanceFrequency_Hz>128000000</H1resonanceFrequency_Hz>", "", ""),
    ],
)
def test_a_header_slightly_outside_of_the_schema(truth, imported, tmp_path, old, new, names):
    xml = header()
    assert old in xml
    path = foreign_raw.write(tmp_path / "raw.h5", xml.replace(old, new), slice_lines(truth.kspace[0]))
    source, arrays = imported(path)
    np.testing.assert_array_equal(arrays["kspace"][0], truth.kspace[0])
    skipped = [name for name in source.left_out if name.startswith("elements of the header")]
    assert skipped == ([f"elements of the header outside of ISMRMRD's schema ({names})"] if names else [])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "<x>64</x>",
            "<x>64.0</x>",
            "encodedSpace.matrixSize.x .* must be a whole number, found '64.0'",
        ),
        ("<x>200.0<", "<x>200,0<", "reconSpace.fieldOfView_mm.x of its header must be a number, found '200,0'"),
        ("<x>64</x>", f"<x>64{'n' * 3000}</x>", r"encodedSpace.matrixSize.x .* whole number, found '64n{35}\.\.\.'$"),
        (">cartesian<", ">Cartesian<", "trajectory of its header must be such as 'cartesian', found 'Cartesian'"),
        ("<center>18</center>", "", "no center in encodingLimits.kspace_encoding_step_1"),
        (
            "<center>18<",
            "<center>middle<",
            "step_1.center of its header must be a whole number, found 'middle'",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["fastmri", "ismrmrd"])
def test_a_value_of_another_type_in_a_header_is_named(truth, tmp_path, kind, old, new, message):
    path = {"fastmri": foreign.write_fastmri, "ismrmrd": foreign.write_ismrmrd}[kind](truth, tmp_path / "file.h5")
    replace_in_header(path, kind, old, new)
    with pytest.raises(InputError, match=message) as caught:
        open_source(kind, path)
    assert "\n" not in str(caught.value)


def test_a_long_name_leaves_room_for_the_reason(truth, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    with h5py.File(path, "r+") as file:
        file["n" * 3000] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(InputError, match=r"^/.*nnn \.\.\. nnn.*is a link to another file, 'other.h5'") as caught:
        open_source("fastmri", path)
    assert len(str(caught.value)) < 1000


def replace_in_header(path, kind, old, new):
    name = {"fastmri": "ismrmrd_header", "ismrmrd": "dataset/xml"}[kind]
    with h5py.File(path, "r+") as file:
        text = np.ravel(file[name][()])[0].decode()
        assert old in text
        del file[name]
        file[name] = text.replace(old, new, 1) if kind == "fastmri" else [text.replace(old, new, 1).encode()]


def test_a_value_of_another_type_that_does_not_matter_is_no_fault(truth, coils, tmp_path):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    replace_in_header(path, "fastmri", ">128000000<", ">3 T<")
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, coils=coils)
    assert Dataset.open(folder).split("test").slice_count == 3
