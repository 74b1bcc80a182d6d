"""Whether the validation after an epoch is in the times of the epoch: `compare.study.rows` says that it is not."""

import numpy as np
import pytest
import yaml

from tests.compare.conftest import bart_of, bart_tf_undrawn

BARTS = ["bart-0.8", "bart-0.9", "bart-1.0"]
# The validation has twenty-five times the slices of a batch.
EXPERIMENT = """
name: validation
dataset: {simulate: {size: 32, coil_count: 2, train: 6, validation: 50, test: 2}}
networks:
  varnet:
    network: {kind: varnet, iterations: 2, filters: 4, kernel_x: 5, kernel_y: 5, basis: 7}
    training: {algorithm: sgd, learning_rate: 0.1, batch_size: 2, epochs: 4}
baselines: []
validate_epochs: true
inference_calls: 1
"""


@pytest.mark.barts
def test_no_engine_counts_the_validation_to_the_epoch(tmp_path):
    for name in BARTS:
        bart_of(name)
    engines = [*BARTS, "keras-tensorflow"]
    (tmp_path / "validation.yaml").write_text(yaml.safe_dump(yaml.safe_load(EXPERIMENT) | {"engines": engines}))
    finished = bart_tf_undrawn("compare", tmp_path / "validation.yaml", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    for engine in engines:
        with np.load(tmp_path / f"out/runs/varnet-{engine}/history.npz") as history:
            steps_s = np.diff(history["stage1_seconds"], axis=1)[1:]
            assert np.isfinite(history["stage1_nmse mag"][:, -1]).all()
        assert np.median(steps_s[:, -1]) < 4 * np.median(steps_s[:, :-1]), engine
