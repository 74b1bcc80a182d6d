"""Three versions of BART and Keras in one experiment, without any path: what `make barts` is for."""

import json

import numpy as np
import pytest
import yaml

from bart_bridge.files import cfl
from compare.results import table
from tests.compare.conftest import TINY, bart_of, bart_tf_undrawn
from tests.helper import relative_difference

VERSIONS = {"bart-0.8": "0.8.00", "bart-0.9": "0.9.00", "bart-1.0": "1.0.00"}


@pytest.mark.barts
def test_three_versions_and_keras(tmp_path):
    """One test for all that is looked at: several workers would run the experiment several times."""
    for name in VERSIONS:
        bart_of(name)
    content = yaml.safe_load(TINY) | {"engines": [*VERSIONS, "keras-tensorflow"], "baselines": ["cg-sense"]}
    del content["networks"]["modl"]
    content["inference_calls"] = 1
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    finished = bart_tf_undrawn("compare", tmp_path / "tiny.yaml", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    check_that_results_name_version_build_and_blas(tmp_path / "out")
    check_that_every_table_names_the_barts(tmp_path / "out")
    check_that_the_versions_agree(tmp_path / "out")


def check_that_results_name_version_build_and_blas(compared):
    results = table.read_results(compared)
    columns = ["engine_version", "engine_build", "engine_blas"]
    described = json.loads((compared / "machine.json").read_text())["bart"]
    for engine, version in VERSIONS.items():
        rows = results[results.engine == engine][columns].drop_duplicates()
        assert len(rows) == 1
        assert rows.engine_version.item() == described[engine]["version"] == version
        assert rows.engine_blas.item() == described[engine]["blas"]
        assert "OMP=1" in rows.engine_build.item()
    assert results[results.engine == "keras-tensorflow"].engine_blas.unique().tolist() == [""]
    baseline = results[results.engine == "cg-sense"].engine_blas.unique().tolist()
    assert baseline == [described["bart"]["blas"]]


def check_that_every_table_names_the_barts(compared):
    for path in (compared / "tables").glob("*.md"):
        text = path.read_text()
        for engine, version in VERSIONS.items():
            lines = [line for line in text.splitlines() if f"BART {version}, " in line and "built with " in line]
            assert any(engine in line.partition(": ")[0] for line in lines), path


def check_that_the_versions_agree(compared):
    """Trained from the same weights on the same data: 1e-7 apart before the training, and rounding after it."""
    for phase, bound in (("initial", 1e-6), ("apply", 1e-4)):
        first, *others = (
            np.array(cfl.read(compared / "runs" / f"varnet-{engine}" / f"{phase}-images"))
            for engine in [*VERSIONS, "keras-tensorflow"]
        )
        for images in others:
            assert relative_difference(images, first) < bound
