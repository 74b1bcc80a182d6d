"""Trainings that are stopped or killed and go on: the same weights to the last bit, and the whole history."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset, Split
from bart_bridge.files import cfl
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training, stages
from tf_models.programs.worker import TrainJob
from tf_models.training.checkpoint import fingerprint

VARNET = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=3, basis=5)
MODL = ModlSettings(iterations=2, layers=3, filters=2, max_cg_iterations=3)
TRAINING = Training(batch_size=1, epochs=3)
ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    **dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"),
}
# Trains without a stop, and with one after every update in turn, and says where the results differ.
IN_TURN = """
import sys
from pathlib import Path
import numpy as np
from bart_bridge.reconet import weights
from bart_bridge.reconet.training_settings import stages
from tf_models.training.checkpoint import Checkpoints, StoppedError
from tf_models.training.batches import TrainingData
from tf_models.training.fit import Execution, train
from tf_models.training.history import Hooks
from tf_models.programs.worker import TrainJob

for number, line in enumerate(sys.stdin):
    job = TrainJob.model_validate_json(line)
    initial = weights.read(job.initial, stages(job.network, job.training)[0][0])

    def run(checkpoints=None, stop_after=0):
        done = []
        def on_batch(progress):
            done.append(progress)
            if checkpoints and len(done) == stop_after:
                checkpoints.stop_requested = True
        data, execution = TrainingData(job.split, job.validation), Execution(job.memory, checkpoints=checkpoints)
        model, histories = train(job.network, job.training, data, initial, execution, Hooks(on_batch))
        return model.named_weights(), histories, done

    expected, histories, all_updates = run()
    folder = Path(f"{job.checkpoint}-{number}")
    stops = 0
    while True:
        try:
            found, again, done = run(Checkpoints(folder, "same"), 2 if stops else 1)
            break
        except StoppedError:
            stops += 1
    wanted = len(all_updates) // 2
    assert stops >= wanted, (stops, wanted)
    for name, values in expected.items():
        assert np.array_equal(values, found[name]), (number, name, np.abs(values - found[name]).max())
    for stage, same in zip(histories, again, strict=True):
        assert stage.keys() == same.keys()
        for name in stage.keys() - {"seconds"}:
            assert np.array_equal(stage[name], same[name], equal_nan=True), (number, name, stage[name], same[name])
        assert (np.diff(same["seconds"], axis=1) > 0).all()
    print("equal", number, flush=True)
"""
# Runs the workers of several jobs, one after the other.
ONE_AFTER_THE_OTHER = """
import sys
from tf_models.programs import worker

for file in sys.argv[1:]:
    sys.argv = ["worker", file]
    assert worker.main() == 0
    print("end of job", flush=True)
