"""The monitor on an NVIDIA GPU; docs/measuring.md says how to run this and what to look at."""

import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from compare.measuring import machine, monitor, nvidia
from compare.measuring.memory_sampling import GPU_TOLERANCE_BYTES, level_before_growth
from compare.results import table as results
from tests.compare.conftest import TINY, bart_tf

pytestmark = pytest.mark.skipif(not machine.gpus(), reason="there is no NVIDIA GPU here")

GIB = 2**30
# A CUDA program without CUDA's compiler: the driver's library, called directly. It says what its context takes, then
# allocates in equal steps and holds each.
CUDA = """
import ctypes, sys, time
cuda = ctypes.CDLL("libcuda.so.1")
def check(code):
    assert code == 0, code
device, context = ctypes.c_int(), ctypes.c_void_p()
check(cuda.cuInit(0))
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
check(cuda.cuCtxSetCurrent(context))
time.sleep(1)
for _ in range(int(sys.argv[2])):
    address = ctypes.c_uint64()
    check(cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(int(sys.argv[1]))))
    check(cuda.cuMemsetD8_v2(address, 1, ctypes.c_size_t(int(sys.argv[1]))))
    time.sleep(1)
"""


def gpu_run(tmp_path, step, steps):
    finished, measurement = monitor.run([sys.executable, "-c", CUDA, str(step), str(steps)], tmp_path)
    assert finished.returncode == 0, finished.stderr
    return measurement


@pytest.mark.parametrize("total_gib", [0.5, 2])
def test_known_amounts_are_read_above_the_context(tmp_path, total_gib):
    step = int(total_gib * GIB / 4)
    context = gpu_run(tmp_path, step, 0)
    if context.gpu_peak_bytes is None:
        pytest.fail(f"the driver does not tell the memory of processes: {context.gpu_note}")
    measurement = gpu_run(tmp_path, step, 4)
    assert measurement.gpu_peak_bytes - context.gpu_peak_bytes == pytest.approx(4 * step, rel=0.03)
    curve = measurement.curve
    before = level_before_growth(curve["seconds"], curve["gpu_bytes"], GPU_TOLERANCE_BYTES)
    assert before - context.gpu_peak_bytes == pytest.approx(3 * step, rel=0.03)


def test_state_and_rate(tmp_path):
    curve = gpu_run(tmp_path, GIB // 4, 2).curve
    assert np.median(np.diff(curve["seconds"])) <= 0.1
    plausible = {"gpu_temperature_c": (5, 110), "gpu_power_w": (1, 2000), "gpu_utilisation_percent": (0, 100)}
    for name, (low, high) in plausible.items():
        values = curve[name][np.isfinite(curve[name])]
        assert len(values), name
        assert low <= values.min(), name
        assert values.max() <= high, name


def test_another_process_is_not_counted(tmp_path):
    """The memory of a process is its own; that of the device is everybody's."""
    step, gpus = GIB // 8, nvidia.Gpus()
    context, before = gpu_run(tmp_path, step, 0), gpus.device_bytes()
    with subprocess.Popen([sys.executable, "-c", CUDA, str(step), "60"]) as other:
        try:
            deadline_s = time.monotonic() + 60
            while gpus.device_bytes() < before + GIB and time.monotonic() < deadline_s:
                time.sleep(0.1)
            assert gpus.process_bytes({other.pid})[0] > GIB // 2
            measurement = gpu_run(tmp_path, step, 2)
            assert other.poll() is None, "it must run until the end"
        finally:
            other.kill()
    assert measurement.gpu_peak_bytes - context.gpu_peak_bytes == pytest.approx(2 * step, rel=0.03)
    # The other one went on meanwhile.
    assert np.nanmax(measurement.curve["gpu_device_bytes"]) > measurement.gpu_peak_bytes + step


@pytest.mark.slow
def test_a_short_training_of_each_network_gives_its_memory_curve(tmp_path):
    """Keras alone, so that no BART with CUDA is needed; the dataset is made by any BART."""
    content = yaml.safe_load(TINY) | {"engines": ["keras-tensorflow"], "device": "gpu"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    finished = bart_tf("compare", tmp_path / "tiny.yaml", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    memory = results.read_memory(tmp_path / "out")
    table = results.read_results(tmp_path / "out")
    for network in ("varnet", "modl"):
        curve = memory[(memory.network == network) & (memory.phase == "train")].gpu_bytes.dropna()
        assert len(curve) > 10
        rows = table[(table.network == network) & (table.phase == "train")].set_index("metric").value
        assert rows["gpu_peak"] == curve.max()
        assert 0 < rows["allocator_peak"] < rows["gpu_peak"]
        assert (tmp_path / "out" / "figures" / f"{network}-memory-train.png").exists()
    assert pd.notna(table[table.metric == "gpu_power_max"].value).any()
