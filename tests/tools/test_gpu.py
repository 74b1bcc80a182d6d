"""`make gpu` on a machine without an NVIDIA GPU, or with a driver that is too old: one line, and nothing is changed.

What it installs on a machine with one is tested there: by `bart-tf doctor`, which it ends with.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bart_bridge.tools.toolbox import Toolbox
from compare.measuring import machine
from tests.compare.conftest import bart_script, bart_tf

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = [
    "bash",
    "sh",
    "env",
    "dirname",
    "cat",
    "sed",
    "head",
    "cut",
    "cksum",
    "realpath",
    "mkdir",
    "flock",
    "rm",
    "python3",
]


@pytest.fixture
def checkout(tmp_path):
    """The scripts alone, with a PATH that has what they use but no nvidia-smi."""
    (tmp_path / "bin").mkdir()
    for name in PROGRAMS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    shutil.copytree(ROOT / "tools", tmp_path / "checkout" / "tools")
    return tmp_path


def run(checkout, *command):
    environment = {"PATH": str(checkout / "bin"), "HOME": os.environ["HOME"]}
    argv = ["bash", *command]
    return subprocess.run(argv, cwd=checkout / "checkout", env=environment, capture_output=True, text=True, check=False)


def content(checkout):
    return sorted(path.relative_to(checkout) for path in checkout.rglob("*"))


@pytest.mark.parametrize("command", [("tools/gpu",), ("tools/barts", "cuda")])
def test_without_a_gpu_it_says_so_and_changes_nothing(checkout, command):
    before = content(checkout)
    done = run(checkout, *command)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "no NVIDIA GPU: there is no nvidia-smi, which comes with the driver" in done.stderr
    assert content(checkout) == before


def test_a_driver_without_a_gpu_and_one_that_is_too_old(checkout):
    """The scripts ask nvidia-smi; this one answers as it does in both cases."""
    smi = checkout / "bin" / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    smi.chmod(0o755)
    before = content(checkout)
    done = run(checkout, "tools/gpu")
    assert (done.returncode, done.stderr) == (1, "gpu: no NVIDIA GPU: nvidia-smi lists none; nothing was changed\n")
    done = run(checkout, "tools/barts", "cuda")
    assert (done.returncode, done.stderr) == (1, "barts: no NVIDIA GPU: No devices were found\n")
    smi.write_text("#!/bin/sh\necho 470.82.01\n")
    done = run(checkout, "tools/barts", "cuda")
    old = "barts: the NVIDIA driver 470.82.01 is too old: CUDA 12 needs 525 or later\n"
    assert (done.returncode, done.stderr) == (1, old)
    assert content(checkout) == before


def test_what_a_gpu_lacks_is_a_line_each(toolbox, tmp_path):
    """Of the packages that are installed here, and of real BARTs with and without CUDA."""
    lines = machine.missing_for_gpu([toolbox])
    if machine.package_version("nvidia-cudnn-cu12") is None:
        assert "tensorflow has no CUDA from pip (nvidia-cudnn-cu12 is not installed)" in lines
    if machine.package_version("jax") is None:
        assert "jax is not installed" in lines
    assert ("no BART is built with CUDA" in lines) == (not toolbox.has_cuda)
    says = "[ $1 = version ] && printf 'BART_VERSION=v1.0.00\\nCUDA=1\\n' && exit 0"
    with_cuda = Toolbox.find(bart_script(tmp_path, toolbox, says))
    assert not any("BART" in line for line in machine.missing_for_gpu([toolbox, with_cuda]))


def test_doctor_asks_for_nothing_on_a_machine_without_a_gpu():
    if machine.gpus():
        pytest.skip("there is an NVIDIA GPU")
    assert "make gpu" not in bart_tf("doctor").stdout
