"""Finding BART, running its tools on files and arrays, and telling the user what went wrong."""

import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from bart_bridge.data.fourier import centred_fft
from bart_bridge.errors import ToolError
from bart_bridge.files import cfl
from bart_bridge.tools.toolbox import Toolbox

ROOT = Path(__file__).resolve().parents[3]
VARIABLES = ("BART_TOOLBOX_PATH", "TOOLBOX_PATH", "PATH")


@pytest.fixture
def folders(toolbox, tmp_path, monkeypatch):
    """A folder with a `bart` for each way to name one, all variables set to theirs."""
    folders = {}
    for source in ("explicit path", *VARIABLES):
        folders[source] = tmp_path / source
        folders[source].mkdir()
        (folders[source] / "bart").symlink_to(toolbox.path)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(folders[variable]))
    return folders


@pytest.fixture
def script(tmp_path):
    """Write a shell script that stands for BART."""

    def write(body):
        path = tmp_path / "bart"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write


ANSWERS = "[ $1 = version ] && echo v9.8.07 && echo CUDA=1 && exit 0"

# Finding


def test_explicit_path_comes_first(folders):
    found = Toolbox.find(folders["explicit path"])
    assert found.path == folders["explicit path"] / "bart"
    assert found.source == "explicit path"


@pytest.mark.parametrize("position", range(3), ids=VARIABLES)
def test_order_of_variables(folders, monkeypatch, position):
    for variable in VARIABLES[:position]:
        monkeypatch.delenv(variable)
    source = VARIABLES[position]
    found = Toolbox.find()
    assert found.path == folders[source] / "bart"
    assert found.source == source


def test_empty_variable_counts_as_unset(folders, monkeypatch):
    monkeypatch.setenv("BART_TOOLBOX_PATH", "")
    assert Toolbox.find().source == "TOOLBOX_PATH"


@pytest.mark.parametrize("named", [".", "bart"])
def test_folder_or_binary(folders, monkeypatch, named):
    monkeypatch.setenv("TOOLBOX_PATH", str(folders["TOOLBOX_PATH"] / named))
    monkeypatch.delenv("BART_TOOLBOX_PATH")
    assert Toolbox.find().path == folders["TOOLBOX_PATH"] / "bart"
    assert Toolbox.find(folders["explicit path"] / named).path == folders["explicit path"] / "bart"


def test_relative_path(folders, monkeypatch):
    monkeypatch.chdir(folders["explicit path"])
    assert Toolbox.find("bart").run("version").returncode == 0


def test_no_bart_anywhere(folders, monkeypatch):
    for variable in VARIABLES[:2]:
        monkeypatch.delenv(variable)
    (folders["PATH"] / "bart").unlink()
    with pytest.raises(ToolError, match=r"^BART was not found: .*BART_TOOLBOX_PATH.*apt-get install bart") as raised:
        Toolbox.find()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("variable", VARIABLES[:2])
def test_wrong_variable_is_named_and_nothing_else_tried(folders, monkeypatch, variable):
    monkeypatch.delenv("BART_TOOLBOX_PATH")
    monkeypatch.setenv(variable, "/no/such/folder")
    with pytest.raises(ToolError, match=rf"no BART binary at /no/such/folder \(named by {variable}\)"):
        Toolbox.find()


def test_folder_without_bart(tmp_path):
    with pytest.raises(ToolError, match=rf"no BART binary at {tmp_path}/bart \(named by explicit path\)"):
        Toolbox.find(tmp_path)


def test_file_that_is_not_executable(script):
    path = script("exit 0")
    path.chmod(0o644)
    with pytest.raises(ToolError, match=rf"^{path} \(named by explicit path\) has no run bit: chmod \+x sets it$"):
        Toolbox.find(path)


def test_file_on_path_that_is_not_executable(script, monkeypatch):
    path = script("exit 0")
    path.chmod(0o644)
    for variable in VARIABLES[:2]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(path.parent))
    with pytest.raises(ToolError, match=rf"^{path} \(named by PATH\) has no run bit"):
        Toolbox.find()


