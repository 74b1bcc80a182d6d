"""Datasets of numerical phantoms, simulated with BART: data that needs no download.

`phantoms` or `brains` draw the images. They are multiplied with coil sensitivities (see `coils`), transformed to
k-space, and sampled with noise, by a pattern (see `patterns`) or along a trajectory (see `trajectories`). All random
numbers follow from the seed. Newer versions of BART are asked for the numbers of version 0.8.00, so the dataset does
not depend on the version: Debian's builds of 0.8.00 and 1.0.00 give the same bits, except for k-space of odd sizes
(1e-7); 0.9.00 samples trajectories within 4e-7. The k-space of another build, with another FFTW, differs by rounding
(1e-7). Only BART 0.9.00 and later have a brain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from bart_bridge.data import brains, dataset, noncartesian, trajectories
from bart_bridge.data.coils import sensitivities
from bart_bridge.data.patterns import sampling_pattern
from bart_bridge.data.phantoms import Phantom, bart_seed
from bart_bridge.files.dims import from_batch_coil_samples, from_batch_coil_yx, from_batch_positions
from bart_bridge.tools import versions
from bart_bridge.tools.toolbox import Toolbox

# The source of a dataset, as its description and results name it.
SOURCES = {
    "shapes": "simulated phantoms",
    "brain": "simulated brains",
    "varied-brain": "simulated brains with lesions",
}


class Simulation(BaseModel):
    """Settings of a simulated dataset.

    Attributes:
        size: Pixels along x, and along y unless `size_y` says otherwise, 16 to 1024 (default 48).
        size_y: Pixels along y, 16 to 1024 (default as along x); the field of view stays a square. Cartesian only.
        coil_count: Number of receive coils, 1 to 64 (default 4). Up to 8 have BART's analytic sensitivities; beyond
            that, and for images that are no squares, where BART has none, `coils.ring_of_coils` computes them.
        train: Slices for training, 2 or more (default 24).
        validation: Slices for choosing parameters (default 4).
        test: Slices for the reported quality (default 8).
        phantom: What the images show. `shapes` (default) are random tubes and flat shapes, see `phantoms`. `brain`, see
            `brains`, needs BART 0.9.00, and so does `varied-brain`, which has more differences between heads: their
            size, their side, tissues that vary, lesions. `brain-or-shapes` is a brain if the BART in use has it.
        slices_per_phantom: Slices that show one phantom, each rotated (default 2). No phantom is in two splits.
        noise: Standard deviation of the complex noise in k-space, relative to the maximum of the image (default 0.01).
        pattern: `random` (default) samples positions with variable density in two dimensions, `regular` every n-th
            phase-encoding line and a fully sampled centre. `radial`, `golden-angle` and `spiral` are not Cartesian, see
            `trajectories`, and do not use acceleration and reference_size.
        nufft: Which program samples k-space along a trajectory and computes adjoint and psf: `bart` (default), or
            `finufft`, which is also right for odd sizes; BART's engines refuse those. `bart` samples k-space as version
            0.8.00 does, 1.0014 times the exact sum.
        spokes: Spokes, or arms of a spiral (default 44).
        density_compensation: Whether samples are weighted by their density (default), see `trajectories`.
        acceleration: Pixels of k-space per sampled pixel for `random`, distance of lines for `regular` (default 4).
        reference_size: Width of the fully sampled centre in pixels (default 8).
        pattern_per_slice: Whether every slice has a pattern of its own, or continues the golden angle (default);
            otherwise all slices share one.
        seed: Seed of every random number (default 0).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: int = Field(48, ge=16, le=1024)
    size_y: int | None = Field(None, ge=16, le=1024)
    coil_count: int = Field(4, ge=1, le=64)
    train: int = Field(24, ge=2)
    validation: PositiveInt = 4
    test: PositiveInt = 8
    phantom: Literal["shapes", "brain", "varied-brain", "brain-or-shapes"] = "shapes"
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

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore pickled settings; those of earlier versions have the defaults of what came later."""
        super().__setstate__({**state, "__dict__": DEFAULTS | state["__dict__"]})

    @model_validator(mode="after")
    def _size_is_even(self) -> Simulation:
        if self.pattern in trajectories.KINDS and self.size % 2 and self.nufft == "bart":
            raise ValueError(
                f"size must be even for pattern '{self.pattern}' with nufft 'bart', which is wrong otherwise; "
                "nufft 'finufft' takes any"
            )
        if self.pattern in trajectories.KINDS and self.size_y not in (None, self.size):
            raise ValueError(
                f"size_y: along the trajectory '{self.pattern}', images are squares (received {self.size_y} for "
                f"{self.size} pixels along x)"
            )
        return self

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels of an image, `(y, x)`."""
        return self.size_y or self.size, self.size


DEFAULTS = {name: field.default for name, field in Simulation.model_fields.items()}


