"""How the tests of commands run them."""

import pytest

from tests.compare.conftest import bart_tf_in_process


@pytest.fixture
def bart_tf_here():
    """Run `bart-tf` in this process, which has imported everything already; return what `subprocess.run` would."""
    return bart_tf_in_process


@pytest.fixture
def command(bart_tf_here):
    """Run `bart-tf weights` in this process; return exit code, output and errors."""

    def run(*arguments):
        finished = bart_tf_here("weights", *arguments)
        return finished.returncode, finished.stdout, finished.stderr

    return run