def test_the_setup_says_so_too(script):
    path = script("exit 0")
    path.chmod(0o644)
    environment = os.environ | {"BART_TOOLBOX_PATH": str(path)}
    finished = subprocess.run([ROOT / "tools/setup"], env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert finished.stderr == f"setup: {path} (named by BART_TOOLBOX_PATH) has no run bit: chmod +x sets it\n"


def test_file_that_is_no_program(tmp_path):
    (tmp_path / "bart").write_bytes(bytes(range(256)))
    (tmp_path / "bart").chmod(0o755)
    with pytest.raises(ToolError, match="cannot be started"):
        Toolbox.find(tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo libfftw3f.so: cannot open >&2; exit 1", r"it exited with code 1; command: .*libfftw3f.so: cannot open"),
        ("echo v0.8.00; kill -SEGV $$", "it was ended by SIGSEGV"),
        ("exit 0", "it exited with code 0"),
        ("echo GNU bart", "it exited with code 0"),
    ],
)
def test_program_that_is_no_working_bart(script, body, message):
    with pytest.raises(ToolError, match=f"^not a working BART: {message}") as raised:
        Toolbox.find(script(body))
    assert "\n" not in str(raised.value)


def test_version_and_build_flags(toolbox):
    said = toolbox.run("version", "-V").stdout
    assert toolbox.version_text in said[0]
    assert toolbox.version >= (0, 7, 0)
    assert toolbox.build_flags["CUDA"] in {"0", "1"}
    assert [f"{name}={value}" for name, value in toolbox.build_flags.items()] == list(said[1:])


@pytest.mark.parametrize(
    ("line", "version", "text"),
    [
        ("v0.8.00", (0, 8, 0), "0.8.00"),
        ("v1.0.00-37-g1234abc", (1, 0, 0), "1.0.00"),
        ("0.10.12", (0, 10, 12), "0.10.12"),
        ("BART_VERSION=v0.9.00", (0, 9, 0), "0.9.00"),
    ],
)
def test_version_text(script, line, version, text):
    found = Toolbox.find(script(f"echo {line}; echo OMP=1"))
    assert bool(found.warning) == (version == (0, 10, 12))
    assert (found.version, found.version_text, found.build_flags) == (version, text, {"OMP": "1"})


# What it was built with

NO_RECONET = 'Unknown bart command: "reconet".'


def test_tools_that_were_built_and_one_that_was_not(toolbox):
    assert toolbox.missing("reconet", "measure", "pics", "coffee") == ["coffee"]


def test_a_tool_that_was_not_built_where_the_variable_names_the_binary(each_toolbox, monkeypatch):
    """BART itself reads this variable, as a folder of further tools."""
    monkeypatch.setenv("BART_TOOLBOX_PATH", str(each_toolbox.path))
    assert each_toolbox.missing("reconet", "coffee") == ["coffee"]


def test_a_missing_tool_is_named(toolbox, script):
    path = script(f"[ $1 = reconet ] && echo '{NO_RECONET}' >&2 && exit 255\nexec {toolbox.path} $@")
    found = Toolbox.find(path)
    found.require("measure")
    with pytest.raises(ToolError, match=rf"^BART {found.version_text} at {path} was built without 'reconet'"):
        found.require("reconet")


def test_a_tool_that_fails_is_not_missing(toolbox, script):
    found = Toolbox.find(script(f"[ $1 = reconet ] && exit 255\nexec {toolbox.path} $@"))
    assert found.missing("reconet") == []


# Running on files


def test_run_returns_what_the_tool_said(toolbox, tmp_path):
    lines = []
    toolbox.run("ones", 3, 4, 5, 6, tmp_path / "a")
    finished = toolbox.run("show", "-d", 1, tmp_path / "a", on_line=lines.append)
    assert finished.stdout == ("5",)
    assert "5" in lines


def test_paths_with_spaces(toolbox, tmp_path):
    folder = tmp_path / "my data (1)"
    folder.mkdir()
    toolbox.run("ones", 1, 3, folder / "a b")
    np.testing.assert_array_equal(cfl.read(folder / "a b"), np.ones(3))


def test_arguments_are_passed_unchanged(script):
    found = Toolbox.find(script(f"{ANSWERS}\nprintf '%s\\n' \"$@\""))
    arguments = ("pics", "-R", "W:7:0:.001", "-r0.1", "a b", "$HOME", "*", "-T", "x,y=1", 3, 0.5)
    assert found.run(*arguments).stdout == tuple(map(str, arguments))
    assert found.argv(*arguments) == [str(found.path), *map(str, arguments)]


