"""What tests of the networks share."""

import pytest

from tf_models.operators import sense


@pytest.fixture(params=["tensorflow", "portable"])
def version(request, monkeypatch):
    """Run the normal operator as it is for TensorFlow on a CPU, and as it is for everything else."""
    if request.param == "portable":
        monkeypatch.setattr(sense, "runs_on_tensorflow_cpu", lambda: False)
