"""Energy is the integral of the power that was sampled, over gaps between processes too."""

import numpy as np
import pytest

from compare.measuring import memory_sampling
from compare.measuring.monitor import Measurement
from compare.results import cost_rows
from compare.running import records
from compare.running.run_files import Run


def measured(power_w, ending="exited with code 0", gpu_peak_bytes=10):
    power_w = np.array(power_w, float)
    curve = {name: np.full(power_w.size, np.nan) for name in memory_sampling.NAMES}
    curve |= {"seconds": 0.5 * np.arange(power_w.size), "gpu_power_w": power_w}
    return Measurement(5.0, 4.0, 100, gpu_peak_bytes, "NVML per process", ending=ending, curve=curve)


def costs(folder, phase, measurement, **details):
    run = Run(folder, "varnet", "bart")
    records.write(run.record(phase), {}, measurement=measurement, **details)
    return {metric: (value, why) for metric, value, _, why in cost_rows.costs_of_phase(run, phase)}


def test_of_a_training_in_two_processes(tmp_path):
    """100 W and then 300 W over half a second each, nothing while no process was on the GPU, then 50 W for a second."""
    rows = costs(tmp_path, "train", measured([np.nan, 100, 100, 300, np.nan, np.nan, 50, 50, 50]))
    value, definition = rows["gpu_energy"]
    assert value == pytest.approx(0.5 * 100 + 0.5 * 200 + 2 * 0.5 * 50)
    assert "integral of the power of the GPU by NVML" in definition
    assert "gpu_energy_slice" not in rows


def test_of_a_slice(tmp_path):
    rows = costs(tmp_path, "apply", measured([200, 200, 200]), slices=4)
    assert rows["gpu_energy"][0] == pytest.approx(200)
    assert rows["gpu_energy_slice"][0] == pytest.approx(50)


@pytest.mark.parametrize(
    ("measurement", "reason"),
    [
        (measured([np.nan, np.nan]), "n/a: NVML has no such reading here"),
        (measured([100, np.nan, 100]), "n/a: NVML has no such reading here"),
        (
            measured([100, 100], ending="exited with code 0, continued after 7 updates"),
            "n/a: continued after 7 updates",
        ),
    ],
)
def test_without_samples_or_of_a_training_that_continued_there_is_none(tmp_path, measurement, reason):
    assert costs(tmp_path, "train", measurement)["gpu_energy"] == (None, reason)
