"""The names for users of the package: complete, the right objects, and loaded only when they are used."""

import subprocess
import sys
from importlib import import_module

import pytest

import bart_bridge

OBJECTS = {
    "Dataset": "bart_bridge.data.dataset.Dataset",
    "ModlSettings": "bart_bridge.reconet.network_settings.ModlSettings",
    "Toolbox": "bart_bridge.tools.toolbox.Toolbox",
    "Training": "bart_bridge.reconet.training_settings.Training",
    "VarNetSettings": "bart_bridge.reconet.network_settings.VarNetSettings",
    "read_cfl": "bart_bridge.files.cfl.read",
    "read_weights": "bart_bridge.reconet.weights.read",
    "write_cfl": "bart_bridge.files.cfl.write",
    "write_weights": "bart_bridge.reconet.weights.write",
}


def test_all_names_are_known():
    assert bart_bridge.__all__ == sorted(OBJECTS)
    assert set(OBJECTS) <= set(dir(bart_bridge))


@pytest.mark.parametrize("name", OBJECTS)
def test_a_name_is_the_object_of_its_module(name):
    module, _, name_there = OBJECTS[name].rpartition(".")
    assert getattr(bart_bridge, name) is getattr(import_module(module), name_there)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="module 'bart_bridge' has no attribute 'read_cfi'"):
        bart_bridge.read_cfi  # noqa: B018


def test_importing_the_package_loads_nothing():
    code = (
        "import sys, bart_bridge\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'numpy', 'pydantic', 'yaml', 'h5py', 'scipy'}))\n"
        "from bart_bridge import *\n"
        "print('read_cfl' in globals(), 'numpy' in sys.modules, 'h5py' in sys.modules, 'scipy' in sys.modules)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines() == ["[]", "True True False False"]
