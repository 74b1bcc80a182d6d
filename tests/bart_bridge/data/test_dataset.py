"""Dataset folders: what makes one valid, what each damage is called, and that half of one never appears."""

import os
import shutil

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset, Split, new_folder, write_split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl


@pytest.fixture
def folder(dataset_folder, tmp_path):
    """A copy of the training split, to be damaged."""
    return shutil.copytree(dataset_folder / "train", tmp_path / "train")


def edit(name, change):
    """A damage: an array of a split replaced by what `change` makes of it."""

    def damage(folder):
        cfl.write(folder / name, change(np.array(cfl.read(folder / name))))

    return damage


def put(name, index, value):
    """A damage: values of an array overwritten."""

    def change(array):
        array[index] = value
        return array

    return edit(name, change)


def remove(file):
    """A damage: a file deleted."""
    return lambda folder: (folder / file).unlink()


# A good one


@pytest.mark.parametrize(("name", "items"), [("train", 4), ("validation", 2), ("test", 2)])
def test_simulated_splits_are_valid(dataset_folder, name, items):
    split = Dataset.open(dataset_folder).split(name)
    split.validate()
    assert split.slice_count == items
    shapes = {name: array.shape for name, array in split.arrays().items()}
    wide, narrow = (items, 3, 24, 24), (items, 1, 24, 24)
    coils = (wide[0], 1, *wide[1:])
    assert shapes == {"kspace": wide, "coils": coils, "pattern": narrow, "reference": narrow}


def test_arrays_are_memory_mapped(dataset_folder):
    arrays = Dataset.open(dataset_folder).split("test").arrays()
    assert all(isinstance(array, np.memmap) for array in arrays.values())


def test_pattern_and_reference_are_optional(folder):
    for name in ("pattern", "reference"):
        for file in cfl.files(folder / name):
            file.unlink()
    split = Split.in_folder(folder)
    split.validate()
    assert split.pattern is None
    assert split.reference is None
    assert set(split.arrays()) == {"kspace", "coils"}


def test_one_pattern_may_serve_all_slices(folder):
    edit("pattern", lambda pattern: pattern[..., :1])(folder)
    Split.in_folder(folder).validate()


# Damages


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("kspace.hdr"), r"kspace\.hdr: no such file"),
        (remove("coils.hdr"), r"coils\.hdr: no such file"),
        (remove("coils.cfl"), r"coils\.cfl: no such file"),
        (remove("pattern.cfl"), r"pattern\.cfl: no such file"),
        (lambda folder: os.truncate(folder / "kspace.cfl", 1000), r"kspace\.cfl: .* bytes, the file has 1000"),
        (lambda folder: os.truncate(folder / "reference.cfl", 0), r"reference\.cfl: .* bytes, the file has 0"),
        (
            edit("coils", lambda coils: coils[:, :, :, :2]),
            r"coils: .*\(x 24, y 24, coil 2, batch 4\) do not match those of .*kspace \(x 24, y 24, coil 3, batch 4\)",
        ),
        (edit("coils", lambda coils: coils[..., :1]), r"coils: .*coil 3\) do not match those of .*kspace"),
        (edit("kspace", lambda kspace: kspace[:20]), r"coils: .*x 24, .* do not match those of .*kspace \(x 20,"),
        (
            edit("pattern", lambda pattern: pattern[..., :3]),
            r"pattern: .*\(x 24, y 24, batch 3\) do not match those of .*kspace \(.*batch 4\)",
        ),
        (edit("pattern", lambda pattern: pattern[:, :23]), r"pattern: .*y 23.* do not match those of .*kspace"),
        (edit("reference", lambda image: image[..., :2]), r"reference: .*batch 2.* do not match those of .*kspace"),
        (
            edit("coils", lambda coils: np.repeat(coils, 2, axis=4)),
            r"reference: .*do not match those of .*coils .*maps 2",
        ),
        (edit("reference", lambda image: np.repeat(image, 3, axis=3)), r"reference: .*must be 1, found .*coil 3"),
        (put("pattern", (..., 2), 0), r"pattern: a pattern must sample something, slice 2 is all zero"),
        (put("coils", (..., 1), 0), r"train/coils: coil sensitivities must not vanish, slice 1 is all zero"),
        (put("reference", (..., 3), 0), r"train/reference: a reference must show something, slice 3 is all zero"),
        (put("reference", (..., 2), 2), r"train/reference: .* slice 2 is the same everywhere"),
        (
            lambda folder: [put(name, (..., 0), 0)(folder) for name in ("kspace", "coils")],
            r"train/kspace: k-space must hold a signal, slice 0 is all zero",
        ),
        (
            lambda folder: [
                put("kspace", (slice(None), slice(None), 0, slice(1, None), ..., 2), 0)(folder),
                put("coils", (slice(None), slice(None), 0, 0, ..., 2), 0)(folder),
            ],
            r"train/coils: the coils with a signal must have sensitivities, slice 2 has none",
        ),
        (
            lambda folder: [
                edit("kspace", lambda kspace: kspace * cfl.read(folder / "pattern"))(folder),
                put("pattern", (..., 1), 1 - cfl.read(folder / "pattern")[..., 1])(folder),
            ],
            r"train/pattern: a pattern must sample the signal, that of slice 1 lies beside it",
        ),
        (put("kspace", (3, 4, 0, 1, ..., 1), np.nan), r"kspace: values must be finite, .* in slice 1"),
        (put("coils", (0, 0, 0, 0, ..., 3), np.inf), r"coils: values must be finite, .* in slice 3"),
        (put("pattern", (0, 0, ..., 0), np.nan), r"pattern: values must be finite, .* in slice 0"),
        (put("reference", (0, 0, ..., 2), 1j * np.inf), r"reference: values must be finite, .* in slice 2"),
        (put("kspace", (..., 3), 0), r"kspace: k-space must hold a signal, slice 3 is all zero"),
        (put("kspace", ..., 0), r"kspace: k-space must hold a signal, slice 0 is all zero"),
        (edit("kspace", lambda kspace: np.repeat(kspace, 2, axis=4)), r"must be 1, found .*maps 2"),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        Split.in_folder(folder).validate()


