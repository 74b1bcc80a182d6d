"""What pip installs works without the repository: in an empty folder, with nothing of the checkout on the path."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import bart_bridge
from tests.compare.conftest import TINY

ROOT = Path(__file__).resolve().parents[1]
PROJECT = (
    "bart_bridge",
    "tf_models",
    "compare",
    "configs",
    "reports/published",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


def run(*argv, folder, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BART_TF_BARTS")}
    return subprocess.run(
        [*map(str, argv)], cwd=folder, env=environment | variables, capture_output=True, text=True, check=False
    )


def pip(*arguments, folder):
    finished = run(sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, folder=folder)
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel from a copy: setuptools leaves files beside its sources."""
    base = tmp_path_factory.mktemp("wheel")
    for name in PROJECT:
        path = ROOT / name
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if path.is_dir() else shutil.copyfile
        copy(path, base / name, **({"symlinks": True} if path.is_dir() else {}))
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "-w", "dist", ".", folder=base)
    (built,) = (base / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def bart_tf(wheel, tmp_path_factory):
    """The command of an environment that has the wheel, and sees the packages of the environment of the tests."""
    base = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(base, with_pip=False)
    python = base / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=base).stdout.strip()
    # As a line of a .pth file, the folder's own .pth files are not read: the editable install stays out.
    (Path(packages) / "tests.pth").write_text(sysconfig.get_path("purelib"))
    pip("--python", python, "install", "--no-deps", "--no-index", wheel, folder=base)
    assert run(python, "-c", "import compare; print(compare.__file__)", folder=base).stdout.startswith(packages)
    return base / "bin" / "bart-tf"


def test_the_wheel_has_what_the_repository_has(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for folder, inside in ((ROOT / "configs", "configs"), (ROOT / "reports/published", "published")):
        expected = {f"compare/builtin/{inside}/{path.name}" for path in folder.iterdir()}
        assert expected == {name for name in names if name.startswith(f"compare/builtin/{inside}/")}
    assert not [name for name in names if name.startswith(("tests", "tools", "configs", "reports"))]


def test_built_in_experiments_are_there(bart_tf, tmp_path):
    assert run(bart_tf, "--version", folder=tmp_path).stdout == f"bart-tf {bart_bridge.__version__}\n"
    listed = run(bart_tf, "configs", folder=tmp_path)
    assert "radial_demo" in listed.stdout, listed.stderr
    assert run(bart_tf, "configs", "copy", "demo", folder=tmp_path).returncode == 0
    assert (tmp_path / "configs/demo.yaml").read_bytes() == (ROOT / "configs/demo.yaml").read_bytes()
    unknown = run(bart_tf, "compare", "varnet_knee", folder=tmp_path)
    assert unknown.returncode == 2
    assert "it needs your data" in unknown.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configs"]


def test_an_experiment_runs_and_shows_the_published_figures(bart_tf, tmp_path):
    _, _, rest = TINY.partition("networks:\n")
    varnet, _, _ = rest.partition("  modl:")
    (tmp_path / "one.yaml").write_text(f"{TINY.partition('networks:')[0]}networks:\n{varnet}inference_calls: 1\n")
    finished = run(bart_tf, "compare", "one.yaml", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    tables = {path.stem for path in (tmp_path / "reports/tiny/tables").glob("*.csv")}
    assert {"quality", "memory", "published-memory", "published-quality"} <= tables


@pytest.mark.slow
def test_the_demo_runs_where_only_pip_was(wheel, tmp_path):
    """Install everything as a user does, into an empty environment, and run the demo in an empty folder."""
    probe = run(
        sys.executable, "-m", "pip", "download", "--no-deps", "-d", tmp_path / "probe", "filelock", folder=tmp_path
    )
    if probe.returncode:
        pytest.skip(f"pip reaches no index: {probe.stderr.strip().splitlines()[-1]}")
    venv.create(tmp_path / "venv", with_pip=True)
    python, empty = tmp_path / "venv/bin/python", tmp_path / "empty"
    pip("--python", python, "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, folder=tmp_path)
    empty.mkdir()
    finished = run(tmp_path / "venv/bin/bart-tf", "compare", "demo", folder=empty)
    assert finished.returncode == 0, finished.stderr
    tables = {path.stem for path in (empty / "reports/demo/tables").glob("*.csv")}
    assert {"quality", "memory", "training-time", "published-memory", "published-quality"} <= tables
    assert (empty / "reports/demo/index.html").stat().st_size > 100_000
