import numpy as np
import pytest

from compare.quality import measures


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
