"""Engines that name a version of BART: which binary they are."""

import sys
from dataclasses import replace
from importlib.machinery import PathFinder

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError, ToolError
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.tools.toolbox import Toolbox
from compare.engines.create import create, toolbox_of, toolboxes_of
from compare.measuring import machine, memory_sampling
from compare.measuring.monitor import Measurement
from tests.compare.conftest import bart_script

NETWORK = VarNetSettings(iterations=1, filters=2, kernel_x=3, kernel_y=3, basis=5)


def of_version(toolbox, *version):
    return replace(toolbox, version=version)


@pytest.fixture
def barts(tmp_path, monkeypatch, toolbox):
    """A folder with two versions of BART; the binaries are the one in use and say another version."""
    for version in ("0.9.00", "1.0.00"):
        folder = tmp_path / "barts" / version
        folder.mkdir(parents=True)
        bart_script(folder, toolbox, f"[ $1 = version ] && echo BART_VERSION=v{version} && echo CUDA=0 && exit 0")
    monkeypatch.setenv("BART_TF_BARTS", str(tmp_path / "barts"))
    for variable in ("BART_TOOLBOX_PATH", "TOOLBOX_PATH"):
        monkeypatch.setenv(variable, "")
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path / "barts"


@pytest.mark.parametrize(
    ("name", "version"), [("bart-0.9", "0.9.00"), ("bart-1.0", "1.0.00"), ("bart-1.0.00", "1.0.00")]
)
def test_found_by_the_version(barts, toolbox, name, version):
    found = toolbox_of(name, {}, of_version(toolbox, 0, 7, 0))
    assert found.path == barts / version / "bart"
    engine = create(name, "cpu", found)
    assert (engine.name, engine.version) == (name, version)


def test_the_default_is_taken_where_it_has_the_version(barts, toolbox):
    """It may be one that only `--bart` names."""
    default = of_version(toolbox, 0, 9, 0)
    assert toolbox_of("bart-0.9", {}, default) is default
    assert toolbox_of("bart-1.0", {}, default).path == barts / "1.0.00" / "bart"


def test_a_binary_of_the_experiment_wins(barts, toolbox):
    own = barts / "1.0.00" / "bart"
    default = of_version(toolbox, 1, 0, 0)
    assert toolbox_of("bart-1.0", {"bart-1.0": own}, default).path == own
    with pytest.raises(InputError, match=r"bart_binaries: 'bart-0\.9' must be a BART 0\.9, received 1\.0\.00 at"):
        toolbox_of("bart-0.9", {"bart-0.9": own}, default)


@pytest.mark.parametrize("engines", [["bart", "bart-1.0"], ["keras-jax", "bart-lowmem", "bart-1.0.00-lowmem"]])
def test_one_binary_under_two_names_is_refused(barts, toolbox, engines):
    default = of_version(toolbox, 1, 0, 0)
    with pytest.raises(InputError) as raised:
        toolboxes_of(engines, {}, default)
    first, second = engines[-2:]
    assert str(raised.value) == (
        f"engines: '{first}' and '{second}' are one BART here, name it once (BART 1.0.00 at {toolbox.path})"
    )
    assert [*toolboxes_of(["bart", "bart-0.9", "bart-lowmem", "keras-jax"], {}, default)][1] == "bart-0.9"
    # Whoever gives a path may do so to compare a BART with itself.
    assert len(toolboxes_of(engines, {engines[-1].removesuffix("-lowmem"): barts / "1.0.00"}, default)) == len(engines)


@pytest.mark.parametrize("name", ["bart", "bart-cudnn", "keras-tensorflow"])
def test_other_engines_take_the_default(barts, toolbox, name):
    assert toolbox_of(name, {}, toolbox) is toolbox


def test_a_missing_version_says_what_to_do(barts, toolbox):
    with pytest.raises(ToolError) as raised:
        toolbox_of("bart-0.8", {}, of_version(toolbox, 0, 7, 0))
    assert str(raised.value) == (
        "engine 'bart-0.8': no BART 0.8 was found (found: 1.0.00, 0.9.00): make barts fetches 0.8, 0.9 and 1.0, "
        "or let BART_TF_BARTS name a folder with it"
    )


def test_records_name_version_build_and_blas(barts, toolbox):
    described = machine.software(
        {"bart": toolbox, "bart-0.9": toolbox_of("bart-0.9", {}, of_version(toolbox, 0, 7, 0))}
    )
    bart = described["bart"]["bart-0.9"]
    assert bart["version"] == "0.9.00"
    assert bart["build"] == {"CUDA": "0"}
    assert bart["blas"] == described["bart"]["bart"]["blas"]
    assert not bart["blas"].startswith("n/a")
    assert machine.built(described, "bart-0.9") == ("CUDA=0", bart["blas"])
    assert machine.built(described, "keras-tensorflow") == ("", "")
    # Records of version 0.2.0 have no BLAS.
    del bart["blas"]
    assert machine.built(described, "bart-0.9") == ("CUDA=0", "n/a: not in the record")
    assert machine.built({}, "bart") == ("", "")


