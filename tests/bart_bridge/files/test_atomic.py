"""Files and folders are whole, on the disk before their name is, and leave nothing behind that is not ours."""

import os
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.files import atomic, cfl, multi_cfl


@pytest.fixture
def order(monkeypatch):
    """What goes to the disk and what is renamed, in this order."""
    calls = []
    sync, rename, replace = os.fsync, os.rename, os.replace

    def spy(descriptor):
        calls.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    def renaming(call):
        def renamed(old, new, **options):
            calls.append(("rename", Path(old), Path(new)))
            call(old, new, **options)

        return renamed

    monkeypatch.setattr(os, "fsync", spy)
    monkeypatch.setattr(os, "rename", renaming(rename))
    monkeypatch.setattr(os, "replace", renaming(replace))
    return calls


@pytest.mark.parametrize(
    ("names", "write"),
    [
        (["a.txt"], lambda path: atomic.write_text(path / "a.txt", "text")),
        (["a.npz"], lambda path: atomic.write_arrays(path / "a.npz", {"a": np.ones(3)})),
        (["a.cfl", "a.hdr"], lambda path: cfl.write(path / "a", np.ones(3))),
        (["a.cfl", "a.hdr"], lambda path: multi_cfl.write(path / "a", [np.ones(3)])),
    ],
)
def test_a_file_is_on_the_disk_before_its_name_and_the_name_after_it(order, names, write, tmp_path):
    write(tmp_path)
    assert len(order) == 3 * len(names)
    for number, name in enumerate(names):
        before, (_, temporary, new), after = order[3 * number : 3 * number + 3]
        assert new == tmp_path / name
        assert before == ("sync", temporary)
        assert temporary.name.startswith(atomic.PREFIX)
        assert after == ("sync", tmp_path)


def test_a_folder_is_on_the_disk_with_all_that_is_in_it(order, tmp_path):
    with atomic.new_folder(tmp_path / "data") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_text("x")
    synced = {path for kind, path, *_ in order[:-2] if kind == "sync"}
    assert synced == {temporary, temporary / "inner", temporary / "inner" / "file"}
    assert order[-2:] == [("rename", temporary, tmp_path / "data"), ("sync", tmp_path)]


def test_what_fails_leaves_the_old_file_and_names_it(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with atomic.new_file(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device", str(temporary))

    with pytest.raises(OSError, match="No space") as caught:
        fail()
    assert caught.value.filename == str(path)
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError, match=r"nowhere/file\.txt"):
        atomic.write_text(tmp_path / "nowhere" / "file.txt", "x")


def test_a_folder_that_fails_is_named(tmp_path):
    """The temporary folder in place of it is nobody's business, and gone."""
    with pytest.raises(FileNotFoundError) as caught, atomic.new_folder(tmp_path / "nowhere" / "data"):
        pass
    assert caught.value.filename == str(tmp_path / "nowhere" / "data")

    def fail():
        with atomic.new_folder(tmp_path / "data") as temporary:
            (temporary / "inner" / "file").write_text("x")

    with pytest.raises(FileNotFoundError) as caught:
        fail()
    assert caught.value.filename == str(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_parents_of_what_fails_are_gone(tmp_path):
    def write(fails):
        path = tmp_path / "a" / "b" / "data"
        with atomic.new_parents(path), atomic.new_folder(path) as temporary:
            (temporary / "file").write_text("x")
            if fails:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(fails=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(KeyboardInterrupt):
        write(fails=True)
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]
    write(fails=False)
    assert (tmp_path / "a" / "b" / "data" / "file").read_text() == "x"


def test_the_mode_is_that_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "file", "x")
        with atomic.new_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "folder")] == [0o640, 0o750]


def test_only_our_leftovers_are_removed(tmp_path):
    kept = {".notes.md", ".gitlab-ci.yml", ".kspace.md5", "one-slice-of-mine", "baseline-2024", "unfinished-thesis.tex"}
    for name in kept:
        (tmp_path / name).write_text("somebody's own")
    (tmp_path / f"{atomic.PREFIX}x1.txt").write_text("half")
    (tmp_path / f"{atomic.PREFIX}folder").mkdir()
    (tmp_path / f"{atomic.PREFIX}folder" / "file").write_text("half")
    atomic.remove_leftovers(tmp_path, tmp_path / "nowhere")
    assert {path.name for path in tmp_path.iterdir()} == kept
