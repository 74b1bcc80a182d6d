"""The monitor reads what children are known to use."""

import os
import sys

import numpy as np
import pytest

from bart_bridge.errors import ToolError
from compare.measuring import machine, monitor
from compare.measuring.memory_sampling import level_before_growth
from compare.measuring.monitor import Measurement
from compare.running import records

MIB = 2**20
# A child that takes memory in equal steps and holds each level; fork says whether a child of it takes the last one.
STEPS = """
import os, sys, time
step, steps, fork = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "fork"
held = []
for number in range(steps):
    if fork and number == steps - 1:
        if os.fork():
            os.wait()
            break
    held.append(bytearray(b"x") * step)
    time.sleep(0.5)
"""


def child(tmp_path, code, *arguments, **options):
    return monitor.run([sys.executable, "-S", "-c", code, *map(str, arguments)], tmp_path, **options)


def before_growth(measurement):
    tolerance = 0.01 * measurement.peak_rss_bytes
    return level_before_growth(measurement.curve["seconds"], measurement.curve["rss_bytes"], tolerance)


@pytest.mark.parametrize("total_mib", [384, 512])
def test_known_amounts_are_read_in_peak_and_lower_bound(tmp_path, total_mib):
    total = total_mib * MIB
    _, measurement = child(tmp_path, STEPS, total // 4, 4, "alone")
    assert measurement.peak_rss_bytes == pytest.approx(total, rel=0.03)
    assert before_growth(measurement) == pytest.approx(total * 3 / 4, rel=0.03)
    assert measurement.ending == "exited with code 0"


def test_a_child_that_forks_is_counted_whole(tmp_path):
    """Pages that both share count once."""
    _, measurement = child(tmp_path, STEPS, 192 * MIB, 3, "fork")
    assert measurement.peak_rss_bytes == pytest.approx(3 * 192 * MIB, rel=0.03)
    assert before_growth(measurement) == pytest.approx(2 * 192 * MIB, rel=0.03)


def test_a_child_of_50_ms_is_not_lost(tmp_path):
    code = f"import time; x = bytearray(b'x') * (100 * {MIB}); time.sleep(0.02)"
    _, measurement = child(tmp_path, code)
    assert measurement.peak_rss_bytes == pytest.approx(100 * MIB, rel=0.15)
    assert measurement.elapsed_s > 0
    assert len(measurement.curve["rss_bytes"]) >= 1


def test_a_child_of_a_large_parent_is_small(tmp_path):
    held = np.ones(2**25)
    _, measurement = child(tmp_path, "pass")
    assert held.nbytes == 256 * MIB
    # None: less than the launcher had itself, so that nothing can be told.
    assert measurement.peak_rss_bytes is None or measurement.peak_rss_bytes < 50 * MIB


def test_a_killed_child_says_so(tmp_path):
    code = f"import os, signal, time; x = bytearray(b'x') * (200 * {MIB}); time.sleep(0.2); os.kill(os.getpid(), 9)"
    finished, measurement = child(tmp_path, code)
    assert finished.crashed
    written = records.write(tmp_path / "train-failed.json", {}, measurement, failed="killed")
    assert written["measurement"]["ending"] == "was ended by SIGKILL"
    assert written["measurement"]["peak_rss_bytes"] == pytest.approx(200 * MIB, rel=0.1)


def test_output_and_times_are_kept(tmp_path):
    lines = []
    finished, measurement = child(tmp_path, "sum(range(3_000_000)); print('done')", on_line=lines.append)
    assert finished.returncode == 0
    assert lines == ["done"]
    assert 0 < measurement.cpu_s <= measurement.elapsed_s * os.cpu_count()


def test_the_curve_is_kept_beside_the_record(tmp_path):
    _, measurement = child(tmp_path, STEPS, 20 * MIB, 3, "alone")
    records.write(tmp_path / "train.json", {}, measurement)
    with np.load(tmp_path / "train.npz") as curve:
        assert np.array_equal(curve["rss_bytes"], measurement.curve["rss_bytes"])
        # At least 10 samples in a second, also on a busy machine.
        assert np.median(np.diff(curve["seconds"])) < 0.1


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ([1, 1, 1, 1, 3, 3, 3, 3, 9, 9, 9], 3),
        ([1, 1, 1, 1, 4, 4, 4, 4, 2, 2, 2, 2, 9, 9], 4),
        ([1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9], 1),
        ([1, 2, 3, 4, 5, 6, 9], None),
        ([9, 9, 9, 9, 1, 1, 1, 1], None),
        ([np.nan, 5, 5, 5, 5, np.nan, 9], 5),
        ([np.nan, np.nan], None),
    ],
)
def test_the_level_before_the_last_growth(level, expected):
    seconds = 0.11 * np.arange(len(level))
    assert level_before_growth(seconds, np.array(level, float), tolerance=0.5) == expected


def test_without_a_gpu_its_memory_is_not_available_and_the_reason_is_given(tmp_path):
    if machine.gpus():
        pytest.skip("there is an NVIDIA GPU here")
    _, measurement = monitor.run(["true"], tmp_path)
    assert measurement.gpu_peak_bytes is None
    assert measurement.gpu_note.startswith("n/a: no NVIDIA GPU")
    assert np.isnan(measurement.curve["gpu_bytes"]).all()


def test_environment_reaches_the_child(tmp_path):
    finished, _ = monitor.run(["sh", "-c", "echo $COLOUR"], tmp_path, {"COLOUR": "green"})
    assert finished.stdout == ("green",)


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(ToolError, match="cannot be started"):
        monitor.run(["no-such-program"], tmp_path)


def test_processes_in_a_row_add_their_times_and_keep_the_larger_peak():
    curve = {"seconds": np.array([0.0, 0.5]), "rss_bytes": np.array([10.0, 30.0])}
    first = Measurement(1.0, 2.0, 30, None, "n/a", allocator_peak_bytes=3, curve=curve)
    second = Measurement(4.0, 5.0, 20, 7, "NVML", "exited with code 0", curve=curve)
    both = first.followed_by(second)
    assert both == Measurement(5.0, 7.0, 30, 7, "NVML", "exited with code 0", allocator_peak_bytes=3)
    assert both.curve["seconds"][[0, 1, 3, 4]] == pytest.approx([0, 0.5, 1, 1.5])


def test_records_belong_to_what_they_depend_on(tmp_path):
    path = tmp_path / "new" / "record.json"
    determinants = {"network": {"filters": 3, "kernel": (3, 3)}, "seed": 0}
    assert records.read(path, determinants) is None
    assert records.changes(path, determinants) == ""
    records.write(path, determinants, Measurement(1.0, 2.0, 3, None, "n/a"), loss=0.5)
    assert records.read(path, determinants)["measurement"]["peak_rss_bytes"] == 3
    other = {"network": {"filters": 4, "kernel": (3, 3)}, "weights": "a1"}
    assert records.read(path, other) is None
    reasons = ["network.filters changed from 3 to 4", "seed changed from 0 to nothing"]
    assert records.changes(path, other).split("; ") == [*reasons, "weights changed from nothing to a1"]
    path.write_text("{half a rec")
    assert records.read(path, determinants) is None
    assert records.changes(path, determinants) == "its record cannot be read"
    path.write_text('{"fingerprint": "0123456789abcdef"}')
    assert "of an earlier version of bart-tf" in records.changes(path, determinants)


def test_the_machine_is_described():
    description = machine.describe()
    assert description["cores"] >= 1
    assert f"{description['cores']} cores" in machine.label(description)
