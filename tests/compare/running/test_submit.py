"""Experiments as jobs: on this machine, and on a real Slurm with one node."""

import json
import subprocess

import pandas as pd
import psutil
import pytest
import yaml

from compare.results import table as results
from compare.settings.experiment import load
from tests.compare.conftest import TINY, bart_tf, bart_tf_in_process, wait_for
from tests.compare.running.disturbed import SHORT, check_equal, finish, kept_records
from tests.compare.running.slurm_cluster import cluster, why_not

# Keras trains for seconds, so that it can be met in the middle.
MATRIX = yaml.safe_load(TINY) | {"threads": 1, "inference_calls": 2, "slurm": {"time_min": 10, "warning_s": 30}}
MATRIX["networks"]["modl"]["training"] |= {"epochs": 60}
MODL = "runs/modl-keras-tensorflow"


def test_without_slurm_it_says_so(tmp_path, toolbox, monkeypatch):
    config = tmp_path / "short.yaml"
    config.write_text(SHORT)
    with monkeypatch.context() as nowhere:
        nowhere.setenv("PATH", str(tmp_path))
        nowhere.setenv("BART_TOOLBOX_PATH", str(toolbox.path))
        finished = bart_tf_in_process("compare", config, "-o", tmp_path / "out", "--on", "slurm")
    assert finished.returncode == 2
    assert finished.stderr == "error: --on slurm: there is no Slurm here ('sbatch' is not on PATH)\n"
    assert not (tmp_path / "out").exists()
    status = bart_tf_in_process("jobs", "status", config, "-o", tmp_path / "out")
    assert status.returncode == 0, status.stderr
    assert "varnet-bart" in status.stdout
    assert "not submitted" in status.stdout
    resumed = bart_tf_in_process("jobs", "resume", config, "-o", tmp_path / "out")
    assert resumed.returncode == 2
    assert "nothing was submitted yet; --on local or --on slurm is needed" in resumed.stderr


