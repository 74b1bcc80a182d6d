"""The inputs that networks need for non-Cartesian data: the adjoint image, and the psf of the normal operator.

BART's nufft or finufft computes both once for each split. They lie in a folder beside the k-space,
`gridded-<program and version>-<hash of the data>`, as arrays `adjoint` and `psf` with a text `made-by.txt`.
"""

from __future__ import annotations

import errno
import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data import content
from bart_bridge.data.dataset import Split, each_slice
from bart_bridge.data.fourier import centred_fft
from bart_bridge.errors import InputError, MissingExtraError, ToolError
from bart_bridge.files import atomic, cfl
from bart_bridge.files.dims import (
    from_batch_coil_samples,
    from_batch_coil_yx,
    from_batch_map_yx,
    from_batch_positions,
    to_batch_coil_yx,
    to_batch_map_yx,
)
from bart_bridge.tools.toolbox import Toolbox

Complex = NDArray[np.complexfloating]


def prepare(split: Split, toolbox: Toolbox | None) -> Split:
    """Compute adjoint and psf of a split with a trajectory, unless they exist; they appear only when complete.

    Several processes may do this at once; all use the result of the first.

    Args:
        split: A valid split; one without a trajectory is returned as it is.
        toolbox: The BART to use if the split's `nufft` is `bart`; None for finufft.

    Returns:
        The split with `gridded_by`, so that `read` finds the arrays of this program.

    Raises:
        InputError: The image has an odd number of pixels along an axis, which BART's nufft gets wrong.
        ToolError: BART failed, or finufft is needed and not installed.
    """
    split = named(split, toolbox)
    if split.trajectory is None:
        return split
    if split.nufft == "finufft":
        toolbox = None
    (folder,) = _folders(split)
    if _is_complete(folder):
        return split
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic.new_folder(folder) as temporary:
            adjoint, psf = compute(split, toolbox)
            cfl.write(temporary / "adjoint", from_batch_map_yx(adjoint.astype(np.complex64)))
            cfl.write(temporary / "psf", from_batch_coil_yx(psf[:, None].astype(np.complex64)))
            (temporary / "made-by.txt").write_text(f"{split.gridded_by}\n")
    except OSError as error:
        # Another process was faster, with the same result.
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not _is_complete(folder):
            raise
    return split


def named(split: Split, toolbox: Toolbox | None) -> Split:
    """Return a split whose `gridded_by` names the program of `prepare`; nothing is computed.

    Raises:
        MissingExtraError: finufft is needed and not installed.
    """
    if split.trajectory is None:
        return split
    if toolbox is not None and split.nufft != "finufft":
        return replace(split, gridded_by=f"BART {toolbox.version_text}")
    if not find_spec("finufft"):
        raise MissingExtraError("finufft", "nufft")
    return replace(split, gridded_by=f"finufft {version('finufft')}")


@contextmanager
def prepared(*splits: Split | None) -> Iterator[list[Split | None]]:
    """Prepare splits in a temporary folder instead, with BART, or with finufft if there is no BART.

    Args:
        splits: Splits, with or without a trajectory, or None.

    Yields:
        The splits, those with a trajectory with that folder as their `cache`.

    Raises:
        InputError: A split is not valid, or as for `prepare`.
        ToolError: There is neither BART nor finufft, or BART failed.
    """
    if not any(split and split.trajectory for split in splits):
        yield list(splits)
        return
    with tempfile.TemporaryDirectory(prefix="gridded-") as folder:
        try:
            toolbox = Toolbox.find()
        except ToolError:
            if not find_spec("finufft"):
                raise
            toolbox = None
        ready = list(splits)
        for number, split in enumerate(splits):
            if split and split.trajectory:
                split.validate_form()
                ready[number] = prepare(replace(split, cache=Path(folder)), toolbox)
        yield ready


