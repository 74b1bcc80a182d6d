"""Reading arrays and weights of any bytes: what is not such a file is refused by its name, and nothing else happens."""

import tempfile
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.reconet import weights, weights_info
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings

VARNET = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=2, basis=3)
MODL = ModlSettings(iterations=2, layers=3, filters=2)
READERS = {
    "read": lambda path: [cfl.read(path)],
    "read_multi": multi_cfl.read,
    "varnet": lambda path: list(weights.read(path, VARNET).values()),
    "modl": lambda path: list(weights.read(path, MODL).values()),
    "inferred": lambda path: list(weights.read(path, weights_info.infer(path)).values()),
}
# Every file is written anew for each example, so the number of examples is bounded by time.
quick = settings(max_examples=60, deadline=None)

numbers = st.integers(-3, 40) | st.sampled_from([0, 2**31, 2**63, 10**30])
words = numbers.map(str) | st.sampled_from(["x", "1.5", "", "1e3", "-", "٣", "nan", "\x00"])
lines = st.lists(words, max_size=18).map(" ".join)
titles = st.sampled_from(["# Dimensions", "# SizesDimensions", "# MultiDimensions", "# Command", "#"])
headers = st.lists(titles | lines, max_size=14).map("\n".join).map(str.encode) | st.binary(max_size=200)


def read_all(header, data):
    """Put a file through every reader: it returns all of the file, or refuses it by its name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.with_suffix(".hdr").write_bytes(header)
        path.with_suffix(".cfl").write_bytes(data)
        for reader in READERS.values():
            try:
                arrays = reader(path)
            except InputError as error:
                message = str(error)
                if not message.startswith(str(path)):
                    raise
            else:
                assert sum(array.size for array in arrays) * 8 == len(data)


@quick
@given(headers, st.binary(max_size=400))
@example(b"# Dimensions\n1\n# SizesDimensions\n1\n# MultiDimensions\n1\n", b"\0" * 8)
def test_any_bytes(header, data):
    read_all(header, data)


@quick
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=8), min_size=1, max_size=6), st.integers(-9, 9))
def test_consistent_headers_with_any_arrays(all_dims, missing):
    """Headers that fit together, of arrays that are weights of nothing, with too little or too much data."""
    total = sum(map(prod, all_dims))
    header = f"# Dimensions\n{total}\n# SizesDimensions\n{' '.join(str(len(dims)) for dims in all_dims)}\n"
    header += "# MultiDimensions\n" + "\n".join(" ".join(map(str, dims)) for dims in all_dims)
    read_all(header.encode(), b"\0" * max(0, total * 8 + missing))


@pytest.fixture(scope="module", params=[VARNET, MODL], ids=["varnet", "modl"])
def valid(request, tmp_path_factory):
    """Header and data of a file that is right."""
    path = tmp_path_factory.mktemp("valid") / "a"
    weights.write(path, request.param, weights.random(request.param, 0))
    return tuple(file.read_bytes() for file in reversed(cfl.files(path)))


@quick
@given(st.data())
def test_a_damaged_weights_file(valid, data):
    """Bytes of a file that is right are replaced, cut off or added."""
    header, values = map(bytearray, valid)
    for content in (header, values):
        for _ in range(data.draw(st.integers(0, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            del content[data.draw(st.integers(0, len(content))) :]
        content += data.draw(st.binary(max_size=9))
    read_all(bytes(header), bytes(values))


@quick
@given(
    st.builds(
        VarNetSettings,
        iterations=st.integers(1, 3),
        filters=st.integers(1, 3),
        kernel_x=st.integers(2, 4),
        kernel_y=st.integers(1, 4),
        basis=st.integers(2, 4),
        shared_weights=st.booleans(),
        shared_lambda=st.booleans(),
        fixed_lambda=st.sampled_from([None, 0.1]),
    )
    # A single lambda in a file could be of the network or of its initialization.
    | st.builds(VarNetSettings, iterations=st.integers(1, 3), sense_initialization=st.just({"initial_lambda": 0.3}))
    | st.builds(ModlSettings, iterations=st.integers(1, 2), sense_initialization=st.just({"initial_lambda": 0.3}))
    | st.builds(
        ModlSettings,
        iterations=st.integers(1, 3),
        layers=st.integers(3, 5),
        filters=st.integers(1, 3),
        kernel_x=st.sampled_from([1, 3, 5]),
        kernel_y=st.sampled_from([1, 3]),
        batch_norm=st.booleans(),
        bias=st.booleans(),
        shared_weights=st.booleans(),
        shared_lambda=st.booleans(),
        fixed_lambda=st.sampled_from([None, 0.1]),
    )
)
def test_sizes_are_told_from_the_file(network):
    """The network that is inferred reads the file, and has its sizes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        arrays = weights.random(network, 0)
        weights.write(path, network, arrays)
        inferred = weights_info.infer(path)
        for name, values in weights.read(path, inferred).items():
            np.testing.assert_array_equal(values, arrays[name])
        for field in {"filters", "kernel_x", "kernel_y", "basis", "layers", "bias", "batch_norm"} & set(
            network.model_dump()
        ):
            assert getattr(inferred, field) == getattr(network, field)
        info = weights_info.describe_file(path)
        assert info.iterations in {None, network.iterations}
        assert info.rows() == weights_info.describe(network, arrays, info.iterations).rows()


def test_values_that_are_not_finite_are_refused(tmp_path):
    arrays = weights.random(MODL, 0)
    arrays["bias_i"][0, 0, 1] = np.inf
    weights.write(tmp_path / "a", MODL, arrays)
    for reader in (weights_info.describe_file, lambda path: weights.read(path, MODL)):
        with pytest.raises(InputError, match="a: array 'bias_i' must be finite, found NaN or infinity"):
            reader(tmp_path / "a")
