"""The memory of a short command: that of all its processes together."""

import sys

from compare.measuring.memory_sampling import high_water_bytes

MIB = 2**20
HOLD = f"import time; held = b'x' * {40 * MIB}; time.sleep(0.5)"


def test_processes_side_by_side_count_together(tmp_path):
    both = '"$0" -S -c "$1" & "$0" -S -c "$1"; wait'
    alone = high_water_bytes([sys.executable, "-S", "-c", HOLD], tmp_path, {})
    together = high_water_bytes(["/bin/sh", "-c", both, sys.executable, HOLD], tmp_path, {})
    assert 40 * MIB <= alone < 80 * MIB
    # The interpreter's own pages are shared, what each holds is not.
    assert 80 * MIB <= together < 2 * alone


def test_a_command_that_fails_has_none(tmp_path):
    assert high_water_bytes(["false"], tmp_path, {}) is None
