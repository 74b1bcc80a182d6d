"""Two processes on one experiment, each of which needs what the other trains."""

import shutil

import yaml

from compare.running import locks
from compare.running.run_files import Run, exchange_phase
from tests.compare.conftest import start_bart_tf, wait_for


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
        wait_for(lambda: last.exists() or running.poll() is not None, "the last step")
        assert last.exists()
    _, said = running.communicate()
    assert running.returncode == 0, said
    assert bart.record(exchange_phase("keras-tensorflow")).exists()
