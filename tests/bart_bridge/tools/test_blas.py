"""Naming the BLAS that a BART computes with."""

import shlex

import pytest

from bart_bridge.tools.blas import blas_of, is_reference, library
from bart_bridge.tools.toolbox import Toolbox


@pytest.fixture
def script(tmp_path):
    """Write a shell script that stands for BART."""

    def write(body):
        path = tmp_path / "bart"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return path

    return write


def fake(path):
    """A BART at a path that was not asked for its version."""
    return Toolbox(path, "test", (0, 8, 0), {})


def test_the_bart_in_use_has_a_known_blas(toolbox):
    assert blas_of(toolbox).split()[0] in {"reference", "OpenBLAS", "MKL", "BLIS", "ATLAS", "FlexiBLAS"}


def test_behind_a_script_that_stays(toolbox, script):
    path = script(f'{shlex.quote(str(toolbox.path))} "$@"\nexit $?')
    assert blas_of(fake(path)) == blas_of(toolbox)


def test_a_bart_that_does_not_read_its_input(script):
    assert blas_of(fake(script("exit 3"))) == (
        "n/a: bart show exited with code 3 without reading its input, so its libraries are not known"
    )


def test_a_program_without_a_blas(script):
    assert blas_of(fake(script("exec cat input.hdr"))) == "n/a: no shared library of it is a known BLAS"


def test_a_bart_that_says_it(script):
    toolbox = Toolbox.find(script("echo BART_VERSION=v1.0.00; echo 'BLAS=MKL of PyTorch 2.13.0'"))
    assert blas_of(toolbox) == "MKL of PyTorch 2.13.0"


def test_a_file_that_is_no_program(tmp_path):
    (tmp_path / "bart").write_bytes(bytes(range(256)))
    assert blas_of(fake(tmp_path / "bart")).startswith("n/a: cannot be started")


@pytest.mark.parametrize(
    ("names", "blas"),
    [
        # As Debian 12, 13 and sid have them; OpenBLAS comes with a library of the generic name.
        (["libblas.so.3.11.0", "liblapack.so.3.11.0", "liblapacke.so.3.11.0"], "reference BLAS 3.11.0"),
        (["libblas.so.3", "liblapack.so.3", "libopenblasp-r0.3.21.so"], "OpenBLAS 0.3.21"),
        (["libblas.so.3", "libopenblas-r0.3.29.so"], "OpenBLAS 0.3.29"),
        (["libopenblas.so.0"], "OpenBLAS"),
        (["libopenblaso-r0.3.30.dev.so"], "OpenBLAS 0.3.30"),
        (["libmkl_rt.so.2", "libblas.so.3"], "MKL"),
        (["libblis.so.4.0.0", "libblas.so.3"], "BLIS 4.0.0"),
        (["libsatlas.so.3.10"], "ATLAS"),
        (["libflexiblas.so.3.4", "libblas.so.3"], "FlexiBLAS 3.4"),
        (["libblas.so"], "reference BLAS"),
        (["libc.so.6", "libgslcblas.so.0"], "n/a: no shared library of it is a known BLAS"),
    ],
)
def test_names_of_libraries(names, blas):
    assert library(names) == blas
    assert is_reference(blas) == blas.startswith("reference")
