"""Coil sensitivities of imported data, and the references that follow from them."""

import numpy as np
import pytest
import yaml

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.fourier import centred_ifft
from bart_bridge.errors import InputError, ToolError
from bart_bridge.files import cfl
from bart_bridge.files.dims import from_batch_coil_yx
from bart_bridge.importers.pattern_choice import PatternChoice
from tests import foreign
from tests.helper import random_complex, relative_difference


def arrays_of(folder, split="test"):
    opened = Dataset.open(folder).split(split)
    opened.validate()
    return opened.arrays()


@pytest.mark.parametrize(
    ("undersampled", "message"), [(0, "kspace/1 has a reference"), (1, "kspace/1 has no reference")]
)
def test_slices_with_and_without_a_reference(truth, tmp_path, undersampled, message):
    kspace = truth.kspace.copy()
    kspace[undersampled, :, ::2] = 0
    cfl.write(tmp_path / "kspace", from_batch_coil_yx(kspace))
    coils = foreign.write_coils(truth, tmp_path / "coils")
    with pytest.raises(
        InputError, match=f"{message}, others have .*: fully sampled slices need a dataset of their own"
    ):
        foreign.import_to(tmp_path / "data", "cfl", tmp_path / "kspace", coils=str(coils))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (slice(16, 20), "at least 6 x 6 samples, the size of its kernel .-k., found 32 x 4"),
        (slice(0, 10), "found 0 x 0"),
    ],
)
def test_a_small_centre_of_kspace_is_named(truth, toolbox, tmp_path, lines, message):
    """BART ends by an assertion, or without a calibration region."""
    kspace = np.zeros_like(truth.kspace[:1])
    kspace[:, :, lines], kspace[:, :, ::4] = truth.kspace[:1, :, lines], truth.kspace[:1, :, ::4]
    kspace[:, :, 20 if lines.start else 18] = 0
    cfl.write(tmp_path / "kspace", from_batch_coil_yx(kspace))
    with pytest.raises(InputError, match=f"slice 0 of test, kspace/0: ecalib needs .*{message}"):
        foreign.import_to(tmp_path / "data", "cfl", tmp_path / "kspace", toolbox=toolbox)


def test_a_slice_in_which_ecalib_finds_nothing_can_be_left_out(truth, toolbox, tmp_path):
    """Outside of the object, slices of a volume may be below the threshold everywhere."""
    path = foreign.write_bart(truth, tmp_path / "kspace")
    with pytest.raises(InputError, match=r"ecalib finds no coil sensitivities.*--slices and --split leave slices out"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils="ecalib -c 1.1", toolbox=toolbox)


@pytest.mark.parametrize("coils", ["", "ecalib -r 20 -c 0.2", "ecalib -r20 -S"])
def test_estimated_coils_combine_to_the_image(truth, toolbox, tmp_path, coils):
    path = foreign.write_fastmri(truth, tmp_path / "file.h5")
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, {"test": "0"}, coils=coils, toolbox=toolbox)
    reference, image = np.abs(arrays_of(folder)["reference"][0, 0]), np.abs(truth.images[0])
    inside = image > 0.2 * image.max()
    assert relative_difference(reference[inside], image[inside]) < 0.05
    assert yaml.safe_load((folder / "dataset.yaml").read_text())["bart"] == toolbox.version_text


@pytest.mark.parametrize("option", ["-a", "-W"])
def test_estimates_that_draw_random_numbers_are_the_same_with_every_bart(
    truth, each_toolbox, toolbox, tmp_path, option
):
    """Within 1e-4; other random numbers move them by 15 %."""
    noise = 0.02 * np.abs(truth.images).max() * random_complex(np.random.default_rng(0), *truth.kspace[0].shape)
    cfl.write(tmp_path / "kspace", from_batch_coil_yx((truth.kspace[0] + noise)[None]))
    coils = []
    for number, bart in enumerate((each_toolbox, toolbox)):
        choice = {"coils": f"ecalib {option}", "toolbox": bart}
        coils.append(
            arrays_of(foreign.import_to(tmp_path / f"{number}", "cfl", tmp_path / "kspace", **choice))["coils"]
        )
    assert relative_difference(*coils) < 1e-4


@pytest.mark.parametrize("from_file", [False, True])
def test_two_maps(truth, toolbox, tmp_path, from_file):
    """Soft SENSE: what both maps explain of the measured data is at least what the first does."""
    path, choice = foreign.write_fastmri(truth, tmp_path / "file.h5"), "ecalib -m 2 -c 0.1"
    folder = foreign.import_to(tmp_path / "data", "fastmri", path, {"test": "0"}, coils=choice, toolbox=toolbox)
    if from_file:
        choice = str(folder / "test" / "coils")
        folder = foreign.import_to(tmp_path / "again", "fastmri", path, {"test": "0"}, coils=choice, toolbox=toolbox)
    split = Dataset.open(folder).split("test")
    split.validate()
    arrays = split.arrays()
    coils, images = arrays["coils"][0], arrays["reference"][0]
    assert coils.shape == (2, *truth.coils.shape)
    assert np.abs(coils[1]).max() > 0.1
    measured = centred_ifft(arrays["kspace"][0])
    explained = [np.sum(coils[:maps] * images[:maps, None], axis=0) for maps in (1, 2)]
    errors = [relative_difference(found, measured) for found in explained]
    assert errors[1] < errors[0]


def test_measured_brain_has_the_coils_and_the_reference_that_bart_gives(shared, toolbox, tmp_path):
    brain = shared / "data/real/brain_t1_8ch"
    choice = PatternChoice(str(brain / "pattern_vd6"))
    folder = foreign.import_to(tmp_path / "data", "cfl", brain / "kspace", pattern=choice, toolbox=toolbox)
    split = Dataset.open(folder).split("test")
    split.validate()
    expected = {"coils": "sens", "reference": "ref", "pattern": "pattern_vd6"}
    for name, file in expected.items():
        assert relative_difference(cfl.read(getattr(split, name)).squeeze(), cfl.read(brain / file).squeeze()) < 1e-5
    sampled = toolbox.compute("fmac", brain / "kspace", brain / "pattern_vd6")
    np.testing.assert_array_equal(cfl.read(split.kspace).squeeze(), sampled.squeeze())


@pytest.mark.parametrize("option", ["-d 2", "--help", "-x", "output", "; ls", "-r /tmp/x", "-r"])
def test_unknown_options_of_ecalib(truth, toolbox, tmp_path, option):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    error, message = (ToolError, "bart ecalib") if option == "-r" else (InputError, "ecalib takes the options")
    with pytest.raises(error, match=message):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=f"ecalib {option}", toolbox=toolbox)
    assert not (tmp_path / "data").exists()


def test_coils_that_do_not_fit(truth, tmp_path):
    path = foreign.write_bart(truth, tmp_path / "kspace")
    cfl.write(tmp_path / "two", from_batch_coil_yx(np.repeat(truth.coils[None], 2, axis=0)))
    cfl.write(tmp_path / "small", from_batch_coil_yx(truth.coils[None, :, 1:]))
    with pytest.raises(InputError, match="of 1 or of all 3 slices are needed, found 2"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=str(tmp_path / "two"))
    with pytest.raises(InputError, match=r"kspace/0: coil sensitivities must have the shape of k-space \(4, 36, 32\)"):
        foreign.import_to(tmp_path / "data", "cfl", path, coils=str(tmp_path / "small"))
