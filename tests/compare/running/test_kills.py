"""Whatever ends an experiment: run again, it is complete and equal to one that nothing happened to."""

import os
import random
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from tests.compare.conftest import bart_tf
from tests.compare.running.disturbed import SHORT, check_equal, find_child, finish, kept_records, start

pytestmark = pytest.mark.slow
ROUNDS, KILLS = 4, 5  # 20 random moments


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("short") / "short.yaml"
    path.write_text(SHORT)
    return path


@pytest.fixture(scope="module")
def undisturbed(config, tmp_path_factory):
    """The folder, and how long it took."""
    folder = tmp_path_factory.mktemp("undisturbed") / "out"
    started_s = time.monotonic()
    finish(config, folder)
    return folder, time.monotonic() - started_s


def resume(config, folder, undisturbed):
    """Finish, and see that nothing is repeated and everything is there."""
    before = kept_records(folder)
    finish(config, folder)
    after = kept_records(folder)
    assert before.items() <= after.items()
    check_equal(folder, undisturbed[0])


def kill(process):
    """Kill a comparison, and wait until its children are gone too."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_killed_at_random_moments(config, undisturbed, tmp_path, seed):
    folder, moments = tmp_path / "out", random.Random(seed)
    for _ in range(KILLS):
        process = start(config, folder)
        time.sleep(moments.uniform(0, undisturbed[1] / 3))
        before = kept_records(folder)
        kill(process)
        assert before.items() <= kept_records(folder).items()
    resume(config, folder, undisturbed)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        pytest.param(signal.SIGKILL, ("tf_models.programs.worker", "train-job.json"), id="kill Keras"),
        pytest.param(signal.SIGTERM, ("tf_models.programs.worker", "train-job.json"), id="end Keras in an epoch"),
        pytest.param(signal.SIGKILL, ("reconet", "--train"), id="kill BART"),
    ],
)
def test_an_engine_is_killed(config, undisturbed, tmp_path, number, words):
    folder = tmp_path / "out"
    process = start(config, folder)
    child = find_child(process, *words)
    if number == signal.SIGTERM:
        while not (folder / "runs/varnet-keras-tensorflow/checkpoint/training.npz").exists():
            time.sleep(0.002)
    child.send_signal(number)
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "train 12 epochs: FAILED" in stderr
    resume(config, folder, undisturbed)


def test_the_watcher_of_an_engine_is_killed(config, undisturbed, tmp_path):
    folder = tmp_path / "out"
    process = start(config, folder)
    child = find_child(process, "tf_models.programs.worker", "train-job.json")
    child.parent().kill()
    _, stderr = process.communicate()
    assert process.returncode == 1
    assert "the launcher of the command was killed" in stderr
    assert not child.is_running()
    resume(config, folder, undisturbed)


@pytest.fixture
def mounted(tmp_path):
    """A small file system in memory; mount options can be changed."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    place = tmp_path / "mounted"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", place], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.decode().strip()}")
    yield place, lambda options: subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)
    subprocess.run(["umount", "--lazy", place], check=True)


# Full in the middle of the dataset, of BART's part, and of the part of Keras.
@pytest.mark.parametrize("part", [0.02, 0.1, 0.2, 0.35])
def test_a_full_disk(config, undisturbed, mounted, part):
    place, remount = mounted
    needed = sum(path.stat().st_blocks * 512 for path in undisturbed[0].rglob("*"))
    remount(f"size={int(needed * part)}")
    finished = bart_tf("compare", config, "-o", place / "out")
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    remount("size=100m")
    resume(config, place / "out", undisturbed)


def test_a_read_only_folder(config, undisturbed, mounted):
    place, remount = mounted
    remount("size=100m")
    shutil.copytree(undisturbed[0], place / "out")
    (place / "out/runs/varnet-bart/apply.json").unlink()
    before = kept_records(place / "out")
    remount("ro")
    finished = bart_tf("compare", config, "-o", place / "out")
    assert finished.returncode == 1
    assert "Read-only file system" in finished.stderr.splitlines()[-1]
    assert len(finished.stderr.splitlines()) == 1
    remount("rw")
    assert kept_records(place / "out") == before
    resume(config, place / "out", undisturbed)


def test_two_at_once_share_the_work(config, undisturbed, tmp_path):
    folder = tmp_path / "out"
    processes = [start(config, folder) for _ in range(2)]
    stderrs = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], stderrs
    done = [int(stderr.split(" steps done")[0].split()[-1]) for stderr in stderrs if " steps done" in stderr]
    assert sum(done) == 10
    check_equal(folder, undisturbed[0])
