"""Readings are those of the GPUs that CUDA_VISIBLE_DEVICES names: beside others, a run must not count their work.

The driver's library is that of `nvml_of_two_gpus.c`; pynvml, the sampler and what stands above them are real.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compare.engines.create import create
from compare.measuring import nvidia
from tests.compare.conftest import bart_script

GIB = 2**30
UUIDS = ["GPU-11aa0000-0000-0000-0000-000000000000", "GPU-11bb0000-0000-0000-0000-000000000000"]
# A process on each GPU: this one's child on GPU 1, and another one's on GPU 0.
MEASURE = """
import json, os, sys, time
from pathlib import Path
from compare.measuring import machine, monitor, nvidia
from compare.running.submit import _local_gpu
folder = Path(os.environ["GPU_PROCESSES"])
gpus = nvidia.Gpus()
said = {"numbers": gpus.numbers, "names": gpus.names(), "reason": gpus.reason, "local": _local_gpu(0)}
command = ["/bin/sh", "-c", f"echo {os.getpid()} > {folder}/0; echo $$ > {folder}/1; sleep 0.5; rm {folder}/?"]
_, measurement = monitor.run(command, folder)
curve = {name: [value for value in values.tolist() if value == value] for name, values in measurement.curve.items()}
said |= {"peak": measurement.gpu_peak_bytes, "note": measurement.gpu_note, "curve": curve}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("nvml_of_two_gpus.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


def measured(driver, tmp_path, models="H200,H200", **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CUDA_")}
    environment |= {"LD_LIBRARY_PATH": str(driver), "GPU_PROCESSES": str(tmp_path), "GPU_MODELS": models} | variables
    done = subprocess.run([sys.executable, "-c", MEASURE], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("chosen", ["1", UUIDS[1], "GPU-11bb", " 1 ", "1,5,0"])
def test_the_named_gpu_is_read(driver, tmp_path, chosen):
    """GPU 0 starts to work at the same time, which must not show."""
    said = measured(driver, tmp_path, "H100,H200", CUDA_VISIBLE_DEVICES=chosen)
    assert (said["numbers"], said["names"], said["reason"]) == ([1], ["H200"], "")
    assert said["local"]["visible_gpus"] == [1]
    assert said["peak"] == 2 * GIB
    curve = said["curve"]
    assert set(curve["gpu_temperature_c"]) == {50}
    assert set(curve["gpu_power_w"]) == {200}
    assert set(curve["gpu_utilisation_percent"]) == {60}
    assert max(curve["gpu_device_bytes"]) == 2 * GIB


def test_a_process_is_found_on_its_gpu_where_all_are_visible(driver, tmp_path):
    said = measured(driver, tmp_path)
    assert (said["numbers"], said["peak"]) == ([0, 1], 2 * GIB)
    assert set(said["curve"]["gpu_power_w"]) == {200}
    assert max(said["curve"]["gpu_device_bytes"]) == 3 * GIB


@pytest.mark.parametrize("chosen", ["0", UUIDS[0]])
def test_a_process_on_another_gpu_is_none_of_the_visible(driver, tmp_path, chosen):
    said = measured(driver, tmp_path, CUDA_VISIBLE_DEVICES=chosen)
    assert (said["numbers"], said["peak"], said["curve"]["gpu_power_w"]) == ([0], None, [])


@pytest.mark.parametrize("chosen", ["-1", "", "2", "GPU-11", "NoDevFiles"])
def test_hidden_gpus_are_not_there(driver, tmp_path, chosen):
    said = measured(driver, tmp_path, CUDA_VISIBLE_DEVICES=chosen)
    assert (said["numbers"], said["names"], said["local"], said["peak"]) == ([], [], {}, None)
    assert said["note"] == f"n/a: no NVIDIA GPU (CUDA_VISIBLE_DEVICES is '{chosen}', the driver lists 2)"


def test_numbers_in_another_order_than_that_of_nvml_are_not_guessed(driver, tmp_path):
    order = {"CUDA_DEVICE_ORDER": "FASTEST_FIRST"}
    said = measured(driver, tmp_path, "H100,H200", CUDA_VISIBLE_DEVICES="1", **order)
    assert said["numbers"] == []
    reason = "n/a: CUDA_DEVICE_ORDER must be PCI_BUS_ID where CUDA_VISIBLE_DEVICES numbers GPUs of several models"
    assert said["note"] == reason
    assert measured(driver, tmp_path, "H100,H200", CUDA_VISIBLE_DEVICES=UUIDS[1], **order)["numbers"] == [1]
    assert measured(driver, tmp_path, "H200,H200", CUDA_VISIBLE_DEVICES="1", **order)["numbers"] == [1]


def test_parts_of_a_gpu_leave_all_gpus_visible():
    assert nvidia.visible(UUIDS, "MIG-5c1a") == [0, 1]


def test_engines_number_gpus_as_nvml_does(tmp_path, toolbox, monkeypatch):
    """The program itself says which order CUDA gets."""
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    says = "[ $1 = version ] && printf 'BART_VERSION=v1.0.00\\nCUDA=1\\n' && exit 0; env > " + str(tmp_path / "said")
    with_cuda = type(toolbox).find(bart_script(tmp_path, toolbox, says))

    def order_of_bart():
        engine = create("bart", "gpu", with_cuda)
        engine._run([str(with_cuda.path), "bitmask", "0"], tmp_path)
        lines = (tmp_path / "said").read_text().splitlines()
        return [line for line in lines if line.startswith("CUDA_DEVICE_ORDER=")]

    assert order_of_bart() == ["CUDA_DEVICE_ORDER=PCI_BUS_ID"]
    assert create("keras-tensorflow", "gpu", with_cuda)._environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert order_of_bart() == ["CUDA_DEVICE_ORDER=FASTEST_FIRST"]
