import os
import sys

import pytest

from bart_bridge.errors import ToolError
from compare import machine, monitor, records
from compare.monitor import Measurement


def test_a_child_is_measured(tmp_path):
    code = "x = bytearray(300 * 2**20); sum(range(3_000_000)); print('done')"
    lines = []
    finished, measurement = monitor.run([sys.executable, "-S", "-c", code], tmp_path, on_line=lines.append)
    assert finished.returncode == 0
    assert lines == ["done"]
    assert measurement.peak_rss_bytes == pytest.approx(300 * 2**20, rel=0.1)
    assert 0 < measurement.cpu_s <= measurement.elapsed_s * os.cpu_count()


def test_without_a_gpu_its_memory_is_not_available_and_the_reason_is_given(tmp_path):
    if machine.gpus():
        pytest.skip("there is an NVIDIA GPU here")
    _, measurement = monitor.run(["true"], tmp_path)
    assert measurement.gpu_peak_bytes is None
    assert measurement.gpu_note.startswith("n/a: no NVIDIA GPU")


def test_environment_reaches_the_child(tmp_path):
    finished, _ = monitor.run(["sh", "-c", "echo $COLOUR"], tmp_path, {"COLOUR": "green"})
    assert finished.stdout == ("green",)


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(ToolError, match="cannot be started"):
        monitor.run(["no-such-program"], tmp_path)


def test_processes_in_a_row_add_their_times_and_keep_the_larger_peak():
    first, second = Measurement(1.0, 2.0, 30, None, "n/a"), Measurement(4.0, 5.0, 20, 7, "NVML")
    assert first.then(second) == Measurement(5.0, 7.0, 30, 7, "NVML")


def test_records_belong_to_what_they_depend_on(tmp_path):
    path = tmp_path / "new" / "record.json"
    identity = records.fingerprint(network={"filters": 3}, seed=0)
    assert records.read(path, identity) is None
    records.write(path, identity, Measurement(1.0, 2.0, 3, None, "n/a"), loss=0.5)
    assert records.read(path, identity)["measurement"]["peak_rss_bytes"] == 3
    assert records.read(path, records.fingerprint(network={"filters": 4}, seed=0)) is None
    path.write_text("{half a rec")
    assert records.read(path, identity) is None


def test_the_machine_is_described():
    description = machine.describe()
    assert description["cores"] >= 1
    assert f"{description['cores']} cores" in machine.label(description)
