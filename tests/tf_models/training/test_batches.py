"""Slices that stream from BART's files: the same batches and trainings, in bounded memory."""

import dataclasses
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset, Split, write_split
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.reconet import weights
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tf_models.training import batches as slice_batches
from tf_models.training.batches import SliceBatches, TrainingData
from tf_models.training.fit import train
from tf_models.training.network_inputs import network_inputs, network_reference


@pytest.fixture
def split(dataset_folder):
    return Dataset.open(dataset_folder).split("train")


def test_batches_are_the_slices_in_their_order(split):
    batches = SliceBatches(split, 3)
    found = [batches[number] for number in range(len(batches))]
    assert [len(reference) for _, reference in found] == [3, 1]
    for name, values in network_inputs(split).items():
        np.testing.assert_array_equal(np.concatenate([inputs[name] for inputs, _ in found]), values)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), network_reference(split))
    assert len(SliceBatches(split, 3, remainder=False)) == 1
    assert len(SliceBatches(split, 30, remainder=False)) == 1
    assert len(SliceBatches(dataclasses.replace(split, reference=None), 2)[0]) == 1


@pytest.mark.parametrize("axis", [1, 2])
def test_a_constant_axis_of_the_pattern_has_one_pixel(split, tmp_path, axis):
    """Only if it is constant in all slices; from files and in memory."""
    bart_axis = 2 - axis
    pattern = np.repeat(np.take(cfl.read(split.pattern), [3], axis=bart_axis), 24, axis=bart_axis)
    cfl.write(tmp_path / "pattern", pattern)
    lines = dataclasses.replace(split, pattern=tmp_path / "pattern")
    shape = {1: (3, 1, 24), 2: (3, 24, 1)}[axis]
    whole = network_inputs(lines)
    for slices in (lines, (whole, network_reference(lines))):
        psf = SliceBatches(slices, 3)[0][0]["psf"]
        assert psf.shape == shape
        np.testing.assert_array_equal(np.broadcast_to(psf, (3, 24, 24)), whole["psf"][:3])
    changed = pattern.copy()
    changed[5, 7, ..., -1] = 1 - changed[5, 7, ..., -1]
    cfl.write(tmp_path / "changed", changed)
    assert SliceBatches(dataclasses.replace(split, pattern=tmp_path / "changed"), 3)[0][0]["psf"].shape == (3, 24, 24)


def test_what_fits_is_read_once(split, monkeypatch):
    read, read_by = [], slice_batches._read
    monkeypatch.setattr(slice_batches, "_read", lambda split, items: read.append(items.start) or read_by(split, items))
    one_slice = sum(values[:1].nbytes for values in network_inputs(split).values()) + 24 * 24 * 8
    for limit, expected in ((None, [0, 1, 2, 3]), (2 * one_slice, [0, 1, 2, 3, 2, 3, 2, 3]), (0, 3 * [0, 1, 2, 3])):
        read.clear()
        batches = SliceBatches(split, 1, memory_limit_bytes=limit)
        for _ in range(3):
            assert [len(batches[number]) for number in range(len(batches))] == [2, 2, 2, 2]
        assert read == expected
        assert batches.kept_bytes == (4 * one_slice if limit is None else limit)


def test_the_next_batch_is_prepared_while_one_is_used():
    """By backends other than TensorFlow; each batch once, in order, also from another than the first on."""
    prepared, read = {number: threading.Event() for number in range(5)}, []

    class Batches(list):
        def __getitem__(self, number):
            read.append(number)
            prepared[number].set()
            return super().__getitem__(number)

    ahead = slice_batches._Ahead(Batches("abcde"), 1)
    assert len(ahead) == 4
    assert ahead[0] == "b"
    assert prepared[2].wait(timeout=60)
    assert [ahead[number] for number in (1, 2, 3)] == ["c", "d", "e"]
    assert read == [1, 2, 3, 4]
    assert [ahead[number] for number in (0, 0)] == ["b", "b"]


def test_what_is_wrong_with_a_batch_reaches_the_training():
    class Batches(list):
        def __getitem__(self, number):
            if number == 1:
                raise OSError("the file is gone")
            return super().__getitem__(number)

    ahead = slice_batches._Ahead(Batches("ab"), 0)
    assert ahead[0] == "a"
    with pytest.raises(OSError, match="the file is gone"):
        ahead[1]


def test_training_is_that_of_slices_in_memory(split):
    """Two stages, validation, and a remainder; nothing is kept."""
    network = VarNetSettings(iterations=2, filters=2, kernel_x=3, kernel_y=3, basis=5)
    training = Training(batch_size=3, epochs=2, pretraining_epochs=1)
    initial = weights.random(network.model_copy(update={"iterations": 1}), 0)
    arrays = network_inputs(split), network_reference(split)
    _, expected = train(network, training, TrainingData(arrays, arrays), initial)
    _, found = train(network, training, TrainingData(split, split, memory_limit_bytes=0), initial)
    for stage, same_stage in zip(found, expected, strict=True):
        assert stage.keys() == same_stage.keys()
        for name in stage.keys() - {"seconds"}:
            np.testing.assert_allclose(stage[name], same_stage[name], rtol=1e-5)


CHILD = """
import json, sys
from pathlib import Path
import psutil
from bart_bridge.reconet import weights
from bart_bridge.data.dataset import Split
from bart_bridge.reconet.network_settings import VarNetSettings
from bart_bridge.reconet.training_settings import Training
from tf_models.training.batches import TrainingData
from tf_models.training.fit import train

def peak_bytes():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024

network = VarNetSettings(iterations=1, filters=1, kernel_x=3, kernel_y=3, basis=5)
initial = weights.initial(network, 0)
def losses(folder, limit):
    split, training = Split.in_folder(Path(folder)), Training(batch_size=4, epochs=2)
    return train(network, training, TrainingData(split, memory_limit_bytes=limit), initial)[1][0]["loss"].tolist()

losses(sys.argv[1], 0)  # starts everything
found = {}
for name, limit in (("streamed", int(sys.argv[3])), ("kept", 10**12)):
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = psutil.Process().memory_info().rss
    found[name] = {"losses": losses(sys.argv[2], limit), "peak_bytes": peak_bytes() - before}
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_dataset_larger_than_the_limit_trains_in_bounded_memory(tmp_path):
    coils, size = 32, 64
    generator = np.random.default_rng(0)
    for name, slices in (("small", 4), ("large", 240)):
        shape = (slices, coils, size, size)
        values = generator.normal(size=(*shape, 2)).astype(np.float32).view(np.complex64)[..., 0]
        arrays = {"kspace": values, "coils": values / coils, "reference": values[:, :1]}
        write_split(tmp_path / name, {name: from_batch_coil_yx(array) for name, array in arrays.items()})
    del values, arrays
    split = Split.in_folder(tmp_path / "large")
    dataset_bytes = 240 * sum(array.nbytes for array in SliceBatches(split, 1)[0][0].values())
    argv = [sys.executable, "-c", CHILD, tmp_path / "small", tmp_path / "large", str(dataset_bytes // 8)]
    # Freed arrays go back to the system at once: how much of them the C library keeps for each thread is chance.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    finished = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(finished.stdout.splitlines()[-1])
    assert found["streamed"]["peak_bytes"] < dataset_bytes / 2
    assert found["kept"]["peak_bytes"] > dataset_bytes
    np.testing.assert_allclose(found["streamed"]["losses"], found["kept"]["losses"], rtol=1e-5)