def test_the_memory_of_a_process_with_pytorch_is_not_that_of_bart(tmp_path, toolbox, dataset_folder):
    says = "[ $1 = version ] && printf 'BART_VERSION=v1.0.00\\nBARTORCH=0.0.17\\nBLAS=MKL\\n' && exit 0"
    # A busy machine takes its first sample late, when the command itself would have ended.
    slow = "[ $1 = reconet ] && sleep 1"
    found = Toolbox.find(bart_script(tmp_path, toolbox, says, slow))
    split = Dataset.open(dataset_folder).split("test")
    weights.write(tmp_path / "weights", NETWORK, weights.initial(NETWORK, 0))
    used = create("bart", "cpu", found).apply(tmp_path, NETWORK, split, tmp_path / "weights", tmp_path / "images")
    assert used.elapsed_s > 0
    assert (used.peak_rss_bytes, used.baseline_rss_bytes) == (None, None)
    reason = "n/a: this BART is that of bartorch 0.0.17, whose process has PyTorch in its memory, too"
    assert used.rss_note == used.baseline_note == reason
    assert found.package == "bartorch 0.0.17"
    # The samples of the GPU stay, those of main memory do not.
    assert len(used.curve["seconds"])
    assert np.isnan(used.curve["rss_bytes"]).all()


def test_gpu_memory_of_a_process_with_pytorch_stands():
    curve = {name: np.array([1.0, 2.0]) for name in memory_sampling.NAMES}
    whole = Measurement(9.0, 8.0, 700, 600, "NVML", baseline_rss_bytes=50, allocator_note="n/a: none", curve=curve)
    used = whole.without_main_memory("n/a: PyTorch")
    assert (used.peak_rss_bytes, used.baseline_rss_bytes, used.rss_note) == (None, None, "n/a: PyTorch")
    assert (used.gpu_peak_bytes, used.gpu_note, used.elapsed_s, used.cpu_s) == (600, "NVML", 9.0, 8.0)
    np.testing.assert_array_equal(used.curve["gpu_bytes"], curve["gpu_bytes"])
    assert np.isnan(used.curve["rss_bytes"]).all()
    both = used.followed_by(used)
    assert (both.peak_rss_bytes, both.gpu_peak_bytes, both.rss_note) == (None, 600, "n/a: PyTorch")


def test_a_gpu_takes_the_bart_with_cuda(barts, toolbox):
    """Of two BARTs of a version, the one without CUDA comes first and is passed over."""
    with pytest.raises(ToolError, match=r"'bart-1\.0': no BART 1\.0 with CUDA was found .*: make gpu fetches it"):
        toolbox_of("bart-1.0", {}, of_version(toolbox, 1, 0, 0), "gpu")
    folder = barts / "1.0.00-cuda"
    folder.mkdir()
    bart_script(folder, toolbox, "[ $1 = version ] && printf 'BART_VERSION=v1.0.00\\nCUDA=1\\n' && exit 0")
    for name in ("bart-1.0", "bart-1.0-lowmem"):
        assert toolbox_of(name, {}, toolbox, "gpu").path == folder / "bart"
        assert toolbox_of(name, {}, toolbox).path == barts / "1.0.00" / "bart"
    assert create("bart-1.0-lowmem", "gpu", Toolbox.find(folder)).memory_plan == "lowmem"


@pytest.mark.parametrize(
    ("hidden", "message"),
    [
        ("tensorflow", "tensorflow is not installed, which bart-tf needs for the engine 'keras-tensorflow'"),
        ("keras", "keras is not installed, which bart-tf needs for the engine 'keras-tensorflow'"),
    ],
)
def test_what_an_engine_lacks_is_told_in_one_line(toolbox, monkeypatch, hidden, message):
    """No extra is named where none would bring it. What is installed here is hidden."""

    class Without(PathFinder):
        @classmethod
        def find_distributions(cls, context):
            return [] if context.name == hidden else super().find_distributions(context)

    others = [finder for finder in sys.meta_path if not hasattr(finder, "find_distributions")]
    monkeypatch.setattr(sys, "meta_path", [*others, Without])
    with pytest.raises(ToolError) as raised:
        create("keras-tensorflow", "cpu", toolbox)
    assert str(raised.value) == message
