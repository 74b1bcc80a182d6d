"""Finding every BART of a machine, and one by its version."""

import shlex

import pytest

from bart_bridge.errors import ToolError
from bart_bridge.tools import discovery
from bart_bridge.tools.discovery import Wanted, every_bart, find_version

VARIABLES = ("BART_TOOLBOX_PATH", "TOOLBOX_PATH", "PATH")


@pytest.fixture
def bart(toolbox):
    """Write a BART at a path: the one in use, which may say another version."""

    def write(path, version=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        says = f'[ "$1" = version ] && echo v{version} && echo OMP=1 && exit 0\n' if version else ""
        path.write_text(f'#!/bin/sh\n{says}exec {shlex.quote(str(toolbox.path))} "$@"\n')
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without any BART; the working directory is empty."""
    for variable in (*VARIABLES, discovery.VARIABLE):
        monkeypatch.setenv(variable, "")
    monkeypatch.setattr(discovery, "_CHECKOUT", tmp_path / "checkout")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found():
    toolboxes, faults = every_bart()
    assert not faults
    return [(toolbox.version_text, toolbox.path, toolbox.source) for toolbox in toolboxes]


def test_no_bart_at_all(nowhere):
    assert every_bart() == ([], [])


@pytest.mark.parametrize("name", ["gone", "empty", "file", "empty/0.9.00"])
def test_a_variable_that_names_no_barts_is_a_fault(nowhere, monkeypatch, name):
    (nowhere / "empty" / "0.9.00").mkdir(parents=True)
    (nowhere / "file").touch()
    monkeypatch.setenv(discovery.VARIABLE, name)
    rule = f"BART_TF_BARTS must name a folder with BARTs such as 0.9.00/bart, received '{name}'"
    toolboxes, faults = every_bart()
    assert (toolboxes, [str(fault) for fault in faults]) == ([], [rule])
    with pytest.raises(ToolError) as raised:
        find_version(Wanted((0, 9)))
    assert str(raised.value).endswith(f"; {rule}")


def test_the_order_of_places(nowhere, bart, monkeypatch):
    names = ["explicit", *VARIABLES, discovery.VARIABLE]
    paths = [bart(nowhere / name / "bart", f"0.{number}.00") for number, name in enumerate(names[:-1])]
    paths.append(bart(nowhere / discovery.VARIABLE / "0.9.00" / "bart", "0.9.00"))
    for name in names[1:]:
        monkeypatch.setenv(name, str(nowhere / name))
    toolboxes, faults = every_bart(paths[0])
    assert [toolbox.path for toolbox in toolboxes] == paths
    assert [toolbox.source for toolbox in toolboxes] == ["explicit path", *names[1:]]
    assert not faults


def test_each_binary_once(nowhere, bart, monkeypatch):
    path = bart(nowhere / "bin" / "bart", "0.9.00")
    (nowhere / "other").symlink_to(nowhere / "bin")
    monkeypatch.setenv("BART_TOOLBOX_PATH", str(path))
    monkeypatch.setenv("PATH", f"{nowhere / 'other'}:{nowhere / 'bin'}")
    assert found() == [("0.9.00", path, "BART_TOOLBOX_PATH")]


def test_a_folder_of_barts(nowhere, bart, monkeypatch):
    """The newest version first, the default BLAS before OpenBLAS; nothing of an interrupted download."""
    folder = nowhere / "versions"
    first = bart(folder / "0.10.00" / "bart", "0.10.00")
    openblas = bart(folder / "0.10.00" / "bart-openblas", "0.10.00")
    second = bart(folder / "0.9.00" / "bart", "0.9.00")
    bart(folder / ".partial-0.8.00" / "bart", "0.8.00")
    bart(folder / "apt" / "bart", "0.8.00")
    monkeypatch.setenv(discovery.VARIABLE, str(folder))
    assert [path for _, path, _ in found()] == [first, openblas, second]


def test_the_folders_without_a_variable(nowhere, bart, monkeypatch):
    checkout = bart(nowhere / "checkout" / ".barts" / "0.8.00" / "bart", "0.8.00")
    here = bart(nowhere / ".barts" / "1.0.00" / "bart", "1.0.00")
    assert [path for _, path, _ in found()] == [here, checkout]
    monkeypatch.setenv(discovery.VARIABLE, str(nowhere / "nothing"))
    assert every_bart()[0] == []


def test_one_that_does_not_work_does_not_hide_the_others(nowhere, bart, monkeypatch):
    path = bart(nowhere / ".barts" / "0.9.00" / "bart", "0.9.00")
    monkeypatch.setenv("BART_TOOLBOX_PATH", str(nowhere / "gone"))
    toolboxes, faults = every_bart()
    assert [toolbox.path for toolbox in toolboxes] == [path]
    assert "gone (named by BART_TOOLBOX_PATH)" in str(faults[0])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.9", Wanted((0, 9))),
        ("1.0.00", Wanted((1, 0, 0))),
        ("0.10.12-openblas", Wanted((0, 10, 12), openblas=True)),
        ("cudnn", None),
        ("1", None),
        ("1.0-mkl", None),
        ("v1.0", None),
    ],
)
def test_names_of_versions(text, wanted):
    assert Wanted.parse(text) == wanted


@pytest.mark.parametrize(("text", "name"), [("0.9", "0.9.01"), ("0.9.00", "0.9.00"), ("0.1", None), ("0", None)])
def test_by_version(nowhere, bart, text, name):
    for version in ("0.9.00", "0.9.01", "0.10.00"):
        bart(nowhere / ".barts" / version / "bart", version)
    wanted = Wanted.parse(text) or Wanted((0, 1))
    if name:
        assert find_version(wanted).path == nowhere / ".barts" / name / "bart"
        return
    with pytest.raises(ToolError, match=r"^no BART 0\.1 was found \(found: 0\.10\.00, 0\.9\.01, 0\.9\.00\)"):
        find_version(wanted)


def test_openblas_is_told_by_what_it_computes_with(nowhere, bart, toolbox):
    path = bart(nowhere / ".barts" / "0.9.00" / "bart", "0.9.00")
    wanted = Wanted((0, 9), openblas=True)
    if discovery.blas_of(toolbox).startswith("OpenBLAS"):
        assert find_version(wanted).path == path
    else:
        with pytest.raises(ToolError, match=r"^no BART 0\.9 with OpenBLAS was found \(found: 0\.9\.00\)"):
            find_version(wanted)


def test_one_of_many_that_do_not_work_is_named(nowhere, bart):
    """A folder of BARTs that was moved: none of them finds its libraries."""
    for version in ("0.8.00", "0.9.00", "1.0.00"):
        for name in ("bart", "bart-openblas"):
            path = nowhere / ".barts" / version / name
            bart(path).write_text("#!/bin/sh\necho no libraries >&2\nexit 127\n")
    with pytest.raises(ToolError) as raised:
        find_version(Wanted((0, 9)))
    said = str(raised.value)
    assert said.count("not a working BART") == said.count("no libraries") == 1
    assert said.endswith("; and 5 more; make barts repairs those that it fetched")
