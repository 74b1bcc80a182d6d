"""The content of a split is hashed and validated once, and nothing else than content counts."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from bart_bridge.data import content
from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl


@pytest.fixture
def split(dataset_folder, tmp_path):
    return Split.in_folder(shutil.copytree(dataset_folder / "test", tmp_path / "test"))


def in_another_process(split):
    code = "import sys; from pathlib import Path; from bart_bridge.data import content, dataset; "
    code += "print(content.digests(dataset.Split.in_folder(Path(sys.argv[1])))['kspace'])"
    argv = [sys.executable, "-c", code, str(split.kspace.parent)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def test_a_copy_has_the_same_content_and_another_value_or_shape_has_not(split, tmp_path):
    before = content.digests(split)
    assert set(before) == {"kspace", "coils", "pattern", "reference"}
    copy = Split.in_folder(shutil.copytree(split.kspace.parent, tmp_path / "copy"))
    (tmp_path / "copy" / "README.md").write_text("not used")
    os.utime(tmp_path / "copy" / "kspace.cfl", (1, 1))
    with (tmp_path / "copy" / "kspace.hdr").open("a") as header:
        header.write("# Creator\nsomebody\n")
    assert content.digests(copy) == before
    kspace = np.array(cfl.read(copy.kspace))
    kspace.flat[7] += 1
    cfl.write(copy.kspace, kspace)
    after = content.digests(copy)
    assert {name for name in before if before[name] != after[name]} == {"kspace"}
    cfl.write(copy.kspace, cfl.read(split.kspace).reshape(-1))
    assert content.digest(copy.kspace) not in (before["kspace"], after["kspace"])


def test_a_file_is_hashed_once_by_all_processes_until_it_changes(split):
    """What is remembered is believed, so that a wrong memory shows who looked into it."""
    true = content.digests(split)["kspace"]
    memory = split.kspace.parent / content.NAME
    remembered = json.loads(memory.read_text())
    remembered["kspace.cfl"]["sha256"] = "believed"
    memory.write_text(json.dumps(remembered))
    assert in_another_process(split) != true
    os.utime(split.kspace.with_suffix(".cfl"))
    assert in_another_process(split) == true
    memory.write_text("{half a mem")
    assert in_another_process(split) == true


def test_who_only_looks_writes_nothing(split):
    memory = split.kspace.parent / content.NAME
    memory.unlink(missing_ok=True)
    content.validate_once(split, store=False)
    digests = content.digests(split, store=False)
    assert not memory.exists()
    assert content.validated(memory.parent) == {}
    content.validate_once(split)
    assert content.validated(memory.parent).items() >= digests.items()
    assert content.digests(split) == digests


def test_a_split_is_validated_once_by_all_experiments_until_it_changes(split, monkeypatch):
    validated = []
    validate = Split.validate
    monkeypatch.setattr(Split, "validate", lambda self: (validated.append(self), validate(self)))
    for _ in range(3):
        content.validate_once(split)
    assert len(validated) == 1
    kspace = np.array(cfl.read(split.kspace))
    kspace.flat[0] = np.nan
    cfl.write(split.kspace, kspace)
    for _ in range(2):  # what is wrong is never remembered as right
        with pytest.raises(InputError, match="values must be finite"):
            content.validate_once(split)
    split.coils.with_suffix(".cfl").unlink()
    with pytest.raises(InputError, match=r"coils\.cfl: no such file"):
        content.validate_once(split)
