"""A whole comparison on data of two maps (soft SENSE)."""

import numpy as np
import pytest

from bart_bridge.data.dataset import SPLITS, Dataset
from bart_bridge.data.fourier import centred_fft
from bart_bridge.data.simulation import Simulation, simulate
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx, from_batch_map_coil_yx, from_batch_map_yx, to_batch_map_yx
from compare.measuring import quality
from compare.results import table as results
from tests.compare.conftest import bart_tf

EXPERIMENT = """
name: maps
dataset: {folder: FOLDER}
engines: [bart, keras-tensorflow-lean]
baselines: [cg-sense]
networks:
  varnet:
    network: {kind: varnet, iterations: 2, filters: 3, kernel_x: 3, kernel_y: 3, basis: 7}
    training: {algorithm: adam, learning_rate: 0.01, batch_size: 2, epochs: 2}
"""


def add_a_map(split):
    """Give every slice a second, weaker image with coils of its own."""
    arrays = split.arrays()
    coils = np.concatenate([arrays["coils"], 1j * arrays["coils"][:, :, ::-1, :, ::-1]], axis=1)
    images = np.concatenate([arrays["reference"], 0.3 * arrays["reference"][:, :, ::-1]], axis=1)
    kspace = centred_fft(np.sum(coils * images[:, :, None], axis=1)) * arrays["pattern"]
    cfl.write(split.coils, from_batch_map_coil_yx(coils.astype(np.complex64)))
    cfl.write(split.reference, from_batch_map_yx(images.astype(np.complex64)))
    cfl.write(split.kspace, from_batch_coil_yx(kspace.astype(np.complex64)))


@pytest.mark.slow
def test_two_maps_go_through_a_comparison(toolbox, tmp_path):
    settings = {"size": 24, "coil_count": 4, "train": 2, "validation": 1, "test": 2, "acceleration": 2, "noise": 0}
    simulate(tmp_path / "data", Simulation(**settings), toolbox)
    for name in SPLITS:
        add_a_map(Dataset.open(tmp_path / "data").split(name))
    (tmp_path / "maps.yaml").write_text(EXPERIMENT.replace("FOLDER", str(tmp_path / "data")))
    finished = bart_tf("compare", tmp_path / "maps.yaml", "-o", tmp_path / "out")
    assert finished.returncode == 0, finished.stderr
    table = results.read_results(tmp_path / "out")
    psnr = table[table.metric == "psnr"].groupby(["engine", "phase"]).value.mean()
    assert psnr["cg-sense", "apply"] > psnr["zero-filled", "apply"]
    for phase in ("initial", "apply"):
        assert abs(psnr["bart", phase] - psnr["keras-tensorflow-lean", phase]) < 1e-2
    # What is measured are root sums of squares over the maps.
    images = to_batch_map_yx(cfl.read(tmp_path / "out" / "references" / "cg-sense"))
    reference = Dataset.open(tmp_path / "data").split("test").arrays()["reference"]
    assert images.shape == reference.shape == (2, 2, 24, 24)
    combined = [np.sqrt(np.sum(np.abs(array) ** 2, axis=1)) for array in (images, reference)]
    expected = np.mean([quality.measures(*pair)["psnr"] for pair in zip(*combined, strict=True)])
    np.testing.assert_allclose(psnr["cg-sense", "apply"], expected, rtol=1e-5)