"""


@pytest.fixture
def job(dataset_folder, tmp_path):
    """A function that makes a job in a folder of its own."""
    dataset = Dataset.open(dataset_folder)

    def make(network=VARNET, training=TRAINING, name="run", **options):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        first = stages(network, training)[0][0]
        weights.write(folder / "initial", first, weights.random(first, 0))
        return TrainJob(
            network=network,
            training=training,
            split=dataset.split("train"),
            initial=folder / "initial",
            output=folder / "weights.keras",
            histories=[folder / f"history-{number}.npz" for number in range(len(stages(network, training)))],
            checkpoint=folder / "checkpoint",
            report=folder / "report.json",
            **options,
        )

    return make


def start(job):
    """Start a worker."""
    file = job.output.with_name("job.json")
    file.write_text(job.model_dump_json())
    argv = [sys.executable, "-m", "tf_models.programs.worker", str(file)]
    return subprocess.Popen(
        argv, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )


def end_after(child, line, number):
    """Send a signal when a line was printed; return the code and everything that was said."""
    said = []
    with child:
        for text in child.stdout:
            said.append(text)
            if line in text:
                child.send_signal(number)
                line = "never again"
        error = child.stderr.read()
    return child.returncode, "".join(said), error


def finish(job):
    """Run a worker to its end and return the weights, the histories and what it said."""
    child = start(job)
    stdout, stderr = child.communicate()
    assert child.returncode == 0, stderr
    return *results(job), stdout


def finish_all(*jobs):
    """Run several workers to their ends, in one process; return for each what `finish` does."""
    files = [job.output.with_name("job.json") for job in jobs]
    for file, job in zip(files, jobs, strict=True):
        file.write_text(job.model_dump_json())
    argv = [sys.executable, "-c", ONE_AFTER_THE_OTHER, *map(str, files)]
    finished = subprocess.run(argv, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    *said, rest = finished.stdout.split("end of job\n")
    assert not rest
    return [(*results(job), text) for job, text in zip(jobs, said, strict=True)]


def results(job):
    """Return the weights of a job that is done, and its histories."""
    from tf_models.files.model_files import load

    return load(job.output).named_weights(), [dict(np.load(path)) for path in job.histories]


def check_equal(found, expected):
    for name, values in expected[0].items():
        assert np.array_equal(found[0][name], values), name
    for stage, same in zip(expected[1], found[1], strict=True):
        assert stage.keys() == same.keys()
        for name in stage.keys() - {"seconds"}:
            np.testing.assert_array_equal(same[name], stage[name])


@pytest.mark.slow
def test_every_optimizer_goes_on_where_it_was_stopped(job, dataset_folder):
    """A stop after the first update and after every second one from there, in epochs and at their ends."""
    validation = Dataset.open(dataset_folder).split("validation")
    falling = {"final_learning_rate": 1e-4, "warmup_epochs": 1}
    jobs = [
        job(training=TRAINING.model_copy(update={"algorithm": "sgd", "weight_decay": 0.1, **falling})),
        job(MODL, Training(epochs=2, pretraining_epochs=1, batch_size=2), "adam", validation=validation, memory="lean"),
        job(training=Training(epochs=3, batch_size=2, adam_reset_epochs=2, **falling), name="reset", memory="lean"),
        job(training=Training(epochs=2, algorithm="ipalm", batch_size=2), name="ipalm"),
        job(
            training=Training(epochs=3, algorithm="admm", admm={"dual_interval": 2, "balancing": True}, batch_size=2),
            name="admm",
            validation=validation,
        ),
        job(MODL, Training(epochs=2, precision="mixed_float16", batch_size=1), "mixed"),
    ]
    finished = subprocess.run(
        [sys.executable, "-c", IN_TURN],
        input="".join(job.model_dump_json() + "\n" for job in jobs),
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert finished.stdout.count("equal") == len(jobs)


def test_sigterm_in_an_epoch_leaves_a_checkpoint_of_the_running_batch(job):
    """In the second stage; epochs are counted through all stages and interruptions."""
    training = TRAINING.model_copy(update={"pretraining_epochs": 1})
    stopped = job(MODL, training)
    code, before, error = end_after(start(stopped), "#3->2/4;", signal.SIGTERM)
    assert code == 75, error
    epochs, batches = map(int, re.search(r"in stage 2 after (\d) epochs? and (\d) of 4 batches", error).groups())
    done = 4 * (1 + epochs) + batches
    assert len(re.findall("#.->", before)) == done
    assert not stopped.output.exists()
    # The checkpoint is kept until the result is in safety: the training is complete at once.
    complete = job(MODL, training, name="complete").model_copy(update={"checkpoint": stopped.checkpoint})
    undisturbed = job(MODL, training, name="undisturbed")
    (*found, after), (*again, said), (*expected, _) = finish_all(stopped, complete, undisturbed)
    assert f"continues after {done} updates" in after
    updates = [(int(epoch), int(batch)) for epoch, batch in re.findall(r"#(\d+)->(\d+)/4;", before + after)]
    assert updates == [(epoch, batch) for epoch in (1, 2, 3, 4) for batch in (1, 2, 3, 4)]
    check_equal(found, expected)
    report = json.loads(stopped.report.read_text())
    assert report["continued_from"] == done
    assert report["earlier_s"] > 0
    assert report["earlier_cpu_s"] > 0
    assert "continues after 16 updates" in said
    assert "#" not in said
    check_equal(again, expected)


@pytest.mark.slow
def test_killed_between_checkpoints(job):
    expected = finish(job(name="undisturbed"))
    killed = job()
    code, _, _ = end_after(start(killed), "#3->2/4;", signal.SIGKILL)
    assert code == -signal.SIGKILL
    *found, said = finish(killed)
    assert "continues after 8 updates" in said
    check_equal(found, expected)


@pytest.mark.slow
def test_checkpoint_of_other_settings_or_data_or_a_damaged_one_is_not_used(job):
    assert end_after(start(job()), "#2->4/4;", signal.SIGTERM)[0] == 75
    other = job(training=TRAINING.model_copy(update={"learning_rate": 0.002}))
    expected = finish(job(training=other.training, name="undisturbed"))
    *found, said = finish(other)
    assert "not used, it is of another training" in said
    check_equal(found, expected)
    file = other.checkpoint / "training.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    *found, said = finish(other)
    assert "not used, it cannot be read" in said
    check_equal(found, expected)


def test_a_checkpoint_belongs_to_the_content_of_the_data(job, tmp_path):
    """Where it lies and when it was copied there does not matter."""
    made = job()
    copy = Split.in_folder(shutil.copytree(made.split.kspace.parent, tmp_path / "copy"))
    before = fingerprint(made.initial, [made.split], {})
    assert fingerprint(made.initial, [copy], {}) == before
    cfl.write(copy.pattern, 2 * np.array(cfl.read(copy.pattern)))
    assert fingerprint(made.initial, [copy], {}) != before


@pytest.mark.slow
def test_without_room_for_a_checkpoint_it_ends_at_once_and_keeps_the_last_one(job):
    """With files of at most 1 KiB, as on a full disk."""
    expected = finish(job(name="undisturbed"))
    full = job()
    file = full.output.with_name("job.json")
    file.write_text(full.model_dump_json())
    limited = ["bash", "-c", f"ulimit -f 1; exec {sys.executable} -m tf_models.programs.worker {file}"]
    finished = subprocess.run(limited, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    said = finished.stderr.splitlines()[-1]
    assert (
        said
        == f"{full.checkpoint}/training.npz: the checkpoint cannot be written (File too large); the last one is kept"
    )
    assert list(full.checkpoint.iterdir()) == []
    assert re.findall("#(.)->", finished.stdout) == ["1"] * 4
    *found, _ = finish(full)
    check_equal(found, expected)


def test_weights_and_optimizer_are_in_one_file_that_is_always_whole(job, tmp_path):
    """It is read again and again while it is being replaced."""
    child = start(job(training=TRAINING.model_copy(update={"epochs": 400, "batch_size": 4})))
    file = tmp_path / "run" / "checkpoint" / "training.npz"
    stop_s = time.monotonic() + 300
    seen = set()
    while len(seen) < 20 and time.monotonic() < stop_s and child.poll() is None:
        if file.exists():
            with np.load(file) as content:
                seen.add(len(content["history_0_loss"]))
                assert content["variable_00000"].size
        else:
            time.sleep(0.01)  # so as not to slow down the start of the child
    child.kill()
    child.communicate()
    assert len(seen) == 20
