"""Trainings whose batches are shared by two devices of a CPU, or by two processes: the losses of one device."""

import importlib.util
import os
import random
import subprocess
import sys

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.errors import InputError
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import ModlSettings, VarNetSettings
from bart_bridge.reconet.training_settings import Training, check_shared
from tf_models.programs.worker import TrainJob

NETWORKS = {
    "varnet": VarNetSettings(iterations=2, filters=3, kernel_x=5, kernel_y=5, basis=7),
    "modl": ModlSettings(iterations=2, layers=3, filters=4),
}
# Trains each job of standard input on one device and on two, and writes what comes out.
ON_ONE_AND_TWO = """
import sys
from pathlib import Path
import numpy as np
from bart_bridge.reconet import weights
from bart_bridge.reconet.training_settings import stages
from tf_models.training import data_parallel
from tf_models.training.batches import TrainingData
from tf_models.training.fit import Execution, train
from tf_models.programs.worker import TrainJob

data_parallel.prepare(2, "cpu")
for line in sys.stdin:
    job = TrainJob.model_validate_json(line)
    initial = weights.read(job.initial, stages(job.network, job.training)[0][0])
    for devices in (1, 2):
        data, execution = TrainingData(job.split, job.validation), Execution(job.memory, devices)
        model, histories = train(job.network, job.training, data, initial, execution)
        named = {f"weight_{name}": values for name, values in model.named_weights().items()}
        named |= {f"history_{name}": values for name, values in histories[-1].items()}
        np.savez(job.output.with_name(f"{devices}.npz"), **named)
"""
# Looks at a batch and at the one after it, which nobody has asked for.
LOOKS_AT_BATCHES = """
import numpy as np
from tf_models.training import data_parallel
from tf_models.training.batches import SliceBatches, feed
data_parallel.prepare(2, "cpu")
inputs = {"adjoint": np.arange(8.0)[:, None], "psf": np.ones((8, 1))}
with data_parallel.on_devices(2):
    batches = feed(SliceBatches((inputs, inputs["adjoint"]), 4))
    with data_parallel.on_one_device():
        alone = feed(SliceBatches((inputs, inputs["adjoint"]), 4))
first, ahead = batches[0], batches._ahead[1].result()
assert type(alone[0][1]) is np.ndarray
for number, (arrays, reference) in enumerate([first, ahead]):
    for array in (*arrays.values(), reference):
        assert len(array.sharding.device_set) == 2, array.sharding
        assert not array.is_fully_replicated
    np.testing.assert_array_equal(reference[:, 0], 4 * number + np.arange(4))
"""
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")


@pytest.fixture
def job(dataset_folder, tmp_path):
    dataset = Dataset.open(dataset_folder)

    def make(name, memory="plain", **training):
        folder = tmp_path / f"{name}-{memory}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        weights.write(folder / "initial", NETWORKS[name], weights.random(NETWORKS[name], 0))
        return TrainJob(
            network=NETWORKS[name],
            training=Training(**{"epochs": 5, "batch_size": 4, **training}),
            split=dataset.split("train"),
            validation=dataset.split("validation"),
            initial=folder / "initial",
            output=folder / "weights.keras",
            histories=[folder / "history.npz"],
            memory=memory,
            report=folder / "report.json",
        )

    return make


def run(argv, text="", **environment):
    environment = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1", **environment}
    return subprocess.Popen(
        [sys.executable, *argv],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@needs_jax
def test_two_devices_have_the_losses_of_one(job):
    """Five updates of the same batch of four slices; statistics of batch norm and their derivative are its own."""
    jobs = [job(name, memory) for name in NETWORKS for memory in ("plain", "lean")]
    jobs += [
        job("modl", loss={"ssim": 1.0, "nmse": 0.5}, algorithm="sgd"),
        job("varnet", algorithm="admm", batch_size=2),
        job("modl", precision="mixed_float16"),
    ]
    child = run(["-c", ON_ONE_AND_TWO])
    _, stderr = child.communicate("".join(job.model_dump_json() + "\n" for job in jobs))
    assert child.returncode == 0, stderr[-3000:]
    for each in jobs:
        one, two = (dict(np.load(each.output.with_name(f"{devices}.npz"))) for devices in (1, 2))
        assert one.keys() == two.keys()
        mixed = each.training.precision != "float32"
        name = each.output.parent.name
        np.testing.assert_allclose(two["history_loss"], one["history_loss"], rtol=1e-3 if mixed else 1e-5, err_msg=name)
        for key in ("history_psnr", "history_ssim"):
            np.testing.assert_allclose(two[key], one[key], rtol=1e-2 if mixed else 1e-4, err_msg=name)
        for key in one:
            if key.startswith("weight_bn"):
                np.testing.assert_allclose(
                    two[key], one[key], rtol=1e-4, atol=(1e-2 if mixed else 1e-4) * np.abs(one[key]).max(), err_msg=key
                )


@needs_jax
def test_devices_that_share_a_batch_get_the_next_one_while_they_compute():
    child = run(["-c", LOOKS_AT_BATCHES])
    _, stderr = child.communicate()
    assert child.returncode == 0, stderr[-3000:]


@needs_jax
def test_two_processes_of_a_slurm_step_have_the_losses_of_one(job):
    """The environment is what Slurm sets for the tasks of a step; the first task writes."""
    alone, together = job("modl"), job("modl")
    together = together.model_copy(update={"devices": 2, "checkpoint": together.output.with_name("checkpoint")})
    step = {
        # The first task's port is made of it.
        "SLURM_JOB_ID": str(random.randrange(4096)),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
    }
    children = []
    for each, tasks in ((alone, [{}]), (together, [step | {"SLURM_PROCID": p, "SLURM_LOCALID": p} for p in "01"])):
        file = each.output.with_name("job.json")
        file.write_text(each.model_dump_json())
        children += [run(["-m", "tf_models.programs.worker", str(file)], **task) for task in tasks]
    ends = [child.communicate() for child in children]
    for child, (_, stderr) in zip(children, ends, strict=True):
        assert child.returncode == 0, stderr[-3000:]
    assert ["#1->1/1;" in stdout for stdout, _ in ends] == [True, True, False]
    one, two = (dict(np.load(each.histories[0])) for each in (alone, together))
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-5)
    np.testing.assert_allclose(two["psnr"], one["psnr"], rtol=1e-4)


def test_what_devices_cannot_share_is_refused_in_a_line():
    check_shared(Training(), 10, 5)
    with pytest.raises(
        InputError, match=r"^devices: ipalm trains on one device, received 2: .*whole batch is low enough$"
    ):
        check_shared(Training(algorithm="ipalm"), 10, 2)
    with pytest.raises(InputError, match=r"^devices: a batch of 10 slices cannot be shared evenly by 4 devices$"):
        check_shared(Training(), 10, 4)


def test_other_backends_are_refused(job):
    one = job("varnet").model_copy(update={"devices": 2})
    file = one.output.with_name("job.json")
    file.write_text(one.model_dump_json())
    child = run(["-m", "tf_models.programs.worker", str(file)], KERAS_BACKEND="tensorflow")
    _, stderr = child.communicate()
    assert child.returncode == 2
    assert stderr.splitlines()[-1] == "devices: 2 devices need the backend jax, this is tensorflow"
