"""Phantom datasets made with BART: the data that needs no download.

Phantoms are drawn in k-space, where BART knows them exactly, on a rotated Cartesian grid; a smooth random phase, coil
sensitivities (those of BART for up to 8 coils), complex noise and a sampling pattern or a trajectory follow. Every
random number comes from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from bart_bridge.data import dataset, noncartesian, trajectories
from bart_bridge.errors import InputError
from bart_bridge.files.dims import (
    from_batch_coil_samples,
    from_batch_coil_yx,
    from_batch_positions,
    to_batch_coil_yx,
)
from bart_bridge.tools.toolbox import Toolbox

# Random tubes in two of three phantoms, an object of flat shapes in the third: BART has three of those, one a split.
_GEOMETRY = {"train": 1, "validation": 3, "test": 2}
# `phantom -S` in two dimensions: 0.8.00 dies by an assertion with 9, 1.0.00 refuses.
_MOST_COILS_OF_BART = 8


class Simulation(BaseModel):
    """What a simulated dataset is like.

    Attributes:
        size: Pixels along x and y (default 48).
        coil_count: Number of receive coils (default 4). Up to 8 have BART's analytic sensitivities; it has no more in
            two dimensions, so beyond that they are those of `ring_of_coils`.
        train: Number of slices for training (default 24).
        validation: Number of slices for choosing parameters (default 4).
        test: Number of slices for the quality that is reported (default 8).
        slices_per_phantom: Slices that show one phantom, rotated; a phantom is never in two splits (default 2).
        noise: Standard deviation of the complex noise in k-space, relative to the maximum of the image (default 0.01).
        pattern: `random` is variable-density random sampling in two dimensions, `regular` every n-th phase-encoding
            line and a fully sampled centre; `radial`, `golden-angle` and `spiral` are not Cartesian, see
            `trajectories`, and leave acceleration and reference_size unused.
        nufft: What samples k-space along a trajectory and computes adjoint and psf, `bart` (default) or `finufft`,
            which is right for odd sizes, too; BART's engines refuse those.
        spokes: Spokes, or arms of a spiral (default 44).
        density_compensation: Weigh the samples by their density (default), or take all alike, see `trajectories`.
        acceleration: Pixels of k-space per sampled pixel for `random`, distance of lines for `regular` (default 4).
        reference_size: Width of the fully sampled centre in pixels (default 8).
        pattern_per_slice: Draw a new pattern for every slice, or continue the golden angle (default), or use one for
            all.
        seed: Seed of every random number (default 0).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: int = Field(48, ge=16, le=1024)
    coil_count: int = Field(4, ge=1, le=64)
    train: int = Field(24, ge=2)
    validation: PositiveInt = 4
    test: PositiveInt = 8
    slices_per_phantom: PositiveInt = 2
    noise: float = Field(0.01, ge=0, le=100)
    pattern: Literal["random", "regular"] | trajectories.Kind = "random"
    nufft: dataset.Nufft = "bart"
    spokes: PositiveInt = 44
    density_compensation: bool = True
    acceleration: float = Field(4.0, ge=1, le=1000)
    reference_size: int = Field(8, ge=0)
    pattern_per_slice: bool = True
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _size_is_even(self) -> Simulation:
        if self.pattern in trajectories.KINDS and self.size % 2 and self.nufft == "bart":
            raise ValueError(
                f"size must be even for pattern '{self.pattern}' with nufft 'bart', which is wrong otherwise; "
                "nufft 'finufft' takes any"
            )
        return self


