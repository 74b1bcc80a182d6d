"""`tools/barts` against a mirror in a folder: real apt and dpkg, tiny packages whose BART only says its version."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.tools import discovery
from bart_bridge.tools.blas import blas_of
from bart_bridge.tools.toolbox import Toolbox

ROOT = Path(__file__).resolve().parents[2]
SUITES = {"bookworm": "0.8.00", "trixie": "0.9.00", "sid": "1.0.00"}
LIBRARIES = {"libblas3": "blas/libblas.so.3", "liblapack3": "lapack/liblapack.so.3"}
LIBRARIES |= {"libopenblas0-pthread": "openblas-pthread/libopenblas.so.0"}

pytestmark = [
    pytest.mark.skipif(not (shutil.which("apt-get") and shutil.which("dpkg-deb")), reason="no apt-get and dpkg-deb"),
    pytest.mark.skipif(not shutil.which("gpg"), reason="no gpg, which signs the mirror of these tests"),
]


@pytest.fixture(scope="session")
def key(tmp_path_factory):
    """A key to sign mirrors with: the environment of gpg, and the keyring."""
    home = tmp_path_factory.mktemp("gpg", numbered=False)
    home.chmod(0o700)
    environment = os.environ | {"GNUPGHOME": str(home)}
    command = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key", "tests", "rsa2048", "sign"]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    keyring = home / "keyring.gpg"
    subprocess.run(["gpg", "--batch", "--output", keyring, "--export"], env=environment, check=True)
    yield environment, keyring
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


class Mirror:
    """A mirror of Debian in a folder, and the checkout whose `tools/barts` trusts it."""

    def __init__(self, folder, key):
        self.folder, self.checkout = folder / "debian", folder / "check out"
        self._environment, self._keyring = key
        self._architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
        sources = folder / "sources.list"
        sources.write_text(f"deb copy:{self.folder} bookworm main\n")
        self.apt_config = folder / "apt.conf"
        self.apt_config.write_text(
            f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n'
            f'Dir::State::lists "{folder}/none";\n'
        )
        script = (ROOT / "tools/barts").read_text()
        assert "KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg" in script
        script = script.replace("/usr/share/keyrings/debian-archive-keyring.gpg", str(self._keyring))
        self.script = self.checkout / "tools" / "barts"
        self.script.parent.mkdir(parents=True)
        self.script.write_text(script)
        self.script.chmod(0o755)

    def offer(self, suite, version, loader="", signed=True):
        """Put a suite with a BART of a version on the mirror; `loader` is shell code that its BART runs first."""
        pool = self.folder / "pool" / suite
        shutil.rmtree(pool, ignore_errors=True)
        entries = [self._package(pool, name, "3", path) for name, path in LIBRARIES.items()]
        entries.append(self._package(pool, "bart", f"{version}-2", "ld-linux-test.so.2", f"{loader}\necho v{version}"))
        release = self.folder / "dists" / suite
        index = f"main/binary-{self._architecture}/Packages"
        (release / index).parent.mkdir(parents=True, exist_ok=True)
        content = "\n\n".join(entries) + "\n"
        (release / index).write_text(content)
        digest = hashlib.sha256(content.encode()).hexdigest()
        (release / "Release").write_text(
            f"Origin: Debian\nSuite: {suite}\nCodename: {suite}\nComponents: main\n"
            f"Architectures: {self._architecture}\nDate: Sun, 01 Jan 2023 00:00:00 UTC\n"
            f"SHA256:\n {digest} {len(content)} {index}\n"
        )
        (release / "InRelease").unlink(missing_ok=True)
        if signed:
            command = ["gpg", "--batch", "--clearsign", "--output", release / "InRelease", release / "Release"]
            subprocess.run(command, env=self._environment, check=True, capture_output=True)

    def _package(self, pool, name, version, path, loader=""):
        """Build a package with one library, or with a loader and `usr/bin/bart`; return its entry in the index."""
        tree = pool / "tree"
        library = tree / "usr/lib/x86_64-linux-gnu" / path
        library.parent.mkdir(parents=True)
        library.write_text(f"#!/bin/sh\n{loader}\n")
        library.chmod(0o755)
        if loader:
            (tree / "usr/bin").mkdir(parents=True)
            (tree / "usr/bin/bart").touch()
        (tree / "DEBIAN").mkdir()
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {self._architecture}\nMaintainer: x\nDescription: x"
        )
        (tree / "DEBIAN/control").write_text(f"{control}\n")
        package = pool / f"{name}_{version}_{self._architecture}.deb"
        subprocess.run(["dpkg-deb", "--build", tree, package], check=True, capture_output=True)
        shutil.rmtree(tree)
        content = package.read_bytes()
        return (
            f"{control}\nFilename: {package.relative_to(self.folder)}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}"
        )

    def start(self, *arguments):
        return subprocess.Popen(
            [self.script, *arguments],
            env=os.environ | {"APT_CONFIG": str(self.apt_config)},
            cwd=self.folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments):
        """Run `tools/barts`; return its exit code, standard output and the lines of standard error."""
        running = self.start(*arguments)
        stdout, stderr = running.communicate(timeout=120)
        return running.returncode, stdout, stderr.splitlines()


@pytest.fixture
def mirror(tmp_path, key):
    return Mirror(tmp_path, key)


@pytest.fixture
def full(mirror):
    """A mirror that has all three versions."""
    for suite, version in SUITES.items():
        mirror.offer(suite, version)
    return mirror


def said(bart):
    return subprocess.run([bart, "version"], capture_output=True, text=True, check=True).stdout.strip()


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_three_versions_side_by_side_and_a_second_run_does_nothing(full):
    code, stdout, stderr = full.run()
    folder = full.checkout / ".barts"
    assert (code, stderr) == (0, [])
    assert stdout.startswith(f"To do: BART 0.8.00 0.9.00 1.0.00 in {folder}; ")
    assert entries(folder) == [".lock", *SUITES.values()]
    for version in SUITES.values():
        assert f"BART {version} at {folder / version / 'bart'}\n" in stdout
        assert entries(folder / version) == ["bart", "bart-openblas", "packages", "root"]
        assert said(folder / version / "bart") == said(folder / version / "bart-openblas") == f"v{version}"
        assert f"bart_{version}-2" in (folder / version / "packages").read_text()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    shutil.rmtree(full.folder)
    assert full.run()[0] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_each_start_has_the_libraries_of_its_blas(mirror):
    mirror.offer("sid", "1.0.00", '[ -z "$SHOW" ] || echo "$@" >&2')
    mirror.run("elsewhere")
    for name, wanted, other in (("bart", "/blas:", "openblas"), ("bart-openblas", "/openblas-pthread", "/blas:")):
        bart = mirror.folder.parent / "elsewhere" / "1.0.00" / name
        shown = subprocess.run([bart, "a b"], env={"SHOW": "1"}, capture_output=True, text=True, check=True).stderr
        assert shown.startswith("--library-path ")
        assert wanted in shown
        assert other not in shown
        assert shown.rstrip().endswith("/elsewhere/1.0.00/root/usr/bin/bart a b")


def test_a_version_that_is_no_longer_offered(full):
    full.offer("sid", "1.1.00")
    shutil.rmtree(full.folder / "dists/bookworm")
    code, stdout, stderr = full.run()
    assert code == 1
    assert len(stderr) == 2
    assert stderr[0].startswith(
        f"barts: 0.8.00: the lists of Debian bookworm could not be read from copy:{full.folder}/: "
    )
    assert stderr[1] == "barts: 1.0.00: no longer offered: the package bart of Debian sid is 1.1.00-2"
    assert entries(full.checkout / ".barts") == [".lock", "0.9.00"]
    assert "BART 0.9.00 at " in stdout
    # What is missing is fetched once it is there.
    full.offer("sid", "1.0.00")
    assert full.run()[0] == 1
    assert entries(full.checkout / ".barts") == [".lock", "0.9.00", "1.0.00"]


def test_what_is_not_signed_was_changed_or_does_not_start(full):
    """Signatures are checked although the packages are only unpacked."""
    full.offer("bookworm", "0.8.00", signed=False)
    package = next((full.folder / "pool/trixie").glob("bart_*"))
    package.write_bytes(package.read_bytes()[:-1] + b"x")
    full.offer("sid", "1.0.00", "echo no such instruction; exit 1")
    code, _, stderr = full.run()
    assert code == 1
    assert len(stderr) == 3
    assert "barts: 0.8.00: the lists of Debian bookworm could not be read" in stderr[0]
    assert "is not signed" in stderr[0]
    assert stderr[1].startswith("barts: 0.9.00: its packages could not be downloaded: E: ")
    assert stderr[2] == "barts: 1.0.00: it was fetched, but does not start here: no such instruction"
    assert entries(full.checkout / ".barts") == [".lock"]


@pytest.mark.parametrize("lost", ["bart", "bart-openblas"])
def test_a_broken_one_is_made_again_but_only_if_it_is_ours(full, lost):
    folder = full.checkout / ".barts"
    full.run()
    (folder / "0.8.00" / lost).unlink()
    shutil.rmtree(folder / "0.9.00" / "root")
    (folder / "0.9.00" / "packages").unlink()
    code, _, stderr = full.run()
    text = f"barts: 0.9.00: {folder}/0.9.00 is there, was not made by this, and does not work"
    assert (code, stderr) == (1, [text])
    assert said(folder / "0.8.00" / lost) == "v0.8.00"
    assert entries(folder / "0.9.00") == ["bart", "bart-openblas"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted(full, tmp_path, number):
    """Nothing of a BART is left that was not complete; what a killed run leaves, the next removes."""
    full.offer("trixie", "0.9.00", f'[ -e "{tmp_path}/go" ] || {{ touch "{tmp_path}/started"; sleep 100; }}')
    running = full.start()
    while not (tmp_path / "started").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    os.killpg(running.pid, number)
    running.communicate(timeout=60)
    assert running.returncode != 0
    folder = full.checkout / ".barts"
    left = [name for name in entries(folder) if not name.startswith(".partial-")]
    assert left == [".lock", "0.8.00"]
    assert (entries(folder) == left) == (number == signal.SIGTERM)
    (tmp_path / "go").touch()
    assert full.run()[0] == 0
    assert entries(folder) == [".lock", *SUITES.values()]


def test_no_mirror_of_debian(mirror):
    mirror.apt_config.write_text('Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "/dev/null";\n')
    code, _, stderr = mirror.run()
    text = "apt of this machine has no mirror of Debian among its sources; BART 1.0.00 comes with make barts BARTS=pip"
    assert (code, stderr) == (1, [f"barts: {text}"])


def test_a_folder_that_the_loader_cannot_take(mirror):
    code, _, stderr = mirror.run("a:b")
    assert (code, len(stderr)) == (1, 1)
    assert stderr[0].startswith(f"barts: {mirror.folder.parent}/a:b: the path may have no ")
    assert not (mirror.folder.parent / "a:b").exists()


def test_a_folder_that_cannot_be_one(mirror):
    (mirror.folder.parent / "file").touch()
    text = f"barts: {mirror.folder.parent}/file: must be a folder, or a new one, that you may write to"
    assert mirror.run("file") == (1, "", [text])


@pytest.mark.parametrize(
    ("arguments", "received"), [(["a", "b"], "2 arguments: a b"), (["--force"], "'--force'; ./--force is a folder")]
)
def test_other_arguments_are_refused_before_anything_is_fetched(full, arguments, received):
    code, stdout, stderr = full.run(*arguments)
    assert (code, stdout, stderr) == (2, "", [f"barts: usage: tools/barts [pip | cuda] [FOLDER], received {received}"])
    assert not list(full.folder.parent.rglob(".lock"))


def test_help_shows_the_head_of_the_script(mirror):
    code, stdout, stderr = mirror.run("--help")
    assert (code, stderr) == (0, [])
    assert stdout.startswith("Fetch BART 0.8.00, ")
    assert "Usage: tools/barts [FOLDER]" in stdout


def test_setup_fetches_them_too():
    """The last line of a set-up with BARTS."""
    assert '[ -z "${BARTS:-}" ] || tools/barts "$BARTS"' in (ROOT / "tools/setup").read_text()


@pytest.mark.barts
@pytest.mark.parametrize("version", SUITES.values())
@pytest.mark.parametrize(("name", "blas"), [("bart", "reference BLAS"), ("bart-openblas", "OpenBLAS")])
def test_what_make_barts_left(version, name, blas):
    """The real ones, where `make barts` ran before."""
    path = ROOT / discovery.FOLDER / version / name
    if not path.exists():
        pytest.skip("make barts fetches them")
    toolbox = Toolbox.find(path)
    assert toolbox.version_text == version
    assert blas_of(toolbox).startswith(f"{blas} 3." if blas == "reference BLAS" else f"{blas} 0.3.")
    kspace = toolbox.compute("fft", "-u", 3, np.ones((4, 4)))
    assert kspace[2, 2] == pytest.approx(4)
