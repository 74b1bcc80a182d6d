from pathlib import Path

import numpy as np
import pytest

from bart_bridge.data.dataset import Dataset
from bart_bridge.data.simulation import simulate
from bart_bridge.errors import ToolError
from compare.measuring.quality import check_images, measured_by_bart, measures, of_volume, recomputed
from compare.settings.experiment import load
from tests.helper import to_complex
from tf_models.training.network_inputs import network_inputs


@pytest.fixture
def pair():
    generator = np.random.default_rng(0)
    reference = generator.normal(size=(20, 30)) + 1j * generator.normal(size=(20, 30))
    return (reference * 0.9 + 0.1).astype(np.complex64), reference.astype(np.complex64)


def test_formulas(pair):
    x, r = (np.abs(image).astype(float) for image in pair)
    found = measures(*pair)
    assert found["psnr"] == pytest.approx(20 * np.log10(r.max() / np.sqrt(np.mean((x - r) ** 2))))
    assert found["nmse"] == pytest.approx(np.sum((x - r) ** 2) / np.sum(r**2))


def test_phase_does_not_count(pair):
    image, reference = pair
    assert measures(image * 1j, reference) == pytest.approx(measures(image, reference), rel=1e-6)


def test_a_perfect_image(pair):
    reference = pair[1]
    found = measures(reference, reference)
    assert (found["psnr"], found["ssim"], found["nmse"]) == (np.inf, 1, 0)


def test_psnr_is_the_one_of_bart(pair, toolbox):
    image, reference = pair
    assert measures(*pair)["psnr"] == pytest.approx(
        toolbox.compute("measure", "--psnr", reference, image).item().real, abs=1e-4
    )


def test_bart_measures_every_slice_of_a_batch(toolbox):
    generator = np.random.default_rng(1)
    reference = (generator.normal(size=(3, 20, 30)) + 1j * generator.normal(size=(3, 20, 30))).astype(np.complex64)
    images = (reference + 0.1 * generator.normal(size=reference.shape)).astype(np.complex64)
    by_bart = measured_by_bart(images, reference, toolbox)
    for number, pair in enumerate(zip(images, reference, strict=True)):
        for name, value in recomputed(*pair).items():
            assert by_bart[name.replace("recomputed", "bart")][number] == pytest.approx(value, abs=1e-4)


def test_agreement_with_bart_on_images_of_the_size_of_the_demo(toolbox, tmp_path):
    settings = load(Path(__file__).resolve().parents[3] / "configs" / "demo.yaml").dataset.simulate
    simulate(tmp_path / "data", settings.model_copy(update={"train": 1, "validation": 1}), toolbox)
    split = Dataset.open(tmp_path / "data").split("test")
    reference = np.ascontiguousarray(split.arrays()["reference"][:, 0])
    images = to_complex(network_inputs(split)["adjoint"])
    by_bart = measured_by_bart(images, reference, toolbox)
    for measure in ("psnr", "ssim", "nmse"):
        ours = [recomputed(*pair)[f"{measure}_recomputed"] for pair in zip(images, reference, strict=True)]
        assert by_bart[f"{measure}_bart"] == pytest.approx(ours, abs=1e-4)


def test_the_fastmri_convention_takes_the_slices_as_one_volume(pair):
    """Two slices of different brightness: the brighter one sets the range of both."""
    image, reference = pair
    images, references = np.stack([image, 3 * image]), np.stack([reference, 3 * reference])
    whole, ssim = of_volume(images, references)
    x, r = np.abs(images).astype(float), np.abs(references).astype(float)
    assert whole["psnr_fastmri"] == pytest.approx(10 * np.log10(r.max() ** 2 / np.mean((x - r) ** 2)))
    assert whole["nmse_fastmri"] == pytest.approx(np.sum((x - r) ** 2) / np.sum(r**2))
    assert ssim[1] == pytest.approx(measures(image, reference)["ssim"])
    assert ssim[0] != pytest.approx(measures(image, reference)["ssim"], abs=1e-4)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "slice 1 is 0 everywhere"),
        (3 - 4j, "slice 1 is 5 everywhere"),
        (np.nan, "slice 1 has values that are not finite"),
        (np.inf, "slice 1 has values that are not finite"),
        (complex(0, -np.inf), "slice 1 has values that are not finite"),
    ],
)
def test_what_is_no_reconstruction_is_refused(value, message):
    images = np.random.default_rng(0).normal(size=(3, 1, 4, 4)).astype(np.complex64)
    # A second map of soft SENSE may be 0.
    check_images(np.concatenate([images, np.zeros_like(images)], axis=1))
    check_images(images)
    # One pixel is enough, but for a constant.
    images[1, 0, : 1 if np.isfinite(value) else None, 0] = value
    if np.isfinite(value):
        check_images(images)
        images[1] = value
    with pytest.raises(ToolError, match=message):
        check_images(images)
