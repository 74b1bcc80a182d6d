"""A tiny experiment that every test of this folder may read, run once with the real engines."""

import subprocess
import sys

import pytest

TINY = """
name: tiny
description: As small as it goes.
dataset:
  simulate: {size: 24, coil_count: 2, train: 4, validation: 2, test: 2, noise: 0.02, reference_size: 6, seed: 3}
networks:
  varnet:
    network: {kind: varnet, iterations: 2, filters: 3, kernel_x: 3, kernel_y: 3, basis: 5}
    training: {learning_rate: 0.01, batch_size: 2, epochs: 2}
  modl:
    network: {kind: modl, iterations: 2, layers: 3, filters: 4}
    training: {learning_rate: 0.005, batch_size: 2, epochs: 2, pretraining_epochs: 1}
"""


def bart_tf(*arguments, **options):
    """Run the command line as a user does."""
    argv = [sys.executable, "-c", "from compare.cli import main; main()", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny(tiny_config, tmp_path_factory):
    """The folder of the finished experiment, and what the command said."""
    folder = tmp_path_factory.mktemp("tiny") / "out"
    finished = bart_tf("compare", tiny_config, "-o", folder)
    assert finished.returncode == 0, finished.stderr
    return folder, finished
