"""Imported files of every kind reconstruct the image they were made of, through BART and through our operators."""

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.files import cfl
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.importers.pattern_choice import PatternChoice
from tests import foreign, foreign_fastmri, foreign_raw, foreign_twix, foreign_volumes
from tests.helper import relative_difference, to_complex
from tf_models.operators.conjugate_gradient import conjugate_gradient
from tf_models.operators.sense import SenseNormal
from tf_models.training.network_inputs import network_inputs, network_reference

OPTIONS = {"modl-hdf5": {"noise": 0.0}, "m4raw": {"repetition": "average"}, "skm-tea": {"contrast": "1"}}
KINDS = {
    "varnet-mat 5": ("varnet-mat", lambda truth, folder: foreign.write_varnet(truth, folder / "knee", subjects=[1])),
    "varnet-mat 7.3": (
        "varnet-mat",
        lambda truth, folder: foreign.write_varnet(truth, folder / "knee", version="7.3", subjects=[1]),
    ),
    "varnet-mat cfl": ("varnet-mat", lambda truth, folder: foreign.write_zenodo(truth, folder / "knee", subjects=[1])),
    "modl-hdf5": ("modl-hdf5", lambda truth, folder: foreign.write_modl(truth, folder / "dataset.hdf5")),
    "fastmri": ("fastmri", lambda truth, folder: foreign.write_fastmri(truth, folder / "file.h5")),
    "fastmri mask": ("fastmri", lambda truth, folder: foreign.write_fastmri(truth, folder / "file.h5", True)),
    "ismrmrd": ("ismrmrd", lambda truth, folder: foreign.write_ismrmrd(truth, folder / "raw.h5")),
    "ismrmrd undersampled": (
        "ismrmrd",
        lambda truth, folder: foreign.write_ismrmrd(truth, folder / "raw.h5", np.flatnonzero(foreign.regular_lines())),
    ),
    "fastmri prostate": ("fastmri", lambda truth, folder: foreign_fastmri.write_prostate(truth, folder / "file.h5")),
    "m4raw": ("m4raw", lambda truth, folder: foreign_fastmri.write_m4raw(truth, folder / "m4raw", ["T2"])),
    "skm-tea": ("skm-tea", lambda truth, folder: foreign_fastmri.write_skm_tea(truth, folder / "MTR_001.h5")),
    "ismrmrd reversed": ("ismrmrd", lambda truth, folder: foreign_raw.write_turned(truth, folder / "raw.h5")),
    "twix": ("twix", lambda truth, folder: foreign_twix.write_slices(truth, folder / "meas.dat")),
    "ismrmrd volume": ("ismrmrd", lambda truth, folder: foreign_raw.write_volume(truth, folder / "raw.h5")),
    "cfl": ("cfl", lambda truth, folder: foreign.write_bart(truth, folder / "kspace")),
    "cfl volume": ("cfl", lambda truth, folder: foreign_volumes.write_bart_volume(truth, folder / "kspace")),
    "calgary-campinas": (
        "calgary-campinas",
        lambda truth, folder: foreign_volumes.write_calgary(truth, folder / "volume.h5"),
    ),
    "cmrxrecon": ("cmrxrecon", lambda truth, folder: foreign_volumes.write_cmrxrecon(truth, folder / "cine.mat")),
}
# Slices of the truth in sources of which other slices are not part of it.
SLICES = {"varnet-mat": "0-2", "cfl volume": "2-4", "calgary-campinas": "2-4"}
# Partial k-space leaves some frequencies open, which iterations beyond convergence fill with rounding errors.
ITERATIONS = {"calgary-campinas": 4}


