"""Which planes of BART arrays the page of `bart-tf view` has, and what it refuses."""

import base64
import json
import re
import shutil
import zlib

import numpy as np
import pytest

from bart_bridge.errors import InputError
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.files.dims import Dim
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from compare.report import viewer_arrays, viewer_files
from compare.report.viewer_arrays import ViewedArray, choose_positions, default_plane, left_out, pack
from tests.compare.conftest import bart_tf_in_process


def array(*shape, label="a", seed=0):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    return ViewedArray(label, np.asfortranarray(values), default_plane(shape))


def decoded(text):
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.ascontiguousarray(planes.reshape(8, -1).T).view("<c8")[:, 0]


def content(page):
    return json.loads(re.search(r'id="arrays">(.*?)</script>', page.read_text(), re.DOTALL)[1])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("shape", "plane"),
    [
        ((320, 368, 1, 15), (Dim.X, Dim.Y)),
        ((3, 512, 40), (Dim.Y, Dim.Z)),
        ((1, 512, 40, 8), (Dim.Y, Dim.Z)),
        ((64,), (Dim.X, Dim.Y)),
        ((1, 1, 1, 8), (Dim.X, Dim.COIL)),
        ((3, 2), (Dim.X, Dim.Y)),
        ((1,), (Dim.X, Dim.Y)),
        ((1, 64, 1, 3), (Dim.Y, Dim.COIL)),
    ],
)
def test_the_plane_is_that_of_the_first_long_dimensions(shape, plane):
    assert default_plane(shape) == plane


def test_all_planes_of_small_arrays_are_packed_exactly():
    volume = array(5, 4, 1, 3, 1, 2)
    positions = choose_positions([volume], {})
    packed = pack([volume], positions)
    assert positions == {Dim.COIL: [0, 1, 2], Dim.TE: [0, 1]}
    assert left_out([volume], positions) == []
    (entry,) = packed["arrays"]
    assert sorted(entry["planes"]) == ["0,0", "0,1", "1,0", "1,1", "2,0", "2,1"]
    for key, text in entry["planes"].items():
        coil, te = map(int, key.split(","))
        np.testing.assert_array_equal(decoded(text), volume.values[:, :, 0, coil, 0, te].ravel())
    assert (entry["rows"], entry["columns"], entry["dims"]) == (5, 4, "x 5, y 4, coil 3, te 2")


def test_a_plane_may_be_turned():
    turned = ViewedArray("a", array(5, 4, 3).values, (Dim.Z, Dim.X))
    (entry,) = pack([turned], choose_positions([turned], {}))["arrays"]
    np.testing.assert_array_equal(decoded(entry["planes"]["2"]).reshape(3, 5), turned.values[:, 2, :].T)


def test_of_a_large_array_evenly_spread_planes_are_chosen_and_the_others_are_named(monkeypatch):
    monkeypatch.setattr(viewer_arrays, "MOST_VALUES", 16 * 20)
    large = array(4, 5, 1, 15, 1, 1, 1, 1, 1, 1, 1, 1, 1, 20)
    positions = choose_positions([large], {})
    shown = len(positions[Dim.COIL]) * len(positions[Dim.SLICE])
    assert 8 < shown <= 16
    for dim, size in ((Dim.COIL, 15), (Dim.SLICE, 20)):
        gaps = np.diff([-positions[dim][0] - 1, *positions[dim], 2 * size - positions[dim][-1]])
        assert len(positions[dim]) > 1
        assert gaps.max() - gaps.min() <= 2
    coils, slices = (", ".join(map(str, positions[dim])) for dim in (Dim.COIL, Dim.SLICE))
    assert left_out([large], positions) == [
        f"a: {shown} of 300 planes are on the page, at coil {coils}; slice {slices}"
    ]
    chosen = choose_positions([large], {Dim.SLICE: [7]})
    assert (chosen[Dim.SLICE], len(chosen[Dim.COIL])) == ([7], 15)


def test_arrays_share_positions_by_the_names_of_dimensions():
    kspace, image, other = array(8, 8, 1, 3, 1, 2), array(8, 8, label="image"), array(6, 6, 1, 2, label="other")
    positions = choose_positions([kspace, image, other], {})
    packed = pack([kspace, image, other], positions)
    assert [loop["name"] for loop in packed["loops"]] == ["coil", "te"]
    assert [sorted(entry["planes"]) for entry in packed["arrays"][1:]] == [[""], ["0", "1"]]
    # A dimension in the plane of one array is no slider of another one.
    trajectory = array(3, 30, 20, label="trajectory")
    assert choose_positions([image, trajectory], {}) == {Dim.X: [0, 1, 2]}