def simulate(
    folder: Path, settings: Simulation, toolbox: Toolbox, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Make a dataset folder of phantoms; it appears only when it is complete.

    Args:
        folder: Where to; must not exist or be empty.
        settings: What it is like.
        toolbox: The BART that draws the phantoms.
        on_progress: Called with the number of slices that are done and that are wanted.

    Raises:
        InputError: The folder is not empty, or the settings contradict each other.
        ToolError: BART failed.
    """
    coils = _coils(settings, toolbox)
    total = settings.train + settings.validation + settings.test
    description = {
        "name": folder.name,
        "source": "simulated phantoms",
        "bart": toolbox.version_text,
        "simulation": settings.model_dump(),
    }
    if settings.nufft != "bart":
        description["nufft"] = settings.nufft
    done = 0
    with dataset.new_folder(folder, description) as temporary:
        for split in dataset.SPLITS:
            items = getattr(settings, split)
            generator = np.random.default_rng([settings.seed, dataset.SPLITS.index(split)])
            images = np.empty((items, 1, settings.size, settings.size), np.complex64)
            for item in range(items):
                phantom = item // settings.slices_per_phantom
                images[item, 0] = _image(settings, split, phantom, generator, toolbox)
                done += 1
                if on_progress:
                    on_progress(done, total)
            acquire = _acquire_along if settings.pattern in trajectories.KINDS else _acquire
            dataset.write_split(temporary / split, acquire(images, coils, settings, split, toolbox))
            written = replace(dataset.Split.in_folder(temporary / split), nufft=settings.nufft)
            noncartesian.prepare(written, toolbox)


def sampling_pattern(
    size_x: int, size_y: int, kind: str, acceleration: float, reference_size: int, generator: Generator
) -> NDArray[np.float32]:
    """Draw a sampling pattern.

    Args:
        size_x: Pixels along the readout.
        size_y: Pixels along the phase encoding.
        kind: `regular`: every n-th line along y and `reference_size` lines in the centre, constant along x.
            `random`: single positions with a density that falls off as the fourth power of the distance from the edge,
            `reference_size` squared in the centre, exactly one of `acceleration` positions in all.
        acceleration: At least 1; rounded to whole lines for `regular`.
        reference_size: Width of the fully sampled centre.
        generator: Source of randomness; not used by `regular`.

    Returns:
        Zeros and ones, `(y, x)`, centre at index `floor(n/2)`.

    Raises:
        InputError: The fully sampled centre alone holds more positions than the acceleration allows, or no position
            is sampled at all.
    """
    y, x = np.mgrid[:size_y, :size_x]
    from_centre_y, from_centre_x = y - size_y // 2, x - size_x // 2
    half = reference_size / 2
    in_lines = (from_centre_y >= -half) & (from_centre_y < half)
    if kind == "regular":
        return (in_lines | (from_centre_y % round(acceleration) == 0)).astype(np.float32)
    centre = in_lines & (from_centre_x >= -half) & (from_centre_x < half)
    wanted = round(size_x * size_y / acceleration) - int(centre.sum())
    if wanted < 0:
        raise InputError(
            f"reference_size must leave room for other samples: {reference_size} squared is more than 1 of "
            f"{acceleration:g} positions of {size_x} x {size_y}"
        )
    radius = np.hypot(from_centre_y / (size_y / 2), from_centre_x / (size_x / 2))
    density = np.where(centre, 0.0, np.clip(1 - radius / 1.5, 0, None) ** 4 + 1e-3)
    chosen = generator.choice(density.size, size=wanted, replace=False, p=(density / density.sum()).ravel())
    pattern = centre.astype(np.float32)
    pattern.flat[chosen] = 1
    if not pattern.any():
        raise InputError(f"acceleration must leave samples: none of {size_x} x {size_y} is left by {acceleration:g}")
    return pattern


def ring_of_coils(size_x: int, size_y: int, coil_count: int) -> NDArray[np.complex64]:
    """Smooth coil sensitivities for any number of coils.

    With the image from -1 to 1 along x and y, the coils lie at equal angles a on the circle of radius 1. Each has the
    magnitude exp(-d^2) at the distance d and the phase a plus 1 radian per unit along its own direction, which no
    other coil shares.

    Args:
        size_x: Pixels along x.
        size_y: Pixels along y.
        coil_count: At least 1.

    Returns:
        `(coil, y, x)`, with a root sum of squares of 1 at every pixel.
    """
    y, x = np.mgrid[-1 : 1 : size_y * 1j, -1 : 1 : size_x * 1j]
    angle = (2 * np.pi * np.arange(coil_count) / coil_count)[:, None, None]
    along = x * np.cos(angle) + y * np.sin(angle)
    squared_distance = (x - np.cos(angle)) ** 2 + (y - np.sin(angle)) ** 2
    coils = np.exp(-squared_distance + 1j * (angle + along))
    return (coils / np.sqrt(np.sum(np.abs(coils) ** 2, axis=0))).astype(np.complex64)


def _coils(settings: Simulation, toolbox: Toolbox) -> NDArray[np.complex64]:
    """Coil sensitivities of root sum of squares 1: `(1, coil, y, x)`."""
    if settings.coil_count > _MOST_COILS_OF_BART:
        return ring_of_coils(settings.size, settings.size, settings.coil_count)[None]
    coils = to_batch_coil_yx(toolbox.compute("phantom", "-S", settings.coil_count, "-x", settings.size))
    return coils / np.sqrt(np.sum(np.abs(coils) ** 2, axis=1, keepdims=True))


def _image(
    settings: Simulation, split: str, phantom: int, generator: Generator, toolbox: Toolbox
) -> NDArray[np.complex64]:
    """Draw one slice `(y, x)`: the phantom at a random angle, maximum magnitude 1, with a smooth phase."""
    size = settings.size
    angle = generator.uniform(0, 2 * np.pi)
    ky, kx = np.mgrid[:size, :size] - size // 2
    trajectory = np.stack(
        [np.cos(angle) * kx - np.sin(angle) * ky, np.sin(angle) * kx + np.cos(angle) * ky, np.zeros((size, size))]
    ).transpose(0, 2, 1)
    if phantom % 3 == 2:
        kspace = toolbox.compute("phantom", "-G", "-g", _GEOMETRY[split], "-k", "-t", trajectory).squeeze()
    else:
        # Shape and contrast belong to the phantom, not to the slice: every rotation of it shows the same object.
        seed = _bart_seed(settings.seed, dataset.SPLITS.index(split), phantom)
        contrast = np.random.default_rng(seed).uniform(0.1, 1.0, size=4 + seed % 5)
        contrast[0] = 0.4  # the body around the tubes, so that no single tube outshines the slice
        shapes = toolbox.compute("phantom", "-N", contrast.size, "-r", seed, "-b", "-k", "-t", trajectory)
        kspace = shapes.squeeze() @ contrast
    image = to_batch_coil_yx(toolbox.compute("fft", "-iu", 3, kspace))[0, 0]
    phase = _smooth_phase(size, generator)
    return (image / np.abs(image).max() * np.exp(1j * phase)).astype(np.complex64)


def _bart_seed(*numbers: int) -> int:
    """Mix numbers into one seed that BART takes, so that no two phantoms have the same."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0]) >> 1


def _smooth_phase(size: int, generator: Generator) -> NDArray[np.float64]:
    """A sum of the lowest spatial frequencies with random coefficients, radians `(y, x)`."""
    y, x = np.mgrid[:size, :size] / size
    phase = np.zeros((size, size))
    for order_y, order_x in np.ndindex(3, 3):
        offset_y, offset_x = generator.uniform(0, 2 * np.pi, size=2)
        phase += generator.normal() * np.cos(np.pi * order_y * y + offset_y) * np.cos(np.pi * order_x * x + offset_x)
    return phase


def _acquire(
    images: NDArray[np.complex64], coils: NDArray[np.complex64], settings: Simulation, split: str, toolbox: Toolbox
) -> dict[str, NDArray[np.complex64]]:
    items = len(images)
    all_coils = np.broadcast_to(coils, (items, *coils.shape[1:]))
    number = dataset.SPLITS.index(split)
    # One pattern for all slices is one for all splits, too.
    entropy = [settings.seed, number, 1] if settings.pattern_per_slice else [settings.seed]
    generator = np.random.default_rng(entropy)
    shape = (settings.size, settings.size, settings.pattern, settings.acceleration, settings.reference_size)
    count = items if settings.pattern_per_slice else 1
    pattern = np.stack([sampling_pattern(*shape, generator) for _ in range(count)])[:, None]
    kspace = toolbox.compute("fft", "-u", 3, from_batch_coil_yx(images * all_coils))
    if settings.noise > 0:
        kspace = toolbox.compute("noise", "-s", _bart_seed(settings.seed, number), "-n", settings.noise**2, kspace)
    bart_pattern = from_batch_coil_yx(pattern.astype(np.complex64))
    return {
        "kspace": kspace * bart_pattern,
        "coils": from_batch_coil_yx(all_coils),
        "pattern": bart_pattern,
        "reference": from_batch_coil_yx(images),
    }


def _acquire_along(
    images: NDArray[np.complex64], coils: NDArray[np.complex64], settings: Simulation, split: str, toolbox: Toolbox
) -> dict[str, NDArray[np.complex64]]:
    """As `_acquire`, along a trajectory."""
    many = len(images) if settings.pattern_per_slice and settings.pattern == "golden-angle" else 1
    positions = trajectories.trajectory(settings.pattern, settings.size, many * settings.spokes, toolbox)
    positions = positions.reshape(3, many, settings.spokes, -1).transpose(1, 0, 2, 3)
    kspace = trajectories.sample(images, coils, positions, toolbox if settings.nufft == "bart" else None)
    if settings.noise > 0:
        seed = _bart_seed(settings.seed, dataset.SPLITS.index(split))
        kspace = toolbox.compute("noise", "-s", seed, "-n", settings.noise**2, kspace)
    arrays = {
        "kspace": kspace,
        "trajectory": from_batch_positions(positions),
        "coils": from_batch_coil_yx(np.broadcast_to(coils, (len(images), *coils.shape[1:]))),
        "reference": from_batch_coil_yx(images),
    }
    if settings.density_compensation:
        weights = np.stack([trajectories.density_compensation(item, settings.size) for item in positions])
        arrays["pattern"] = from_batch_coil_samples(weights[:, None])
        arrays["kspace"] = kspace * arrays["pattern"]
    return arrays
