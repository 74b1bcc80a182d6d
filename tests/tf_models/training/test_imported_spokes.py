"""Spokes of an ISMRMRD file reconstruct the image they were made of."""

from dataclasses import replace

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.noncartesian import prepare
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx, to_batch_coil_yx
from tests import foreign, foreign_fastmri, foreign_raw
from tests.foreign_raw import radial
from tests.helper import relative_difference, to_complex
from tf_models.operators.conjugate_gradient import conjugate_gradient
from tf_models.operators.sense import SenseNormal
from tf_models.training.network_inputs import network_inputs

X, Y = foreign.X, foreign.Y


def smooth(truth):
    """The truth without the corners of k-space, which spokes do not reach."""
    y, x = np.arange(Y) - Y // 2, np.arange(X) - X // 2
    window = np.exp(-((y[:, None] / 6) ** 2) - (x / 6) ** 2)
    return foreign.Truth(foreign.dft((window * foreign.dft(truth.images)).conj()).conj(), truth.coils)


@pytest.mark.parametrize("maps", ["known", "ecalib"])
def test_spokes_reconstruct_the_image_through_bart_and_our_operators(toolbox, tmp_path, maps):
    """Estimated coils have a phase of their own in each pixel: magnitudes are compared there."""
    truth = smooth(foreign.make_truth())
    path = foreign_raw.write_radial(truth, tmp_path / "raw.h5", radial(), numbers=(0, 1))
    choice = str(foreign.write_coils(truth, tmp_path / "known")) if maps == "known" else "ecalib -c 0.01"
    folder = foreign.import_to(tmp_path / "data", "ismrmrd", path, coils=choice, toolbox=toolbox)
    split = Dataset.open(folder).split("test")
    split.validate()
    assert split.trajectory_warnings() == []
    arrays = split.arrays()
    assert {name: array.shape for name, array in arrays.items()} == {
        "kspace": (2, 4, 48, 64),
        "coils": (2, 1, 4, Y, X),
        "pattern": (1, 1, 48, 64),
        "trajectory": (1, 3, 48, 64),
    }
    # finufft is exact, BART's nufft within a percent.
    inputs = network_inputs(prepare(replace(split, nufft="finufft"), None))
    solved = conjugate_gradient(SenseNormal(inputs["coils"], inputs["psf"]), inputs["adjoint"], 100)
    for number, ours in enumerate(to_complex(np.asarray(solved))):
        kspace, coil_maps = (cfl.read(getattr(split, name))[..., number] for name in ("kspace", "coils"))
        options = ("-w", 1, "-l2", "-r", 1e-4, "-i", 100, "-t", split.trajectory)
        by_bart = to_batch_coil_yx(toolbox.compute("pics", *options, kspace, coil_maps))[0, 0]
        expected = truth.images[number]
        if maps == "known":
            assert relative_difference(ours, expected) < 2e-3
            assert relative_difference(by_bart, expected) < 0.02
            continue
        inside = np.abs(expected) > 0.2 * np.abs(expected).max()
        for image in (ours, by_bart):
            assert relative_difference(np.abs(image[inside]), np.abs(expected[inside])) < 0.05


def test_breast_data_reconstruct_the_images(toolbox, tmp_path):
    truth = smooth(foreign.make_truth())
    path = foreign_fastmri.write_breast(truth, tmp_path / "file.h5")
    square = slice((Y - X) // 2, (Y - X) // 2 + X)
    cfl.write(tmp_path / "coils", from_batch_coil_yx(truth.coils[None, :, square]))
    split = {"test": "0-2"}
    folder = foreign.import_to(tmp_path / "data", "fastmri-breast", path, split, coils=str(tmp_path / "coils"))
    split = Dataset.open(folder).split("test")
    split.validate()
    inputs = network_inputs(prepare(replace(split, nufft="finufft"), None))
    solved = conjugate_gradient(SenseNormal(inputs["coils"], inputs["psf"]), inputs["adjoint"], 100)
    for number, ours in enumerate(to_complex(np.asarray(solved))):
        kspace = cfl.read(split.kspace)[..., number]
        options = ("-w", 1, "-l2", "-r", 1e-4, "-i", 100, "-t", split.trajectory)
        by_bart = to_batch_coil_yx(toolbox.compute("pics", *options, kspace, tmp_path / "coils"))[0, 0]
        assert relative_difference(ours, truth.images[number][square]) < 5e-3
        assert relative_difference(by_bart, truth.images[number][square]) < 0.02