def test_an_array_that_is_shorter_than_others_has_a_plane_too(monkeypatch):
    monkeypatch.setattr(viewer_arrays, "MOST_VALUES", 16 * 12)
    short, long = array(4, 4, 3, label="short"), array(4, 4, 100, label="long")
    positions = choose_positions([short, long], {})
    assert len(positions[Dim.Z]) >= 8
    assert list(pack([short, long], positions)["arrays"][0]["planes"]) == ["1"]
    assert left_out([short, long], positions)[0] == "short: 1 of 3 planes are on the page, at z 1"
    assert left_out([short, long], choose_positions([short, long], {Dim.Z: [2, 50]})) == [
        "short: 1 of 3 planes are on the page, at z 2",
        "long: 2 of 100 planes are on the page, at z 2, 50",
    ]
    assert left_out([short, long], choose_positions([short, long], {Dim.Z: [50]})) == [
        "short: none of its 3 planes is on the page, because z ends at 2",
        "long: 1 of 100 planes are on the page, at z 50",
    ]


@pytest.mark.parametrize(
    ("wanted", "fault"),
    [
        ({Dim.COIL: [3]}, "--at coil=3: the positions of coil are 0 to 2"),
        ({Dim.TIME: [0]}, "--at time=0: time has no slider here"),
        ({Dim.X: [0]}, "--at x=0: x has no slider here"),
    ],
)
def test_positions_that_no_array_has_are_refused(wanted, fault):
    with pytest.raises(InputError) as raised:
        choose_positions([array(8, 8, 1, 3)], wanted)
    assert str(raised.value) == fault


def test_what_no_page_holds_is_refused(monkeypatch):
    monkeypatch.setattr(viewer_arrays, "MOST_VALUES", 100)
    with pytest.raises(InputError, match="--at: a page holds 100 values, received 192"):
        choose_positions([array(8, 8, 1, 3)], {Dim.COIL: [0, 1, 2]})
    assert choose_positions([array(16, 16, 1, 3)], {Dim.COIL: [1]}) == {Dim.COIL: [1]}
    monkeypatch.setattr(viewer_arrays, "_MOST_VALUES_OF_PLANES", 200)
    with pytest.raises(InputError, match="at most 200 values together, received a 16 x 16"):
        choose_positions([array(16, 16)], {})


def test_the_summary_counts_what_is_not_finite_and_does_not_overflow():
    values = np.array([3 + 4j, 1e38 + 1e38j, np.nan, np.inf, complex(np.nan, np.inf), 0.5], np.complex64)
    found = viewer_arrays.summary(values)
    assert found == {"largest": pytest.approx(2**0.5 * 1e38), "smallest": 0.5, "nan": 2, "infinite": 1}
    assert viewer_arrays.summary(np.full((2, 2), np.nan, np.complex64)) == {
        "largest": 0.0, "smallest": None, "nan": 4, "infinite": 0,
    }  # fmt: skip


def test_folders_stand_for_their_arrays(tiny, folder):
    dataset = tiny[0] / "dataset"
    names = [path.name for path in viewer_files.arrays_at(dataset)]
    assert names == ["coils", "kspace", "pattern", "reference"]
    assert viewer_files.arrays_at(dataset)[0].parent.name == "test"
    assert viewer_files.arrays_at(dataset / "train")[0].parent.name == "train"
    said = bart_tf_in_process("view", dataset / "test", dataset / "train" / "kspace.cfl")
    assert (said.returncode, said.stdout) == (0, f"page: {folder / 'view.html'}\n")
    packed = content(folder / "view.html")
    labels = [entry["label"] for entry in packed["arrays"]]
    assert labels == ["coils", "test/kspace", "pattern", "reference", "train/kspace"]
    kspace = cfl.read(dataset / "train" / "kspace")
    shown = decoded(packed["arrays"][-1]["planes"]["1,3"])
    np.testing.assert_array_equal(shown, kspace[:, :, 0, 1, ..., 3].ravel())
    assert str(folder) not in (folder / "view.html").read_text()


def test_the_working_folder_is_a_folder(folder):
    cfl.write(folder / "a", np.ones((4, 4)))
    said = bart_tf_in_process("view", ".")
    assert (said.returncode, said.stdout) == (0, f"page: {folder / 'view.html'}\n")
    assert [entry["label"] for entry in content(folder / "view.html")["arrays"]] == ["a"]