def simulate(
    folder: Path, settings: Simulation, toolbox: Toolbox, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Make a dataset folder of phantoms, which appears only when it is complete.

    Args:
        folder: The new folder; it must not exist, or be empty.
        settings: Settings of the dataset.
        toolbox: The BART that draws the phantoms.
        on_progress: Called after each slice with the number of slices so far and in all.

    Raises:
        InputError: The folder is not empty, the settings contradict each other, or this BART has no such phantom.
        ToolError: BART failed.
    """
    drawn_by = toolbox.in_the_form_of(versions.SIMULATION)
    if settings.phantom == "brain-or-shapes":
        phantom_kind = "brain" if toolbox.has(versions.BRAIN_PHANTOM) else "shapes"
        settings = settings.model_copy(update={"phantom": phantom_kind})
    draw = _drawing(settings, drawn_by)
    coils = sensitivities(settings.shape, settings.coil_count, drawn_by)
    total = settings.train + settings.validation + settings.test
    description: dict[str, Any] = {
        "name": folder.name,
        "source": SOURCES[settings.phantom],
        "bart": toolbox.version_text,
        "simulation": settings.model_dump(),
    }
    if settings.nufft != "bart":
        description["nufft"] = settings.nufft
    done = 0
    with dataset.new_folder(folder, description) as temporary:
        for split in dataset.SPLITS:
            slice_count = getattr(settings, split)
            generator = np.random.default_rng([settings.seed, dataset.SPLITS.index(split)])
            images = np.empty((slice_count, 1, *settings.shape), np.complex64)
            for number in range(slice_count):
                phantom = Phantom(split, number // settings.slices_per_phantom, settings.seed)
                images[number, 0] = draw(phantom, generator)
                done += 1
                if on_progress:
                    on_progress(done, total)
            acquire = _acquire_along_trajectory if settings.pattern in trajectories.KINDS else _acquire_with_pattern
            dataset.write_split(temporary / split, acquire(images, coils, settings, split, drawn_by))
            written = replace(dataset.Split.in_folder(temporary / split), nufft=settings.nufft)
            noncartesian.prepare(written, toolbox)


def _drawing(settings: Simulation, toolbox: Toolbox) -> Callable[[Phantom, Generator], NDArray[np.complex64]]:
    """Return what draws a slice of a phantom."""
    shape, varied = settings.shape, settings.phantom == "varied-brain"
    if varied or settings.phantom == "brain":
        tissues = brains.labels(max(shape), toolbox)
        return lambda phantom, generator: brains.image(phantom, tissues, shape, generator, varied)
    return lambda phantom, generator: phantom.image(shape, generator, toolbox)


def _acquire_with_pattern(
    images: NDArray[np.complex64], coils: NDArray[np.complex64], settings: Simulation, split: str, toolbox: Toolbox
) -> dict[str, NDArray[np.complex64]]:
    """Return the BART arrays of a split: images `(batch, 1, y, x)` seen by coils `(1, coil, y, x)`."""
    slice_count = len(images)
    all_coils = np.broadcast_to(coils, (slice_count, *coils.shape[1:]))
    # One pattern for all slices is also one for all splits.
    entropy = [settings.seed, dataset.SPLITS.index(split), 1] if settings.pattern_per_slice else [settings.seed]
    generator = np.random.default_rng(entropy)
    size_y, size_x = settings.shape
    shape = (size_x, size_y, settings.pattern, settings.acceleration, settings.reference_size)
    pattern_count = slice_count if settings.pattern_per_slice else 1
    pattern = np.stack([sampling_pattern(*shape, generator) for _ in range(pattern_count)])[:, None]
    kspace = toolbox.compute("fft", "-u", 3, from_batch_coil_yx(images * all_coils))
    bart_pattern = from_batch_coil_yx(pattern.astype(np.complex64))
    return {
        "kspace": _noisy(kspace, settings, split, toolbox) * bart_pattern,
        "coils": from_batch_coil_yx(all_coils),
        "pattern": bart_pattern,
        "reference": from_batch_coil_yx(images),
    }


def _acquire_along_trajectory(
    images: NDArray[np.complex64], coils: NDArray[np.complex64], settings: Simulation, split: str, toolbox: Toolbox
) -> dict[str, NDArray[np.complex64]]:
    """Sample along a trajectory instead, see `_acquire_with_pattern`."""
    count = len(images) if settings.pattern_per_slice and settings.pattern == "golden-angle" else 1
    positions = trajectories.trajectory(settings.pattern, settings.size, count * settings.spokes, toolbox)
    positions = positions.reshape(3, count, settings.spokes, -1).transpose(1, 0, 2, 3)
    kspace = trajectories.sample(images, coils, positions, toolbox if settings.nufft == "bart" else None)
    kspace = _noisy(kspace, settings, split, toolbox)
    arrays = {
        "kspace": kspace,
        "trajectory": from_batch_positions(positions),
        "coils": from_batch_coil_yx(np.broadcast_to(coils, (len(images), *coils.shape[1:]))),
        "reference": from_batch_coil_yx(images),
    }
    if settings.density_compensation:
        weights = np.stack([trajectories.density_compensation(one, settings.size) for one in positions])
        arrays["pattern"] = from_batch_coil_samples(weights[:, None])
        arrays["kspace"] = kspace * arrays["pattern"]
    return arrays


def _noisy(kspace: NDArray[np.complex64], settings: Simulation, split: str, toolbox: Toolbox) -> NDArray[np.complex64]:
    if settings.noise == 0:
        return kspace
    seed = bart_seed(settings.seed, dataset.SPLITS.index(split))
    return toolbox.compute("noise", "-s", seed, "-n", settings.noise**2, kspace)