# The folder


def test_missing_split_is_named_with_those_found(dataset_folder, tmp_path):
    shutil.copytree(dataset_folder, tmp_path / "dataset")
    shutil.rmtree(tmp_path / "dataset" / "validation")
    with pytest.raises(InputError, match=r"dataset: no split 'validation' \(found: train, test\)"):
        Dataset.open(tmp_path / "dataset").split("validation")


def test_dataset_without_splits(tmp_path):
    (tmp_path / "dataset.yaml").write_text("name: empty\n")
    with pytest.raises(InputError, match=r"no split 'train' \(found: none\)"):
        Dataset.open(tmp_path).split("train")


@pytest.mark.parametrize("folder", ["missing", "."])
def test_missing_description(tmp_path, folder):
    with pytest.raises(InputError, match=r"not a dataset folder \(there is no dataset.yaml in it\)$"):
        Dataset.open(tmp_path / folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name: [1, 2", r"not a dataset folder \(.*dataset.yaml: cannot be read"),
        (b"\xff\xfe\xfa", r"not a dataset folder \(.*dataset.yaml: cannot be read"),
        (b"- train\n", "must be a mapping, found list"),
        (b"", r"not a dataset folder \(dataset.yaml: keys are needed, it is empty\)$"),
    ],
)
def test_unreadable_description(tmp_path, content, message):
    (tmp_path / "dataset.yaml").write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        Dataset.open(tmp_path)
    assert "\n" not in str(raised.value)


# Making one


def test_new_folder_holds_description_and_splits(tmp_path):
    arrays = {"kspace": np.ones((4, 4, 1, 2), np.complex64), "coils": np.ones((4, 4, 1, 2), np.complex64)}
    with new_folder(tmp_path / "deep" / "dataset", {"name": "ones", "number": 3}) as temporary:
        assert not (tmp_path / "deep" / "dataset").exists()
        write_split(temporary / "train", arrays)
    dataset = Dataset.open(tmp_path / "deep" / "dataset")
    assert dataset.description == {"name": "ones", "number": 3}
    dataset.split("train").validate()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["dataset"]
    assert (tmp_path / "deep" / "dataset").stat().st_mode & 0o777 == 0o755


def test_new_folder_may_be_empty_before(tmp_path):
    (tmp_path / "dataset").mkdir()
    with new_folder(tmp_path / "dataset", {}):
        pass
    assert Dataset.open(tmp_path / "dataset").description == {}


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
@pytest.mark.parametrize("existed", [False, True])
def test_new_folder_leaves_nothing_after_an_exception(tmp_path, error, existed):
    if existed:
        (tmp_path / "dataset").mkdir()

    def interrupted():
        with new_folder(tmp_path / "dataset", {}) as temporary:
            write_split(temporary / "train", {"kspace": np.ones((2, 2), np.complex64)})
            raise error

    with pytest.raises(error):
        interrupted()
    assert [path.name for path in tmp_path.rglob("*")] == ["dataset"] * existed


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_new_folder_refuses_what_exists(tmp_path, kind):
    kept = tmp_path / "dataset" / "kept" if kind == "folder" else tmp_path / "dataset"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    refused = pytest.raises(InputError, match="dataset: already exists; name a new folder or remove it")
    with refused, new_folder(tmp_path / "dataset", {}):
        pytest.fail("a folder was given")
    assert kept.read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_splits_are_not_overwritten(tmp_path):
    write_split(tmp_path / "train", {"kspace": np.ones((2, 2), np.complex64)})
    with pytest.raises(FileExistsError):
        write_split(tmp_path / "train", {})


def test_half_a_pattern_is_not_no_pattern(dataset_folder, tmp_path):
    split = Split.in_folder(dataset_folder / "test")
    for name in ("kspace", "coils", "pattern"):
        cfl.write(tmp_path / name, cfl.read(getattr(split, name)))
    (tmp_path / "pattern.hdr").unlink()
    with pytest.raises(InputError, match=r"pattern\.hdr"):
        Split.in_folder(tmp_path).validate()
