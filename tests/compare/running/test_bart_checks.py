"""What BART cannot do is said before any work starts: a tool that it was built without, a path that it cannot take."""

from pathlib import Path

import pytest
import yaml

from bart_bridge.errors import InputError
from bart_bridge.tools.blas import blas_of
from bart_bridge.tools.toolbox import Toolbox
from compare.running.runner import check_bart
from compare.settings.experiment import load
from tests.compare.cli.test_cli import one_line
from tests.compare.conftest import TINY, bart_script, bart_tf_in_process

STUDY = {
    "name": "study",
    "dataset": yaml.safe_load(TINY)["dataset"],
    "networks": {"varnet": {"kind": "varnet", "iterations": 1, "filters": 2}},
    "training": {"batch_size": 2, "epochs": 1},
    "seeds": [0, 1, 2],
    "optimizers": {"adam": [{"learning_rate": 0.01}]},
}


@pytest.fixture
def without(tmp_path, toolbox):
    """Make a BART that was built without some tools."""

    def make(*tools):
        refuse = "echo 'Unknown bart command: \"'$1'\".' >&2; exit 255"
        return bart_script(tmp_path, toolbox, f"case $1 in {'|'.join(tools)}) {refuse};; esac")

    return make


@pytest.fixture
def configs(tmp_path, monkeypatch):
    """The working folder: the same experiment with a dataset of its own, and with one whose folder has a comma."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(TINY)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    content |= {"dataset": {"folder": str(tmp_path / "knee, 3T")}, "validate_epochs": True}
    (tmp_path / "elsewhere.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


COMMANDS = {
    "compare": ["compare", "tiny.yaml"],
    "compare on this machine": ["compare", "tiny.yaml", "--on", "local"],
    "train": ["train", "tiny.yaml", "--network", "modl", "--engine", "bart"],
    "optimizers": ["optimizers", "study.yaml"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_without_reconet(command, without, configs):
    finished = bart_tf_in_process(*command, "-o", "out", "--bart", without("reconet"))
    assert f"at {configs / 'bart'} was built without 'reconet'" in one_line(finished, 1)
    assert not (configs / "out").exists()


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_comma_in_the_path_of_the_results(command, configs):
    finished = bart_tf_in_process(*command, "-o", "a,b")
    assert "a,b: reconet takes no comma in the path of its history or of validation slices" in one_line(finished, 2)
    assert not (configs / "a,b").exists()


def test_a_comma_in_the_path_of_validation_slices(configs):
    finished = bart_tf_in_process("compare", "elsewhere.yaml", "-o", "out")
    assert "knee, 3T: reconet takes no comma in" in one_line(finished, 2)
    assert not (configs / "out").exists()


def test_keras_needs_neither(without, configs):
    toolbox = Toolbox.find(without("reconet"))
    check_bart(load(configs / "tiny.yaml"), Path("a,b"), {"keras-tensorflow": toolbox})
    with pytest.raises(InputError, match="comma"):
        check_bart(load(configs / "tiny.yaml"), Path("a,b"), {"bart": Toolbox.find()})


def test_parity_without_reconet(without, configs):
    finished = bart_tf_in_process("parity", "tiny.yaml", "--bart", without("reconet"))
    assert "was built without 'reconet'" in one_line(finished, 1)


def test_without_measure_a_comparison_says_at_its_start_what_will_be_missing(without, configs):
    finished = bart_tf_in_process("compare", "tiny.yaml", "-o", "a,b", "--bart", without("measure"))
    assert finished.stderr.startswith(f"warning: {configs / 'bart'} was built without 'measure': ")
    assert "comma" in one_line(finished, 2)


@pytest.mark.parametrize("tool", ["reconet", "measure"])
def test_doctor_names_what_is_missing(tool, without):
    finished = bart_tf_in_process("doctor", "--bart", without(tool))
    assert finished.returncode == 1
    assert f"built without '{tool}'" in finished.stdout


def test_doctor_lists_every_bart_with_its_blas(tmp_path, monkeypatch, toolbox):
    folder = tmp_path / "barts" / "0.9.07"
    folder.mkdir(parents=True)
    bart_script(folder, toolbox, "[ $1 = version ] && printf 'v0.9.07\\nOMP=1\\nCUDA=0\\n' && exit 0")
    monkeypatch.setenv("BART_TF_BARTS", str(folder.parent))
    monkeypatch.setenv("TOOLBOX_PATH", str(tmp_path / "gone"))
    monkeypatch.setenv("BART_TOOLBOX_PATH", str(toolbox.path))
    table = "".join(bart_tf_in_process("doctor").stdout.split())  # a narrow terminal breaks paths anywhere

    def says(text):
        return "".join(text.split()) in table

    blas = blas_of(toolbox)
    assert says(f"BART {toolbox.version_text} at {toolbox.path} (from BART_TOOLBOX_PATH)")
    assert says(f"BART's BLAS {blas}")
    assert says("this is a slow build") == blas.startswith("reference")
    slow = " (slow build)" if blas.startswith("reference") else ""
    assert says(f"other BART 0.9.07 at {folder / 'bart'} (from BART_TF_BARTS), {blas}{slow}; OMP=1, CUDA=0")
    assert says(f"no BART binary at {tmp_path / 'gone'} (named by TOOLBOX_PATH)")


def test_a_comparison_says_once_at_its_start_which_builds_are_slow(tmp_path, monkeypatch, toolbox, dataset_folder):
    """No training gets far: these BARTs have `reconet -h` and nothing else of it."""
    for version in ("0.8.00", "0.9.00"):
        (tmp_path / version).mkdir()
        says = f"[ $1 = version ] && printf 'v{version}\\nBLAS=reference BLAS 3.11.0\\n' && exit 0"
        bart_script(tmp_path / version, toolbox, says, '[ $1 = reconet ] && [ "$2" != -h ] && exit 1')
    content = yaml.safe_load(TINY) | {
        "dataset": {"folder": str(dataset_folder)},
        "engines": ["bart", "bart-0.9"],
        "bart_binaries": {"bart-0.9": str(tmp_path / "0.9.00")},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    finished = bart_tf_in_process("compare", "tiny.yaml", "-o", "out", "--bart", "0.8.00")
    warning, *others = finished.stderr.splitlines()
    assert not any(line.startswith("warning: ") for line in others)
    assert warning.startswith(
        f"warning: BART 0.8.00 at {tmp_path}/0.8.00/bart, BART 0.9.00 at {tmp_path}/0.9.00/bart: this is a slow build: "
    )
    planned = bart_tf_in_process("compare", "tiny.yaml", "-o", "out", "--bart", "0.8.00", "--dry-run")
    assert planned.stderr.splitlines() == [warning]


def test_doctor_names_a_folder_without_barts_also_where_none_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("BART_TF_BARTS", str(tmp_path / "gone"))
    monkeypatch.setenv("BART_TOOLBOX_PATH", str(tmp_path / "none"))
    finished = bart_tf_in_process("doctor")
    table = "".join(finished.stdout.split())
    assert finished.returncode == 1
    assert f"BART_TF_BARTSmustnameafolderwithBARTssuchas0.9.00/bart,received'{tmp_path / 'gone'}'" in table
    assert table.count(f"noBARTbinaryat{tmp_path / 'none'}") == 1  # it is missing, and no other BART as well


def test_doctor_waits_once_and_not_long_for_a_bart_that_does_not_answer(tmp_path):
    script, asked = tmp_path / "bart", tmp_path / "asked"
    script.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexec sleep 300\n')
    script.chmod(0o755)
    finished = bart_tf_in_process("doctor", "--bart", script)
    assert finished.returncode == 1
    table = "".join(finished.stdout.split())
    assert table.count(f"didnotendwithin10s;command:{script}version-V") == 1
    assert "BARTdoesnotwork:" in table
    assert asked.read_text() == "version -V\n"