def test_the_page_replaces_only_pages_of_its_own(folder):
    cfl.write(folder / "a", np.ones((4, 4)))
    (folder / "view.html").write_text("<p>mine</p>")
    said = bart_tf_in_process("view", "a")
    assert said.returncode == 2
    assert said.stderr == (
        f"error: {folder / 'view.html'}: exists and is no page of bart-tf view; name another file with --output\n"
    )
    assert (folder / "view.html").read_text() == "<p>mine</p>"
    for _ in range(2):
        assert bart_tf_in_process("view", "a", "-o", "b.html").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["missing"], "missing.hdr: no such file"),
        (["short"], "short.cfl: dimensions 4 4 need 128 bytes, the file has 120"),
        (["empty"], "empty: no arrays (.cfl and .hdr) in this folder"),
        (["a", "--plane", "x"], "--plane must name two dimensions, such as 'x,y', received 'x'"),
        (["a", "--plane", "x,x"], "--plane must name two dimensions, such as 'x,y', received 'x,x'"),
        (
            ["a", "--plane", "x,w"],
            "--plane: no dimension 'w' (found: x, y, z, coil, maps, te, coeff, coeff2, iteration,",
        ),
        (["a", "--at", "coil"], "--at must be a dimension and positions, such as 'coil=0,2' or 'slice=5:10'"),
        (["a", "--at", "coil=2:2"], "--at must be a dimension and positions"),
        (["a", "--at", "coil=-1"], "--at must be a dimension and positions"),
        (["a", "--at", "coil=0", "--at", "coil=1"], "--at: 'coil' is named twice"),
        (["a", "--at", f"coil=0:{10**30}"], f"--at coil=0:{10**30}: a page holds 2000000 values"),
        (["model.keras"], "model.keras: no BART array (.cfl and .hdr); 'bart-tf inspect' says what a file is"),
        (["a"] * 25, "at most 24 arrays fit on a page, received 25"),
        (["a", "-o", "nowhere/page.html"], "--output: no folder"),
    ],
)
def test_wrong_input_is_one_line(folder, arguments, fault):
    cfl.write(folder / "a", np.ones((4, 4)))
    cfl.write(folder / "short", np.ones((4, 4)))
    (folder / "short.cfl").write_bytes(b"0" * 120)
    (folder / "empty").mkdir()
    (folder / "model.keras").touch()
    said = bart_tf_in_process("view", *arguments)
    assert said.returncode == 2, said.stderr
    assert said.stderr.startswith("error: ")
    assert fault in said.stderr
    assert said.stderr.count("\n") == 1
    assert not (folder / "view.html").exists()


def test_ranges_and_lists_of_positions(folder):
    cfl.write(folder / "a", np.ones((4, 4, 1, 9)))
    assert bart_tf_in_process("view", "a", "--at", "coil=7,2:4").returncode == 0
    assert content(folder / "view.html")["loops"] == [{"name": "coil", "size": 9, "numbers": [2, 3, 7]}]


def test_the_same_array_twice_has_two_labels(folder):
    cfl.write(folder / "a", np.ones((4, 4)))
    shutil.copytree(folder, folder / "other")
    assert bart_tf_in_process("view", "a", "a", "other/a").returncode == 0
    labels = [entry["label"] for entry in content(folder / "view.html")["arrays"]]
    assert labels == ["a (1)", "a (2)", "other/a"]


def test_each_array_of_weights_is_shown_with_its_name(folder):
    networks = {"varnet": VarNetSettings(iterations=2, filters=5, kernel_x=3, kernel_y=7, basis=4)}
    networks["modl"] = ModlSettings(iterations=2, layers=3, filters=4)
    for name, network in networks.items():
        weights.write(name, network, weights.random(network, 0))
    multi_cfl.write("two", [np.arange(6).reshape(2, 3), np.ones(5)])
    said = bart_tf_in_process("view", "varnet", "modl", "two")
    assert said.returncode == 0, said.stderr
    shown = content(folder / "view.html")["arrays"]
    labels = [f"{name}, {part}" for name, network in networks.items() for part in weights.stored_names(network)]
    assert [each["label"] for each in shown] == [*labels, "two, array 1", "two, array 2"]
    by_label = {each["label"]: each for each in shown}
    # Kernels are images; the sliders go through their channels and iterations.
    conv = by_label["varnet, conv"]
    assert (conv["rows"], conv["columns"]) == (3, 7)
    assert (by_label["varnet, rbf"]["rows"], by_label["varnet, rbf"]["columns"]) == (5, 4)
    stored = multi_cfl.read("varnet")[1]
    np.testing.assert_array_equal(decoded(conv["planes"]["4,1"]).reshape(3, 7), stored[4, 0, :, :, 0, 1])
