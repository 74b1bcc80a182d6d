"""Each row of the table of versions, shown on each version of BART that is found."""

import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl, multi_cfl
from bart_bridge.files.dims import Dim
from bart_bridge.measures import measures
from bart_bridge.reconet.history import parse_progress
from bart_bridge.tools import process, versions
from tests.helper import random_complex, relative_difference

SMALL = ("--network=varnet", "--test", "--batch-size=2")


@pytest.fixture(scope="module")
def slices(dataset_folder):
    return Dataset.open(dataset_folder).split("train")


def train(toolbox, slices, folder, *options):
    """Train a small VarNet; return how BART ended."""
    arrays = (slices.kspace, slices.coils, folder / "weights", slices.reference)
    argv = toolbox.argv("reconet", "--train", *SMALL, f"--pattern={slices.pattern}", *options, *arrays)
    return process.run(argv, folder=folder)


def test_every_row_has_a_test():
    rows = {name.lower() for name, value in vars(versions).items() if isinstance(value, versions.Change)}
    assert {f"test_{row}" for row in rows} <= set(globals())


def test_named_ipalm(each_toolbox, slices, tmp_path):
    trained = []
    for algorithm in ("ipalm", "adam", ""):
        train(each_toolbox, slices, tmp_path, f"-Te=1,r=1,{algorithm}")
        trained.append(np.concatenate([array.ravel() for array in multi_cfl.read(tmp_path / "weights")]))
    named, adam, default = trained
    assert np.array_equal(named, default) == each_toolbox.has(versions.NAMED_IPALM)
    assert np.array_equal(named, adam) != each_toolbox.has(versions.NAMED_IPALM)


def test_scaled_mse(each_toolbox, tmp_path):
    normal = np.random.default_rng(0).normal(size=(2, 16, 16, 2)).astype(np.float32)
    image, reference = normal.view(np.complex64)[..., 0]
    image[3] = 0
    cfl.write(tmp_path / "image", image)
    cfl.write(tmp_path / "reference", reference)
    finished = each_toolbox.run("measure", tmp_path / "reference", tmp_path / "image")
    printed = dict(map(str.strip, line.split(":")) for line in finished.stdout)
    expected = measures(image, reference)
    assert (list(expected)[-1] in printed) == each_toolbox.has(versions.SCALED_MSE)
    for name, value in printed.items():
        assert float(value) == pytest.approx(expected[name.removeprefix("mean ")], rel=1e-5)


def test_warmup_repeats_schedule(each_toolbox, slices, tmp_path):
    train(each_toolbox, slices, tmp_path, "-Tsgd,e=4,r=0.1,epochs-warmup=1,learning-rate-min=1e-6,dump-mod=1")
    arrays = [multi_cfl.read(tmp_path / name)[0] for name in ("weights_1", "weights_2", "weights_3", "weights")]
    steps = [np.linalg.norm(after - before) for before, after in pairwise(arrays)]
    assert (steps[-1] > 0.5 * steps[0]) == each_toolbox.has(versions.WARMUP_REPEATS_SCHEDULE)


def test_trains_on_one_slice(each_toolbox, slices, tmp_path):
    if not each_toolbox.has(versions.TRAINS_ON_ONE_SLICE):
        pytest.skip("stops at an assertion")
    paths = {name: tmp_path / name for name in ("kspace", "coils", "reference", "pattern")}
    for name, path in paths.items():
        cfl.write(path, cfl.read(getattr(slices, name))[..., :1])
    assert train(each_toolbox, replace(slices, **paths), tmp_path, "-Te=1").returncode == 0


def test_reports_on_stderr(each_toolbox, slices, tmp_path):
    finished = train(each_toolbox, slices, tmp_path, "-Te=1")
    streams = [any(parse_progress(line) for line in lines) for lines in (finished.stderr, finished.stdout)]
    is_moved = each_toolbox.has(versions.REPORTS_ON_STDERR)
    assert streams == [is_moved, not is_moved]


def test_errors_exit(each_toolbox, tmp_path):
    finished = process.run(each_toolbox.argv("show", tmp_path / "none"), folder=tmp_path)
    assert finished.returncode == (1 if each_toolbox.has(versions.ERRORS_EXIT) else -signal.SIGABRT)


def test_nmse_of_all_maps(each_toolbox, slices, tmp_path):
    """The reference of the second map is nearly 0, so that its own nmse is huge."""
    train(each_toolbox, slices, tmp_path, "-Te=1,r=1")
    arrays = {name: np.array(cfl.read(getattr(slices, name))) for name in ("coils", "reference")}
    for name, array in arrays.items():
        factor = 1e-3 if name == "reference" else 1
        cfl.write(tmp_path / name, np.concatenate([array, factor * array], axis=Dim.MAPS))
    files = (slices.kspace, tmp_path / "coils", tmp_path / "weights", tmp_path / "reference")
    finished = each_toolbox.run("reconet", "--eval", *SMALL, f"--pattern={slices.pattern}", *files)
    (line,) = [line for line in finished.stdout + finished.stderr if line.startswith("nmse:")]
    assert (float(line.split()[-1]) < 100) == each_toolbox.has(versions.NMSE_OF_ALL_MAPS), line


