"""What is imported is asked for in pyproject.toml: a package that comes by chance is missing somewhere else."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"bart_bridge", "tf_models", "compare", "tests", "tools"}
EXTRAS = ("jax", "jax-triton", "torch", "nufft", "nifti", "tensorboard", "twix")
# For tests/benchmarks/deepinv_steps.py, which says so.
BY_HAND = {"deepinv"}


def declared(*extras):
    """Names of distributions that are asked for, with some extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(folder):
    """Names of distributions that files import, with one file of each."""
    providers = packages_distributions()
    names = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            else:
                continue
            for module in {module.split(".")[0] for module in modules} - sys.stdlib_module_names - OURS:
                # What is not installed here (jax, torch) has its module's name.
                names[normal(providers.get(module, [module])[0])] = path.relative_to(ROOT)
    assert len(names) > 5
    return names


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("bart_bridge", EXTRAS),
        ("tf_models", EXTRAS),
        ("compare", EXTRAS),
        ("tests", ("test", "docs", *EXTRAS)),
    ],
)
def test_every_import_is_declared(folder, extras):
    undeclared = {name: path for name, path in imported(folder).items() if name not in declared(*extras) | BY_HAND}
    assert not undeclared


def test_every_extra_is_documented():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    rows = [line for line in (ROOT / "docs/install.md").read_text().splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([\w-]+)`", row.split("|")[1])]
    assert sorted(named) == sorted(project["optional-dependencies"])
