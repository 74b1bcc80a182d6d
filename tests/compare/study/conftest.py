"""What the tests of optimizer studies share."""

import json

import pytest
import yaml
from filelock import FileLock

from compare.console import Reporter
from compare.study.run import run
from compare.study.settings import Study

TINY = """
name: tiny
dataset:
  simulate: {size: 24, coil_count: 2, train: 6, validation: 2, test: 2, noise: 0.02, reference_size: 6, seed: 3}
networks:
  varnet: {kind: varnet, iterations: 1, filters: 3, kernel_x: 3, kernel_y: 3, basis: 5}
training: {batch_size: 2, epochs: 3}
seeds: [0, 1, 2]
optimizers:
  adam: [{learning_rate: 0.01}]
  ipalm: [{learning_rate: 1.0}]
  admm: [{learning_rate: 0.1}]
"""
# The second candidate of Adam diverges.
TWO_EACH = yaml.safe_load(TINY) | {
    "optimizers": {
        "adam": [{"learning_rate": 0.01}, {"learning_rate": 1e20}],
        "ipalm": [{"learning_rate": 1.0}, {"learning_rate": 0.01}],
        "admm": [{"learning_rate": 0.1}, {"learning_rate": 1.0, "admm": {"rho": 0.1}}],
    }
}


class _Interrupting(Reporter):
    """As Ctrl-C at the first step of Keras whose title has certain words."""

    def __init__(self, words, verbosity=-1):
        super().__init__(verbosity)
        self._words = f"on keras-tensorflow: {words}"

    def step(self, title, total):
        if self._words in title:
            raise KeyboardInterrupt
        return super().step(title, total)


def interrupt(folder, toolbox, at, changes=None, verbosity=-1):
    """Run `TWO_EACH`, with changes, until the first step of Keras whose title has certain words."""
    study = Study.model_validate_json(json.dumps(TWO_EACH | (changes or {})))
    with pytest.raises(KeyboardInterrupt):
        run(study, folder, toolbox, _Interrupting(at, verbosity))


@pytest.fixture(scope="session")
def interrupted(shared_folder, toolbox):
    """The folder of a study of `TWO_EACH` that was interrupted after the first seed on BART."""
    folder = shared_folder / "interrupted" / "tiny"
    with FileLock(shared_folder / "interrupted.lock"):
        if not folder.exists():
            interrupt(folder, toolbox, "reconstruct")
    return folder
