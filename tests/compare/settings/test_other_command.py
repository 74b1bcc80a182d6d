"""A study given to a command for experiments, and the other way round: the error names the command that takes it."""

import pytest

from compare.settings.builtin import FOLDER
from tests.compare.conftest import bart_tf_in_process


@pytest.mark.parametrize("command", ["compare", "parity"])
def test_a_study_is_one_for_the_command_optimizers(command):
    path = FOLDER / "optimizers.yaml"
    finished = bart_tf_in_process(command, path)
    assert finished.returncode == 2
    assert finished.stderr == (
        f"error: {path}: an optimizer study, because it has the key optimizers; 'bart-tf optimizers' takes it\n"
    )


def test_an_experiment_is_one_for_the_command_compare():
    path = FOLDER / "demo.yaml"
    finished = bart_tf_in_process("optimizers", path)
    assert finished.returncode == 2
    assert finished.stderr == (
        f"error: {path}: an experiment, because networks.varnet has a training and there is no key optimizers; "
        "'bart-tf compare' takes it\n"
    )


def test_a_study_that_lacks_its_optimizers_is_no_experiment(tmp_path):
    """Nothing in it says so: the missing key is named."""
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: s\ndataset: {simulate: {}}\nnetworks: {varnet: {kind: varnet}}\ntraining: {epochs: 1}\n"
        "seeds: [0, 1, 2]\n"
    )
    finished = bart_tf_in_process("optimizers", path)
    assert finished.returncode == 2
    assert finished.stderr == f"error: {path}: optimizers: this key is required\n"
