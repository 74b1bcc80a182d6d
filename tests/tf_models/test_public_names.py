"""`from tf_models import ...`: what is public can be imported, and nothing heavy is before it is used."""

import subprocess
import sys

import pytest

import tf_models


@pytest.mark.parametrize("name", tf_models.__all__)
def test_every_public_name_is_what_its_module_has(name):
    public = getattr(tf_models, name)
    assert public.__name__ == name
    assert public.__module__ == tf_models._MODULES[name]


def test_they_are_listed():
    assert set(tf_models.__all__) <= set(dir(tf_models))


def test_paths_may_be_text(tmp_path):
    path = str(tmp_path / "model.keras")
    tf_models.save(tf_models.VarNet({"iterations": 1, "filters": 2, "basis": 3}), path)
    assert tf_models.load(path).network.filters == 2


def test_another_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'tf_models' has no attribute 'Unknown'"):
        _ = tf_models.Unknown


def test_importing_the_package_imports_no_keras():
    code = "import sys, tf_models; sys.exit(not {'keras', 'tensorflow', 'jax', 'torch'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
