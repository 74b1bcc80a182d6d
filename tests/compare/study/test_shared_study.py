"""Several processes on one study: they share its trainings, and each ends with the same tables."""

import re
import shutil

import pytest
import yaml

from compare.running import locks
from compare.study import rows
from tests.compare.conftest import bart_tf, start_bart_tf, wait_for
from tests.compare.study.conftest import TWO_EACH

TRAINED = re.compile(r"\[\d+/\d+\] (\S+ on \S+): train 3 epochs; all steps")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(TWO_EACH, sort_keys=False))
    return tmp_path / "study.yaml"


def test_two_processes_train_each_network_once(config, tmp_path):
    folder = tmp_path / "out"
    command = ("optimizers", config, "-o", folder)
    with start_bart_tf(*command) as first, start_bart_tf(*command) as second:
        said = [process.communicate() for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], said
    trained = [TRAINED.findall(stderr) for _, stderr in said]
    # 6 candidates; with the chosen settings, 2 networks in BART from three seeds, 3 in Keras from two more.
    assert len(trained[0]) + len(trained[1]) == 6 + 3 * 2 + 2 * 3
    assert all(trained)
    _, choices, results, _ = rows.read(folder)
    assert choices["choices"]["varnet-adam"]["scores"][1] is None  # it diverged, and both knew
    assert results.groupby("engine").size().to_dict() == {"bart": 6, "keras-tensorflow": 9}
    assert results.step_s.gt(0).all()


def test_what_diverged_is_not_trained_again(interrupted, config, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    finished = bart_tf("optimizers", config, "-o", folder)
    assert finished.returncode == 0, finished.stderr
    message = r"varnet-adam-1 on keras-tensorflow: train 3 epochs: not tried again, it diverged at update \d: "
    assert re.search(message, finished.stderr)
    assert "varnet-adam-1" not in " ".join(TRAINED.findall(finished.stderr))


def test_a_process_trains_the_next_seed_while_another_has_a_run(interrupted, config, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    with start_bart_tf("optimizers", config, "-o", folder) as running:
        with locks.held(folder / "seed1-bart/runs/varnet-adam-bart"):
            trained = folder / "seed2-keras-tensorflow/runs/varnet-admm-keras-tensorflow/train.json"
            wait_for(lambda: trained.exists() or running.poll() is not None, "the training of the next seed")
            assert trained.exists()
        _, said = running.communicate()
    assert running.returncode == 0, said
    assert len(rows.read(folder)[2]) == 15


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"seeds": [0, 5, 6]}, "seeds changed from [0, 1, 2] to [0, 5, 6]"),
        ({"dataset": {"simulate": TWO_EACH["dataset"]["simulate"] | {"seed": 4}}}, "seed changed from 3 to 4"),
    ],
)
def test_another_study_is_rejected_while_a_process_trains(changes, changed, interrupted, config, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    config.write_text(yaml.safe_dump(TWO_EACH | changes))
    before = (folder / "study.yaml").read_text()
    with locks.held(folder / "seed1-bart/runs/varnet-adam-bart"):
        finished = bart_tf("optimizers", config, "-o", folder)
    assert finished.returncode == 1
    assert "another process works on it, with other settings" in finished.stderr
    assert changed in " ".join(finished.stderr.split())
    assert (folder / "study.yaml").read_text() == before
    assert not (folder / "tuning/older").exists()


def test_a_process_whose_folder_got_another_study_writes_no_tables(interrupted, config, tmp_path):
    folder = shutil.copytree(interrupted, tmp_path / "out")
    with start_bart_tf("optimizers", config, "-o", folder) as running:
        next(line for line in running.stderr if TRAINED.search(line))
        before = (folder / "results.csv").read_bytes()
        (folder / "study.yaml").write_text(yaml.safe_dump(TWO_EACH | {"seeds": [0, 5, 6]}))
        _, said = running.communicate()
    assert running.returncode == 2
    assert f"error: {folder}: another process gave it other settings (seeds" in " ".join(said.split())
    assert (folder / "results.csv").read_bytes() == before
