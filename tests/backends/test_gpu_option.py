"""`bart-tf reconet --gpu` where there is no GPU: one line, on each of Keras's backends."""

import importlib.util
import os
import shlex
import subprocess
import sys

import pytest


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_without_a_gpu_the_option_is_refused_in_one_line(backend, dataset_folder, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    files = "{d}/kspace {d}/coils weights images".format(d=dataset_folder / "test")
    arguments = shlex.split(f"reconet --apply --gpu --network varnet {files}")
    finished = subprocess.run(
        [sys.executable, "-c", "from compare.cli import main; main()", *arguments],
        cwd=tmp_path,
        env=os.environ | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == f"error: reconet: --gpu: {backend} sees no GPU"
    assert "Traceback" not in finished.stderr
