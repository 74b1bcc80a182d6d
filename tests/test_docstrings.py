"""The examples in docstrings run and show what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = [
    "bart_bridge.data.dataset",
    "bart_bridge.tools.toolbox",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(import_module(name))
    assert results.attempted
    assert not results.failed
