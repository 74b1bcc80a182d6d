"""The Containerfiles name what exists, and follow the rules of hadolint.

Building one takes minutes, an image of Debian, and a builder, which few machines that run these tests have.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "tools" / "container").glob("Containerfile*"))


def instructions(path):
    """The instructions of a file, with their words."""
    joined = re.sub(r"\\\n", " ", path.read_text())
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], shlex.split(line)[1:]) for line in lines]


def copied(path):
    """What a file takes from the repository."""
    return [
        source
        for name, words in instructions(path)
        if name == "COPY" and not words[0].startswith("--from")
        for source in words[:-1]
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_rules_of_hadolint_are_kept(path):
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.exists():
        pytest.skip("the extra `package` is not installed: make build does it")
    # Debian removes the older of two versions, so a pinned one cannot be installed for long.
    linted = subprocess.run([linter, "--ignore", "DL3008", path], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_all_that_is_copied_exists():
    sources = copied(ROOT / "tools" / "container" / "Containerfile")
    assert {"constraints.txt", "pyproject.toml"} <= set(sources)
    assert not [name for name in sources if not (ROOT / name).exists()]


def test_the_build_has_all_that_the_wheel_is_made_of():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    sources = set(copied(ROOT / "tools" / "container" / "Containerfile"))
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= sources
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.removesuffix("*") for name in packages} <= sources
    links = [path for path in (ROOT / "compare" / "builtin").iterdir() if path.is_symlink()]
    assert {str(path.resolve().relative_to(ROOT)) for path in links} <= sources
    assert len(links) == 2


def test_the_second_image_stands_on_the_first():
    first, second = (instructions(path) for path in FILES)
    assert ("COPY", ["--from=build", "/opt/bart-tf", "/opt/bart-tf"]) in first
    assert ("ENTRYPOINT", ["[bart-tf]"]) in first
    assert any("--tag bart-tf --file tools/container/Containerfile " in line for line in documented())
    assert ("ARG", ["BASE=bart-tf"]) in second
    pip = next(words for name, words in second if name == "RUN" and words[0] == "pip")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    # Debian's pip reads the certificates of the system when it starts.
    apt = [words for name, words in first if name == "RUN" and words[0] == "apt-get"][-1]
    assert "ca-certificates" in apt
    assert "/opt/bart-tf/constraints.txt" in pip
    assert any(pip[-1] == re.split(">|=", requirement)[0] for requirement in extras["gpu"])


def documented():
    return (ROOT / "docs" / "install.md").read_text().splitlines()


def test_the_documented_files_exist():
    named = set(re.findall(r"tools/container/\S+?(?= |\)|$)", "\n".join(documented())))
    assert {str(path.relative_to(ROOT)) for path in FILES} <= named
    assert not [name for name in named if not (ROOT / name.rstrip(".")).exists()]