def test_the_block_of_slurm_is_checked(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text(SHORT + "slurm: {time_min: 1, warning_s: 90}\n")
    finished = bart_tf_in_process("compare", config, "-o", tmp_path / "out")
    assert finished.returncode == 2
    assert "warning_s must be less than time_min" in finished.stderr
    finished = bart_tf_in_process("compare", config, "--jobs", 2)
    assert "--jobs needs --on" in finished.stderr


def test_results_of_other_settings_are_not_told_as_those_of_this_experiment(tiny, tmp_path):
    config, table = tmp_path / "tiny.yaml", tiny[0] / "results.csv"
    before = table.read_bytes()
    for change, exit_code in (("seed: 7\n", 2), ("slurm: {cpus: 3}\n", 0)):
        config.write_text(TINY + change)
        status = bart_tf_in_process("jobs", "status", config, "-o", tiny[0])
        assert (status.returncode, "seed changed from 0 to 7" in status.stderr) == (exit_code, bool(exit_code))
    config.write_text(TINY + "seed: 7\n")
    assert bart_tf_in_process("jobs", "collect", config, "-o", tiny[0]).returncode == 2
    assert table.read_bytes() == before


def test_nothing_is_collected_where_nothing_was_run(tiny_config, tmp_path):
    finished = bart_tf_in_process("jobs", "collect", tiny_config, "-o", tmp_path / "out")
    assert finished.returncode == 2
    assert finished.stderr == f"error: {tmp_path}/out: not an experiment's folder, there is no experiment.yaml\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_records_of_several_machines_become_one_table(tiny, tmp_path):
    """Records say where they were made; that of one run is changed to another machine and another software."""
    folder = tmp_path / "out"
    subprocess.run(["cp", "-r", tiny[0], folder], check=True)
    for phase in ("initial", "train", "apply", "infer"):
        path = folder / f"runs/modl-bart/{phase}.json"
        record = json.loads(path.read_text())
        record["machine"] |= {"processor": "Another processor", "cores": 96}
        record["engine_version"] = "0.9.00"
        path.write_text(json.dumps(record))
    collected = bart_tf("jobs", "collect", folder)
    assert collected.returncode == 0, collected.stderr
    table = results.read_results(folder)
    elsewhere = (table.network == "modl") & (table.engine == "bart")
    assert table[elsewhere].machine.str.startswith("Another processor, 96 cores").all()
    assert (table[elsewhere].engine_version == "0.9.00").all()
    here = results.read_results(tiny[0])
    pd.testing.assert_frame_equal(table[~elsewhere], here[~elsewhere])
    assert set(here.machine) == set(table[~elsewhere].machine)
    assert len(json.loads((folder / "machine.json").read_text())["others"]) == 1
    page = (folder / "index.html").read_text()
    assert "Another processor, 96 cores" in page
    assert "Machine 2" in page


@pytest.mark.slow
def test_a_run_without_a_record_is_named(tiny, tmp_path):
    folder = tmp_path / "out"
    subprocess.run(["cp", "-r", tiny[0], folder], check=True)
    (folder / "runs/modl-bart/infer.json").unlink()
    collected = bart_tf("jobs", "collect", folder)
    assert collected.returncode == 1
    assert "1 run is not complete: modl-bart" in collected.stderr
    assert "modl-bart                not submitted  3 of 4 steps" in bart_tf("jobs", "status", folder).stdout


@pytest.mark.slow
def test_jobs_on_this_machine(tmp_path):
    config = tmp_path / "short.yaml"
    config.write_text(SHORT)
    finish(config, tmp_path / "alone")
    finished = bart_tf("compare", config, "-o", tmp_path / "jobs", "--on", "local", "--jobs", 2)
    assert finished.returncode == 0, finished.stderr
    logs = [path.read_text() for path in (tmp_path / "jobs/jobs").glob("*_log.err")]
    assert len(logs) == 2
    subprocess.run(["rm", "-r", tmp_path / "jobs/jobs"], check=True)
    check_equal(tmp_path / "jobs", tmp_path / "alone")


@pytest.fixture(scope="module")
def slurm():
    if why_not():
        pytest.skip(why_not())
    with cluster() as environment:
        yield environment


@pytest.fixture
def matrix(tmp_path):
    path = tmp_path / "matrix.yaml"
    path.write_text(yaml.safe_dump(MATRIX))
    return path


def queue(environment):
    argv = ["squeue", "--noheader", "--array", "--format=%i %T"]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.split()


def job_of(folder, name):
    entries = json.loads((folder / "jobs/jobs.json").read_text())
    return next(
        entry["job_id"]
        for entry in reversed(entries)
        if ["-".join(part).strip("-") for part in entry["parts"]] == [name]
    )


def process_of(job):
    """Find the process that Slurm started for a task of an array."""
    array, task = job.split("_")
    for process in psutil.process_iter():
        try:
            variables = process.environ() if "submitit.core._submit" in process.cmdline() else {}
        except psutil.Error:
            continue
        found = variables.get("SLURM_ARRAY_JOB_ID"), variables.get("SLURM_ARRAY_TASK_ID")
        if found == (array, task) and "SLURM_PROCID" in variables and "python" in process.name():
            return process
    raise AssertionError(f"no process of job {job}")


@pytest.mark.slow
def test_a_matrix_on_slurm_with_a_job_cancelled_and_one_killed(slurm, matrix, tmp_path):
    folder, alone = tmp_path / "slurm", tmp_path / "alone"
    submitted = bart_tf("compare", matrix, "-o", folder, "--on", "slurm", env=slurm)
    assert submitted.returncode == 0, submitted.stderr
    again = bart_tf("compare", matrix, "-o", folder, "--on", "slurm", env=slurm)
    assert "not submitted again" in again.stderr
    assert len(json.loads((folder / "jobs/jobs.json").read_text())) == 5

    killed = folder / "runs/varnet-keras-tensorflow"
    wait_for((killed / "initial.json").exists, "varnet on Keras")
    process_of(job_of(folder, "varnet-keras-tensorflow")).kill()
    wait_for((folder / MODL / "checkpoint/training.npz").exists, "a checkpoint of modl on Keras")
    subprocess.run(["scancel", job_of(folder, "modl-keras-tensorflow")], env=slurm, check=True)
    wait_for(lambda: not queue(slurm), "the end of all jobs")

    status = bart_tf("jobs", "status", matrix, "-o", folder, env=slurm)
    states = {line.split()[0]: line.split()[1] for line in status.stdout.splitlines() if not line.startswith(" ")}
    assert states == {
        "references": "done",
        "varnet-bart": "done",
        "varnet-keras-tensorflow": "stopped",
        "modl-bart": "done",
        "modl-keras-tensorflow": "stopped",
    }, status.stdout
    assert "log: " in status.stdout
    assert bart_tf("jobs", "collect", folder, env=slurm).returncode == 1
    before = kept_records(folder)

    one = bart_tf("jobs", "resume", folder, "--only", "varnet-keras-tensorflow", env=slurm)
    assert "submitted: 1 run" in one.stdout, one.stderr
    other = bart_tf("jobs", "resume", matrix, "-o", folder, env=slurm)
    assert "submitted: 1 run" in other.stdout, other.stderr
    wait_for(lambda: not queue(slurm), "the end of the resumed jobs")
    collected = bart_tf("jobs", "collect", folder, env=slurm)
    assert collected.returncode == 0, collected.stderr
    assert before.items() <= kept_records(folder).items()
    assert "continued after" in json.loads((folder / MODL / "train.json").read_text())["measurement"]["ending"]

    subprocess.run(["rm", "-r", folder / "jobs"], check=True)
    finish(matrix, alone)
    check_equal(folder, alone)


@pytest.mark.slow
def test_a_pre_empted_job_goes_on_by_itself(slurm, matrix, tmp_path):
    """The signal that Slurm sends before the end of a job's time, or before somebody else gets the node."""
    content = MATRIX | {"engines": ["keras-tensorflow"], "networks": {"modl": MATRIX["networks"]["modl"]}}
    matrix.write_text(yaml.safe_dump(content))
    folder = tmp_path / "slurm"
    assert bart_tf("compare", matrix, "-o", folder, "--on", "slurm", env=slurm).returncode == 0
    job = job_of(folder, "modl-keras-tensorflow")
    wait_for((folder / MODL / "checkpoint/training.npz").exists, "a checkpoint")
    subprocess.run(["scancel", "--signal=USR2", job], env=slurm, check=True)
    wait_for(lambda: [job, "PENDING"] == queue(slurm)[:2], "the return to the queue")
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], env=slurm, check=False)
    wait_for((folder / MODL / "infer.json").exists, "the end of the job")
    collected = bart_tf("jobs", "collect", folder, env=slurm)
    assert collected.returncode == 0, collected.stderr
    assert "continued after" in json.loads((folder / MODL / "train.json").read_text())["measurement"]["ending"]
    assert len(json.loads((folder / "jobs/jobs.json").read_text())) == 2


def test_a_folder_is_an_experiment_again(tmp_path):
    """`jobs` commands read the configuration that a folder keeps, with the block `slurm`."""
    config = tmp_path / "matrix.yaml"
    config.write_text(yaml.safe_dump(MATRIX))
    kept = tmp_path / "experiment.yaml"
    kept.write_text(yaml.safe_dump(load(config).model_dump(mode="json")))
    assert load(kept) == load(config)
