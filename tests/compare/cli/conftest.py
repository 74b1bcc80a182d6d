"""How the tests of commands run them."""

import pytest

from tests.compare.conftest import bart_tf_in_process


@pytest.fixture
def command():
    """Run `bart-tf weights` in this process; return exit code, output and errors."""

    def run(*arguments):
        finished = bart_tf_in_process("weights", *arguments)
        return finished.returncode, finished.stdout, finished.stderr

    return run