def read(split: Split) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Open the arrays that `prepare` wrote, memory-mapped: adjoint `(batch, map, y, x)` and psf `(batch or 1, 2y, 2x)`.

    Raises:
        InputError: There are none for these files, or those of several programs, and the split's `gridded_by` names
            none of them.
    """
    complete = [folder for folder in _folders(split) if _is_complete(folder)]
    if len(complete) > 1:
        makers = ", ".join((folder / "made-by.txt").read_text().strip() for folder in complete)
        raise InputError(f"{split.trajectory}: adjoint and psf were computed by {makers}; name one as gridded_by")
    if not complete:
        by = f" by {split.gridded_by}" if split.gridded_by else ""
        raise InputError(f"{split.trajectory}: adjoint and psf of its data were not computed{by}")
    folder = complete[0]
    return to_batch_map_yx(cfl.read(folder / "adjoint")), to_batch_coil_yx(cfl.read(folder / "psf"))[:, 0]


def compute(split: Split, toolbox: Toolbox | None) -> tuple[Complex, NDArray[np.floating]]:
    """Compute adjoint and psf of all slices.

    Args:
        split: Slices with a trajectory.
        toolbox: The BART to use; None for finufft, in double precision.

    Returns:
        The adjoint A^H y `(batch, map, y, x)`, and the psf `(batch, 2y, 2x)` as `tf_models.operators.sense.SenseNormal`
        takes it; `(1, 2y, 2x)` if one trajectory and one pattern serve all slices.
    """
    arrays = split.arrays()
    y, x = arrays["coils"].shape[-2:]
    if toolbox and (y % 2 or x % 2):
        raise InputError(
            f"{split.coils}: BART's nufft is correct for even image sizes only, found {x} x {y}; "
            "'nufft: finufft' in dataset.yaml takes any"
        )
    one_psf = len(arrays["trajectory"]) == 1 and len(arrays.get("pattern", ())) == 1
    adjoints: list[Complex] = []
    psfs: list[NDArray[np.floating]] = []
    for number, (kspace, coils, weights) in enumerate(each_slice(arrays)):
        trajectory = arrays["trajectory"][number if len(arrays["trajectory"]) > 1 else 0].real
        data = weights.conj() * kspace
        images = _bart_adjoint(data, trajectory, (y, x), toolbox) if toolbox else _adjoint(data, trajectory, (y, x))
        adjoints.append(np.sum(coils.conj() * images, axis=1))
        if not (one_psf and psfs):
            psfs.append(
                _bart_psf(weights, trajectory, (y, x), toolbox) if toolbox else _psf(weights, trajectory, (y, x))
            )
    return np.stack(adjoints), np.stack(psfs)


def _bart_adjoint(data: Complex, trajectory: NDArray[np.floating], size: tuple[int, int], toolbox: Toolbox) -> Complex:
    """Compute the adjoint NUFFT of each coil, `(coil, y, x)`, exactly as `reconet --trajectory` computes it."""
    files = from_batch_positions(trajectory[None]), from_batch_coil_samples(data[None])
    return to_batch_coil_yx(toolbox.compute("nufft", "-a", "-d", f"{size[1]}:{size[0]}:1", *files))[0]


def _bart_psf(
    weights: Complex, trajectory: NDArray[np.floating], size: tuple[int, int], toolbox: Toolbox
) -> NDArray[np.floating]:
    """Compute the psf of `reconet --trajectory`: periodic gridding of |P|^2 at twice the positions and size."""
    energy = from_batch_coil_samples(np.abs(weights[None, None]) ** 2)
    grid = f"{2 * size[1]}:{2 * size[0]}:1"
    kernel = toolbox.compute("nufft", "-a", "-P", "-d", grid, from_batch_positions(2 * trajectory[None]), energy)
    # The kernel is self-adjoint, except at differences that no two pixels have: the imaginary part means nothing.
    return 4 * to_batch_coil_yx(toolbox.compute("fft", "-u", 3, kernel))[0, 0].real


def _adjoint(data: Complex, trajectory: NDArray[np.floating], size: tuple[int, int]) -> Complex:
    """Compute the adjoint NUFFT of each coil, `(coil, y, x)`.

    It is sum_j y_j exp(2 pi i k_j n) / sqrt(xy) at the pixels n, with n = 0 in the centre.
    """
    import finufft

    (size_y, size_x), (k_x, k_y, _) = size, trajectory.astype(np.float64).reshape(3, -1)
    points = (2 * np.pi * k_y / size_y, 2 * np.pi * k_x / size_x)
    values = np.ascontiguousarray(data.reshape(len(data), -1), np.complex128)
    return finufft.nufft2d1(*points, values, size, isign=1, eps=1e-12).reshape(-1, *size) / np.sqrt(size_y * size_x)


def forward(images: Complex, trajectory: NDArray[np.floating]) -> Complex:
    """Compute the NUFFT by finufft in double precision; `compute` without BART uses its adjoint.

    Args:
        images: The images of all coils, `(coil, y, x)`.
        trajectory: `(3, spokes, samples)`, units of 1 / field of view.

    Returns:
        sum_n x(n) exp(-2 pi i k n / N) / sqrt(xy), `(coil, spokes, samples)`.
    """
    import finufft

    size_y, size_x = images.shape[1:]
    k_x, k_y, _ = trajectory.astype(np.float64).reshape(3, -1)
    points = (2 * np.pi * k_y / size_y, 2 * np.pi * k_x / size_x)
    values = finufft.nufft2d2(*points, np.ascontiguousarray(images, np.complex128), isign=-1, eps=1e-12)
    return values.reshape(len(images), *trajectory.shape[1:]) / np.sqrt(size_y * size_x)


def _psf(weights: Complex, trajectory: NDArray[np.floating], size: tuple[int, int]) -> NDArray[np.floating]:
    """Transform the kernel sum_j |P_j|^2 exp(2 pi i k_j d) / (xy) at the differences d of all pixels."""
    grid = (2 * size[0], 2 * size[1])
    # On twice the grid the same positions are twice as far from its centre.
    kernel = _adjoint(np.abs(weights[None]) ** 2, 2 * trajectory, grid)[0]
    return 4 * centred_fft(kernel).real


def _folders(split: Split) -> list[Path]:
    """Return the folder for the split's program, or, if it names none, the existing folders of all programs."""
    arrays = (split.kspace, split.coils, split.trajectory, split.pattern)
    digests = [content.digest(path, split.cache) if path else "none" for path in arrays]
    digest = hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]
    parent = split.cache or split.kspace.parent
    if split.gridded_by is None:
        return sorted(parent.glob(f"gridded-*-{digest}"))
    maker = re.sub(r"[^a-z0-9.]+", "-", split.gridded_by.lower())
    return [parent / f"gridded-{maker}-{digest}"]


def _is_complete(folder: Path) -> bool:
    return (folder / "made-by.txt").exists() and all(cfl.exists(folder / name) for name in ("adjoint", "psf"))
