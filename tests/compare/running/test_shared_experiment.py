"""Two processes on one experiment, each of which needs what the other trains."""

import shutil
import time

import yaml

from compare.running import locks
from compare.running.run_files import Run, exchange_phase
from tests.compare.conftest import start_bart_tf


def test_a_reconstruction_waits_for_weights_that_another_process_trains(tiny, tmp_path):
    folder = shutil.copytree(tiny[0], tmp_path / "out")
    config = folder / "experiment.yaml"
    settings = yaml.safe_load(config.read_text()) | {"exchange_weights": True}
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    keras, bart = Run(folder, "varnet", "keras-tensorflow"), Run(folder, "varnet", "bart")
    last = Run(folder, "modl", "keras-tensorflow").record(exchange_phase("bart"))
    keras.record("train").unlink()
    with locks.held(keras.folder):
        running = start_bart_tf("compare", config, "-o", folder)
        end_s = time.monotonic() + 200
        while not last.exists() and running.poll() is None and time.monotonic() < end_s:
            time.sleep(0.1)
        assert last.exists()
    _, said = running.communicate()
    assert running.returncode == 0, said
    assert bart.record(exchange_phase("keras-tensorflow")).exists()