def test_bart_understands_a_regulariser(toolbox, dataset_folder):
    kspace, coils = (np.array(cfl.read(dataset_folder / "test" / name)[..., 0]) for name in ("kspace", "coils"))
    image = toolbox.compute("pics", "-i", 3, "-R", "W:7:0:.001", kspace, coils)
    assert image.shape[:2] == kspace.shape[:2]
    assert np.all(np.isfinite(image))


def test_time_limit(script):
    found = Toolbox.find(script(f"{ANSWERS}\nsleep 100"))
    with pytest.raises(ToolError, match=r"did not end within 0\.5 s; command: .*bart fft"):
        found.run("fft", timeout_s=0.5)


# Running on arrays


@pytest.mark.parametrize("shape", [(6,), (6, 5), (6, 5, 1, 2)])
def test_compute_transforms_an_array(toolbox, shape):
    array = np.random.default_rng(0).normal(size=(*shape, 2)).view(np.complex128)[..., 0]
    result = toolbox.compute("fft", "-u", 1, array)
    expected = centred_fft(array, axes=(0,))
    assert result.dtype == np.complex64
    np.testing.assert_allclose(result.reshape(shape), expected, atol=1e-6)


def test_compute_takes_several_arrays_in_order(toolbox):
    a, b = np.array([[1, 2j], [3, 4]]), np.array([[5, 6], [7j, 8]])
    np.testing.assert_array_equal(toolbox.compute("fmac", "-C", a, b).squeeze(), a * b.conj())


def test_compute_result_is_writeable_memory(toolbox):
    result = toolbox.compute("ones", 2, 2, 3)
    result[0] = 7
    assert not isinstance(result, np.memmap)
    assert result.flags.f_contiguous


def test_compute_leaves_no_files(toolbox, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    toolbox.compute("fft", 3, np.ones((4, 4)))
    with pytest.raises(ToolError):
        toolbox.compute("fft", "--no-such-flag", 3, np.ones((4, 4)))
    assert list(tmp_path.iterdir()) == []


# Failing tools


def test_failing_tool_of_bart(toolbox):
    with pytest.raises(ToolError, match=r"^bart show .*; command: .*; stderr: .*/no/such/file") as raised:
        toolbox.run("show", "/no/such/file")
    assert raised.value.argv == (str(toolbox.path), "show", "/no/such/file")
    assert raised.value.returncode != 0
    assert any("/no/such/file" in line for line in raised.value.stderr_tail)


def test_failing_compute_names_the_tool(toolbox):
    with pytest.raises(
        ToolError, match=r"^bart no-such-tool (exited with code \d+|was ended by SIGABRT); command: .*no-such-tool 3"
    ):
        toolbox.compute("no-such-tool", 3, np.ones(2))


def test_failure_tells_exit_code_and_last_lines(script):
    body = f"{ANSWERS}\necho out; for n in 1 2 3 4; do echo line $n >&2; done\nexit 1"
    found = Toolbox.find(script(body))
    with pytest.raises(ToolError, match=r"^bart fft exited with code 1; command: .*bart fft 3 a b; stderr: ") as raised:
        found.run("fft", 3, "a", "b")
    assert raised.value.returncode == 1
    assert raised.value.argv == (str(found.path), "fft", "3", "a", "b")
    assert raised.value.stderr_tail == ("line 2", "line 3", "line 4")


def test_failure_without_stderr_tells_the_output(script):
    found = Toolbox.find(script(f"{ANSWERS}\necho no licence\nexit 1"))
    with pytest.raises(ToolError, match="stderr: no licence"):
        found.run("fft")


def test_failure_is_one_line_without_colours(script):
    found = Toolbox.find(
        script(f"{ANSWERS}\nprintf '\\033[31mERROR: \\033[0m\\n\\n\\033[1mbad\\033[0m\\n' >&2\nexit 1")
    )
    with pytest.raises(ToolError) as raised:
        found.run("fft")
    assert raised.value.stderr_tail == ("ERROR:", "bad")
    assert str(raised.value).isprintable()


def test_a_relative_folder_on_path(toolbox, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bart").symlink_to(toolbox.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    monkeypatch.delenv("BART_TOOLBOX_PATH", raising=False)
    monkeypatch.delenv("TOOLBOX_PATH", raising=False)
    assert Toolbox.find().path == tmp_path / "bin" / "bart"


def test_no_arguments(toolbox):
    with pytest.raises(ToolError, match=r"bart (exited|was ended)"):
        toolbox.run()
