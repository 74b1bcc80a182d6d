"""Images of heads, drawn from the slice of a brain that BART has since version 0.9.00.

BART has one slice. Each phantom is that slice with an anatomy of its own, a smooth random deformation, and a random
contrast of its four tissues. So phantoms differ as the heads of people do, but they all have the same folds. What is
thinner than a pixel is left out. Varied heads also differ in size, in which side is left, in the signal within each
tissue, and in up to five lesions.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bart_bridge.data.fourier import centred_fft, centred_ifft
from bart_bridge.data.phantoms import Phantom, bart_seed, pixel_positions, smooth_random
from bart_bridge.errors import InputError
from bart_bridge.files.dims import to_batch_coil_yx
from bart_bridge.tools import versions
from bart_bridge.tools.toolbox import Toolbox

# Labels are drawn finer than the image, so that its edges are those of a measured one. BART takes 20 s for 512 pixels.
_FINER, _MOST_PIXELS = 4, 512
_TISSUES = 4
# BART's head touches the edges of the image; so it keeps a distance, whatever its deformation.
_FIELD_OF_VIEW = 1.15
# In fields of view, of `smooth_random`: parts of a head move by 2 % of it, more would fold it.
_DEFORMATION = 0.015
# Standard deviation in pixels of the image. Thinner folds and bones could not be told apart.
_DETAIL = 0.9
_LARGEST_TILT = np.pi / 12
# Of varied heads. A tissue varies by 6 % (standard deviation), as with the field of real coils and with age.
_SCALES = (0.92, 1.08)
_TISSUE_VARIATION = 0.04
_MOST_LESIONS = 5
# Half axes in fields of view: 2 to 12 mm of 240 mm. Their edge takes a third of that.
_LESION_SIZES = (0.008, 0.05)
_LESION_EDGE = 1 / 3
_GREY_MATTER = 3


def labels(size: int, toolbox: Toolbox) -> NDArray[np.intp]:
    """Draw the tissues of BART's brain.

    Args:
        size: Pixels along x and y of the images that are made of them.
        toolbox: The BART whose `phantom` draws them.

    Returns:
        The tissue of each pixel, `(y, x)`, finer than the images: 0 outside the head, 1 to 4 for skin and skull,
        cerebrospinal fluid, grey matter, white matter.

    Raises:
        InputError: This BART has no brain.
    """
    if not toolbox.has(versions.BRAIN_PHANTOM):
        since = ".".join(map(str, versions.BRAIN_PHANTOM.since))
        raise InputError(
            f"phantom 'brain' needs BART {since} or later, {toolbox.path} is {toolbox.version_text}: use 'shapes', or "
            "name a newer BART with --bart or BART_TOOLBOX_PATH (make barts fetches 0.9 and 1.0)"
        )
    pixels = max(size, min(_FINER * size, _MOST_PIXELS))
    # Reports show x from top to bottom, where BART's head would lie on its side.
    drawn = to_batch_coil_yx(toolbox.compute("phantom", "--BRAIN", "-x", pixels))[0, 0].T
    return _without_details(np.rint(drawn.real).astype(np.intp), size)


def _without_details(tissues: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Give each pixel to the tissue with the largest share of its surroundings, a Gaussian of `_DETAIL`."""
    y, x = np.mgrid[: len(tissues), : len(tissues)] - len(tissues) // 2
    window = np.exp(-2 * (np.pi * _DETAIL / size) ** 2 * (y**2 + x**2))
    kinds = np.arange(_TISSUES + 1)[:, None, None]
    shares = centred_ifft(window * centred_fft((tissues == kinds).astype(np.complex128))).real
    return shares.argmax(axis=0)


def image(
    phantom: Phantom, tissues: NDArray[np.intp], shape: tuple[int, int], generator: Generator, varied: bool = False
) -> NDArray[np.complex64]:
    """Draw a phantom with a random tilt and a smooth random phase.

    Args:
        phantom: Which anatomy and contrast.
        tissues: What `labels` returns.
        shape: Pixels of the image, `(y, x)`; the field of view is a square.
        generator: Source of the tilt and of the phase.
        varied: Whether heads also differ in size and side, tissues vary, and there are lesions (default false).

    Returns:
        `(y, x)`, of maximum magnitude 1.
    """
    own = np.random.default_rng(phantom.bart_seed)
    variation = np.random.default_rng(bart_seed(phantom.bart_seed, 1)) if varied else None
    contrast = np.concatenate([[0], own.uniform(0.15, 1, size=_TISSUES)])
    pixels = len(tissues)
    y, x = (np.mgrid[:pixels, :pixels] - pixels // 2) / pixels * _FIELD_OF_VIEW
    tilt = generator.uniform(-_LARGEST_TILT, _LARGEST_TILT)
    y, x = np.cos(tilt) * y - np.sin(tilt) * x, np.sin(tilt) * y + np.cos(tilt) * x
    if variation:
        scale, side = variation.uniform(*_SCALES), variation.choice([-1, 1])
        y, x = y / scale, side * x / scale
    deformed = (axis + _DEFORMATION * smooth_random(y, x, own) for axis in (y, x))
    nearest = [np.rint(axis * pixels).astype(np.intp) + pixels // 2 for axis in deformed]
    inside = np.logical_and.reduce([(axis >= 0) & (axis < pixels) for axis in nearest])
    row, column = (np.where(inside, axis, 0) for axis in nearest)
    present = np.where(inside, tissues[row, column], 0)
    fine = contrast[present]
    if variation:
        fine = _with_lesions(_uneven(fine, present, y, x, variation), present, variation)
    # What a scanner sees of it: the centre of its k-space.
    low = tuple(slice(pixels // 2 - size // 2, pixels // 2 - size // 2 + size) for size in shape)
    drawn = np.abs(centred_ifft(centred_fft(fine.astype(np.complex128))[low]))
    return (drawn / drawn.max() * np.exp(1j * smooth_random(*pixel_positions(shape), generator))).astype(np.complex64)


def _uneven(
    fine: NDArray[np.float64],
    tissues: NDArray[np.intp],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    generator: Generator,
) -> NDArray[np.float64]:
    """Vary the signal smoothly within each tissue."""
    factors = np.ones(fine.shape)
    for tissue in range(1, _TISSUES + 1):
        of_tissue = tissues == tissue
        # Twice the lowest frequencies: two to three bumps across a head.
        factors[of_tissue] += _TISSUE_VARIATION * smooth_random(2 * y[of_tissue], 2 * x[of_tissue], generator)
    return fine * np.clip(factors, 0, None)


def _with_lesions(fine: NDArray[np.float64], tissues: NDArray[np.intp], generator: Generator) -> NDArray[np.float64]:
    """Add up to `_MOST_LESIONS` ellipses of random size, place and signal, centred in grey or white matter."""
    rows, columns = np.nonzero(tissues >= _GREY_MATTER)
    in_brain = tissues > 1
    for _ in range(generator.integers(_MOST_LESIONS + 1) if len(rows) else 0):
        centre = generator.integers(len(rows))
        y, x = np.indices(fine.shape)
        y, x = y - rows[centre], x - columns[centre]
        angle = generator.uniform(0, np.pi)
        along, across = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
        half_axes = generator.uniform(*_LESION_SIZES, size=2) * len(fine)
        radius = np.hypot(along / half_axes[0], across / half_axes[1])
        share = np.clip((1 - radius) / _LESION_EDGE, 0, 1) * in_brain
        fine = fine * (1 - share) + generator.uniform(0.1, 1) * share
    return fine
