"""What tests of the networks share."""

import sys

import pytest


@pytest.fixture(params=["tensorflow", "portable"])
def version(request, monkeypatch):
    """Run everything as it is for TensorFlow on a CPU, and as it is for everything else."""
    if request.param == "portable":
        for name, module in list(sys.modules.items()):
            if name.startswith("tf_models.") and hasattr(module, "runs_on_tensorflow_cpu"):
                monkeypatch.setattr(module, "runs_on_tensorflow_cpu", lambda: False)
    return request.param
