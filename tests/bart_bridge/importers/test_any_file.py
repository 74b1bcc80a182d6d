"""Whatever bytes stand in a file: it is read as it is, or refused in one line; nothing outside of it is read."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings

NETWORKS = [
    VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=1, basis=3),
    ModlSettings(iterations=2, layers=3, filters=2),
]

numbers = st.one_of(
    st.integers(1, 4).map(str),
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["0", "-1", "1.5", "x", "1_0", "²", "٣", "+2", "1e3", "", "\x00", "9" * 4000, "1" * 5000]),
)
rows = st.lists(numbers, max_size=18).map(" ".join)
section_names = st.sampled_from(
    ["Dimensions", "SizesDimensions", "MultiDimensions", "Command", "Files", "dimensions", ""]
)
sections = st.tuples(section_names, st.lists(rows, max_size=4)).map(lambda pair: f"# {pair[0]}\n" + "\n".join(pair[1]))
small = st.lists(st.integers(1, 3), min_size=1, max_size=4)


@st.composite
def nearly_right(draw):
    """A header of several arrays of which one thing may be wrong, and about as much data as it says."""
    dims = draw(st.lists(small, min_size=1, max_size=4))
    ranks = [len(row) for row in dims]
    total = sum(int(np.prod(row)) for row in dims)
    lines = [" ".join(map(str, row)) for row in dims]
    parts = {"Dimensions": [str(total)], "SizesDimensions": [" ".join(map(str, ranks))], "MultiDimensions": lines}
    if draw(st.booleans()):
        name = draw(st.sampled_from(sorted(parts)))
        row = draw(st.integers(0, len(parts[name]) - 1))
        parts[name][row] = draw(rows)
    header = "".join(f"# {name}\n" + "".join(f"{line} \n" for line in lines) for name, lines in parts.items())
    return header.encode(), 8 * total + draw(st.sampled_from([0, 0, 0, -8, -1, 1, 8]))


any_header = st.one_of(
    st.binary(max_size=200), st.lists(sections, max_size=4).map(lambda text: "\n".join(text).encode())
)
any_file = st.one_of(nearly_right(), st.tuples(any_header, st.integers(0, 40)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


def put(folder, header, size):
    (folder / "a.hdr").write_bytes(header)
    (folder / "a.cfl").write_bytes(bytes(range(256)) * (max(size, 0) // 256) + bytes(range(max(size, 0) % 256)))
    return folder / "a"


def read_or_refuse(read):
    """Return what is read, None where it is refused; anything but one line of a refusal is an error."""
    try:
        return read()
    except InputError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 1000, message
        return None


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(file=any_file)
@example(file=(b"# Dimensions\n" + b"9" * 4000 + b" " + b"9" * 4000, 8))
@example(file=(b"# Dimensions\n" + b"9" * 19 * 1 + b" 9999999999999999999" * 15, 8))
@example(
    file=(b"# Dimensions\n" + b"999999999999999999 " * 1000 + b"\n# SizesDimensions\n1\n# MultiDimensions\n2\n", 8)
)
@example(file=(b"# Dimensions\n9\n# SizesDimensions\n" + b"1 " * 1000 + b"\n# MultiDimensions\n2\n", 8))
def test_any_file_is_read_as_it_is_or_refused(folder, file):
    path = put(folder, *file)
    array = read_or_refuse(lambda: cfl.read(path))
    if array is not None:
        assert array.tobytes(order="F") == (folder / "a.cfl").read_bytes()
        assert array.shape == cfl.read_dims(path)
    arrays = read_or_refuse(lambda: multi_cfl.read(path))
    if arrays is not None:
        assert b"".join(part.tobytes(order="F") for part in arrays) == (folder / "a.cfl").read_bytes()


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(file=any_file, network=st.sampled_from(NETWORKS))
def test_any_file_is_the_weights_of_a_network_or_refused(folder, file, network):
    path = put(folder, *file)
    found = read_or_refuse(lambda: weights.read(path, network))
    if found is not None:
        assert {name: values.shape for name, values in found.items()} == {
            array.name: array.shape for array in weights.layout(network)
        }


@settings(deadline=None, max_examples=300)
@given(data=st.data(), network=st.sampled_from(NETWORKS))
def test_damaged_weights_are_refused_or_have_the_right_shapes(folder, data, network):
    path = folder / "w"
    weights.write(path, network, weights.random(network, 0))
    target = path.with_suffix(data.draw(st.sampled_from([".cfl", ".hdr"])))
    content = bytearray(target.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[position:]
    else:
        content[position] = data.draw(st.integers(0, 255))
    target.write_bytes(bytes(content))
    found = read_or_refuse(lambda: weights.read(path, network))
    if found is not None:
        assert all(found[array.name].shape == array.shape for array in weights.layout(network))


complex_arrays = hnp.arrays(
    np.complex64,
    hnp.array_shapes(min_dims=1, max_dims=16, min_side=1, max_side=3).filter(lambda shape: np.prod(shape) < 5000),
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(arrays=st.lists(complex_arrays, min_size=1, max_size=4))
def test_any_arrays_come_back_bit_by_bit(folder, arrays):
    cfl.write(folder / "one", arrays[0])
    assert cfl.read(folder / "one").tobytes() == arrays[0].tobytes()
    multi_cfl.write(folder / "many", arrays)
    for found, array in zip(multi_cfl.read(folder / "many"), arrays, strict=True):
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize("read", [cfl.read, multi_cfl.read, lambda path: weights.read(path, NETWORKS[0])])
@pytest.mark.parametrize("suffix", [".cfl", ".hdr"])
def test_a_folder_in_place_of_a_file(tmp_path, read, suffix):
    multi_cfl.write(tmp_path / "a", [np.ones(512)])  # as many bytes as a folder has on many file systems
    (tmp_path / f"a{suffix}").unlink()
    (tmp_path / f"a{suffix}").mkdir()
    with pytest.raises(InputError, match=rf"a\{suffix}"):
        read(tmp_path / "a")


@pytest.mark.parametrize("read", [cfl.read, multi_cfl.read])
def test_a_name_that_no_file_can_have(tmp_path, read):
    for name in ("a\x00b", "a" * 5000):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / name)


def test_a_header_of_any_length_is_not_brought_into_memory(tmp_path):
    (tmp_path / "a.hdr").write_bytes(b"# Dimensions\n1\n")
    with (tmp_path / "a.hdr").open("r+b") as file:
        file.truncate(1 << 40)
    (tmp_path / "a.cfl").write_bytes(bytes(8))
    with pytest.raises(InputError, match="larger than"):
        cfl.read(tmp_path / "a")
