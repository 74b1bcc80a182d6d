"""Which phantom an experiment has: where BART has no brain, in what stays, and in the report."""

import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.tools import versions
from bart_bridge.tools.discovery import every_bart
from compare.console import Reporter
from compare.running.prepared_data import open_dataset
from compare.settings.experiment import load

EXPERIMENT = """
name: phantoms
dataset:
  simulate: {size: 16, coil_count: 2, train: 2, validation: 1, test: 1, reference_size: 4, phantom: brain-or-shapes}
"""


@pytest.mark.barts
def test_a_dataset_of_shapes_stays_when_bart_gets_a_brain(tmp_path):
    newest_last = sorted(every_bart()[0], key=lambda toolbox: toolbox.version)
    older, newer = newest_last[0], newest_last[-1]
    if older.has(versions.BRAIN_PHANTOM) or not newer.has(versions.BRAIN_PHANTOM):
        pytest.skip("a BART with a brain and one without are needed")
    path = tmp_path / "phantoms.yaml"
    path.write_text(EXPERIMENT)

    def source(toolbox, folder):
        return open_dataset(load(path), tmp_path / folder, toolbox, Reporter(-1)).dataset.description["source"]

    (tmp_path / "new").mkdir()
    (tmp_path / "kept").mkdir()
    assert source(newer, "new") == "simulated brains"
    assert source(older, "kept") == "simulated phantoms"
    assert source(newer, "kept") == "simulated phantoms"
    assert not (tmp_path / "kept" / "older").exists()
    path.write_text(EXPERIMENT.replace("brain-or-shapes", "brain"))
    assert source(newer, "kept") == "simulated brains"
    assert (tmp_path / "kept" / "older").exists()


def test_a_dataset_of_an_earlier_version_stays(toolbox, tmp_path):
    """Its description names no phantom."""
    path = tmp_path / "phantoms.yaml"
    path.write_text(EXPERIMENT.replace("brain-or-shapes", "shapes"))
    open_dataset(load(path), tmp_path, toolbox, Reporter(-1))
    description = tmp_path / "dataset" / "dataset.yaml"
    former = description.read_text().replace("  phantom: shapes\n", "")
    description.write_text(former)
    open_dataset(load(path), tmp_path, toolbox, Reporter(-1))
    assert description.read_text() == former
    assert "phantom" not in Dataset.open(tmp_path / "dataset").description["simulation"]