def test_pics_of_all_sizes(each_toolbox):
    kspace = np.zeros((30, 32, 1), np.complex64)
    kspace[15, 16] = 1
    coils = np.ones_like(kspace)
    expected = each_toolbox.compute("fft", "-iu", 3, kspace)
    image = each_toolbox.compute("pics", "-S", "-i", 5, kspace, coils).reshape(expected.shape)
    sign = 1 if each_toolbox.has(versions.PICS_OF_ALL_SIZES) else -1
    np.testing.assert_allclose(image, sign * expected, rtol=1e-3)
    odd = random_complex(np.random.default_rng(0), 15, 16, 1)
    image = each_toolbox.compute("pics", "-S", "-i", 1, odd, np.ones_like(odd)).squeeze()
    error = relative_difference(image, each_toolbox.compute("fft", "-iu", 3, odd).squeeze())
    assert error < 1e-5 if each_toolbox.has(versions.PICS_OF_ALL_SIZES) else error > 0.5


def test_philox(each_toolbox):
    older = each_toolbox.in_the_form_of((0, 9, 0))
    for command in (("noise", "-s", 1, np.zeros((4, 4))), ("phantom", "-N", 3, "-r", 1, "-x", 8)):
        new, old = each_toolbox.compute(*command), older.compute(*command)
        assert np.array_equal(new, old) != each_toolbox.has(versions.PHILOX)


def test_exact_nufft(each_toolbox):
    """A point in the centre has the value 1 / 16 everywhere in k-space."""
    image = np.zeros((16, 16, 1), np.complex64)
    image[8, 8] = 1
    positions = np.array([[0.3, 2.1], [-1.2, 3.4], [0, 0]], np.complex64)[..., None]
    older = each_toolbox.in_the_form_of((0, 8, 0))
    new, old = (16 * box.compute("nufft", positions, image).ravel() for box in (each_toolbox, older))
    np.testing.assert_allclose(old, 1.0014, atol=5e-5)
    np.testing.assert_allclose(new, 1 if each_toolbox.has(versions.EXACT_NUFFT) else old, atol=5e-5)


def test_eigenvalue_of_sampled(each_toolbox):
    """The first step from 0 is the adjoint divided by the eigenvalue."""
    generator = np.random.default_rng(0)
    kspace, coils = random_complex(generator, 2, 16, 16, 1, 4)
    sampled = kspace * (generator.uniform(size=(16, 16, 1, 1)) < 0.4)

    def step(data):
        first = ("pics", "-S", "-i", 1, "-R", "I:0:1e-6")
        last = ("--ist_last",) if each_toolbox.has(versions.L1_ENDS_WITH_THRESHOLD) else ()
        estimated, fixed = (each_toolbox.compute(*first, *last, *step, data, coils) for step in (["-e"], ["-s", 0.01]))
        return np.linalg.norm(estimated) / np.linalg.norm(fixed)

    ratio = step(sampled) / step(kspace)
    assert ratio > 1.5 if each_toolbox.has(versions.EIGENVALUE_OF_SAMPLED) else ratio == pytest.approx(1, rel=1e-3)


def test_a_users_compatibility_is_not_passed_on(each_toolbox, monkeypatch):
    """It would mix two versions, and no row of the table would be true."""
    zeros = np.zeros((4, 4), np.complex64)
    expected = each_toolbox.compute("noise", "-s", 7, zeros)
    monkeypatch.setenv(versions.COMPATIBILITY, "v0.8.00")
    np.testing.assert_array_equal(each_toolbox.compute("noise", "-s", 7, zeros), expected)


@pytest.mark.parametrize(
    ("compatibility", "expected"),
    [("v0.9.00", (0, 9, 0)), ("v1.1.00", (1, 0, 0)), ("0.9.00", (1, 0, 0)), ("", (1, 0, 0))],
)
def test_the_older_version_decides_what_is_drawn(compatibility, expected):
    assert versions.asked_for((1, 0, 0), compatibility) == expected


def test_l1_ends_with_threshold(each_toolbox):
    """So that many pixels are exactly 0."""
    kspace = random_complex(np.random.default_rng(0), 16, 16, 1)

    def zeros(*options):
        argv = ("-S", "-i", 5, "-R", "I:0:0.5", *options)
        return np.count_nonzero(each_toolbox.compute("pics", *argv, kspace, np.ones_like(kspace)) == 0)

    if each_toolbox.has(versions.L1_ENDS_WITH_THRESHOLD):
        assert zeros() > 20
        assert zeros("--ist_last") == 0
    else:
        assert zeros() == 0


def test_forward_tv(each_toolbox):
    """What a single bright pixel loses goes to the side where differences are taken."""
    point = np.zeros((16, 16, 1), np.complex64)
    point[8, 8] = 1
    kspace = each_toolbox.compute("fft", "-u", 3, point)[:, :, :1]
    image = each_toolbox.compute("pics", "-S", "-i", 20, "-R", "T:3:0:0.1", kspace, np.ones_like(point)).squeeze().real
    before, after = image[7, 7], image[9, 9]
    assert (before > 2 * after) == each_toolbox.has(versions.FORWARD_TV)
    assert (after > 2 * before) != each_toolbox.has(versions.FORWARD_TV)


def test_brain_phantom(each_toolbox, tmp_path):
    finished = process.run(each_toolbox.argv("phantom", "--BRAIN", "-x", 16, tmp_path / "brain"), folder=tmp_path)
    assert (finished.returncode == 0) == each_toolbox.has(versions.BRAIN_PHANTOM)