@pytest.fixture(scope="module", params=KINDS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def truth(name):
    """For partial k-space, images that need no more."""
    return foreign_volumes.make_band_limited_truth() if name == "calgary-campinas" else foreign.make_truth()


@pytest.fixture(scope="module")
def imported(name, truth, toolbox, tmp_path_factory):
    """The split `test` of a source with every second line and eight in the centre, or its own pattern."""
    folder = tmp_path_factory.mktemp("foreign")
    kind, write = KINDS[name]
    path = write(truth, folder)
    own_coils = kind in {"varnet-mat", "modl-hdf5", "skm-tea"}
    own_pattern = name in {"varnet-mat 5", "modl-hdf5", "fastmri mask", "ismrmrd undersampled"}
    pattern = PatternChoice() if own_pattern else PatternChoice("regular", 2, 8)
    coils = "" if own_coils else str(foreign.write_coils(truth, folder / "coils"))
    split = {"test": "tst0-2"} if kind == "modl-hdf5" else {"test": "all"}
    slices = SLICES.get(name, SLICES.get(kind))
    foreign.import_to(folder / "data", kind, path, split, pattern, coils, toolbox, slices, **OPTIONS.get(kind, {}))
    split = Dataset.open(folder / "data").split("test")
    split.validate()
    return name, split


def test_kspace_is_that_of_the_image_where_it_was_sampled(imported, truth):
    _, split = imported
    arrays = split.arrays()
    pattern = np.broadcast_to(arrays["pattern"], (foreign.SLICES, 1, foreign.Y, foreign.X))
    assert 0.2 < pattern.real.mean() < 0.7
    assert relative_difference(arrays["kspace"], pattern * truth.kspace) < 1e-5
    assert relative_difference(arrays["coils"], np.broadcast_to(truth.coils, arrays["coils"].shape)) < 1e-6


def test_bart_reconstructs_the_image(imported, truth, toolbox):
    name, split = imported
    arrays = {array: cfl.read(getattr(split, array)) for array in ("kspace", "coils", "pattern")}
    options = ["-w", 1, "-l2", "-r", 1e-7, "-i", ITERATIONS.get(name, 100)]
    for number, image in enumerate(truth.images):
        kspace, coils = arrays["kspace"][..., number], arrays["coils"][..., number]
        pattern = arrays["pattern"][..., number if arrays["pattern"].shape[-1] > 1 else 0]
        found = toolbox.compute("pics", *options, "-p", pattern, kspace, coils)
        assert relative_difference(to_batch_coil_yx(found)[0, 0], image) < 2e-3


def test_our_operators_reconstruct_the_image(imported, truth):
    name, split = imported
    inputs = network_inputs(split)
    normal = SenseNormal(inputs["coils"], inputs["psf"])
    found = conjugate_gradient(normal, inputs["adjoint"], ITERATIONS.get(name, 60))
    assert relative_difference(to_complex(np.asarray(found)), truth.images) < 2e-3


def test_reference_is_the_image(imported, truth):
    name, split = imported
    if name in {"fastmri mask", "ismrmrd undersampled"}:
        assert split.reference is None
    else:
        assert relative_difference(to_complex(network_reference(split)), truth.images) < 1e-5


def test_adjoint_is_the_one_of_the_original_modl(toolbox, tmp_path):
    truth = foreign.make_truth()
    path = foreign.write_modl(truth, tmp_path / "dataset.hdf5")
    foreign.import_to(tmp_path / "data", "modl-hdf5", path, {"test": "tst0-2"}, toolbox=toolbox, noise=0.0)
    coils = truth.coils.transpose(0, 2, 1)
    images = truth.images.transpose(0, 2, 1)[:, None]
    mask = np.fft.ifftshift(np.broadcast_to(foreign.regular_lines(), (foreign.X, foreign.Y)))
    original = np.sum(coils.conj() * np.fft.ifft2(mask * np.fft.fft2(coils * images)), axis=1)
    adjoint = to_complex(network_inputs(Dataset.open(tmp_path / "data").split("test"))["adjoint"])
    assert relative_difference(adjoint, original.transpose(0, 2, 1)) < 1e-5
