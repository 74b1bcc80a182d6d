"""What networks need of non-Cartesian data: the adjoint image, and the psf of the normal operator.

Both depend on the data alone. They are computed once, by BART's nufft or by finufft, and kept in a folder beside the
k-space, `gridded-<fingerprint of the files>`, with the arrays `adjoint` and `psf` and the text `made-by.txt`.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bart_bridge import cfl
from bart_bridge.dataset import Split, each_slice
from bart_bridge.dims import (
    from_batch_coil_samples,
    from_batch_coil_yx,
    from_batch_map_yx,
    from_batch_positions,
    to_batch_coil_yx,
    to_batch_map_yx,
)
from bart_bridge.errors import InputError, ToolError
from bart_bridge.toolbox import Toolbox

Complex = NDArray[np.complexfloating]


def prepare(split: Split, toolbox: Toolbox | None) -> None:
    """Compute adjoint and psf of a split with a trajectory if they are not there; they appear only when complete.

    Args:
        split: Validated; without a trajectory nothing is done.
        toolbox: The BART to use where the split's `nufft` is `bart`; None for finufft.

    Raises:
        InputError: The image has an odd number of pixels, which BART 0.8.00 gets wrong.
        ToolError: BART failed, or finufft is wanted and not installed.
    """
    if split.trajectory is None:
        return
    if split.nufft == "finufft":
        toolbox = None
    if toolbox is None and not find_spec("finufft"):
        raise ToolError("finufft is not installed; install bart-tf with the extra 'nufft'")
    maker = f"BART {toolbox.version_text}" if toolbox else f"finufft {version('finufft')}"
    folder = _folder(split)
    if (folder / "made-by.txt").exists() and (folder / "made-by.txt").read_text().strip() == maker:
        return
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        adjoint, psf = compute(split, toolbox)
        cfl.write(temporary / "adjoint", from_batch_map_yx(adjoint.astype(np.complex64)))
        cfl.write(temporary / "psf", from_batch_coil_yx(psf[:, None].astype(np.complex64)))
        (temporary / "made-by.txt").write_text(maker + "\n")
        temporary.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def prepared(*splits: Split | None) -> Iterator[list[Split | None]]:
    """Prepare validated splits in a temporary folder instead, with BART, or with finufft where there is no BART.

    Yields:
        The splits with that folder as their `cache`; those without a trajectory, and None, as they are.

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
        moved = [split and (replace(split, cache=Path(folder)) if split.trajectory else split) for split in splits]
        for split in moved:
            if split and split.trajectory:
                split.validate_form()
                prepare(split, toolbox)
        yield moved


def read(split: Split) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Open what `prepare` has left: adjoint `(batch, map, y, x)` and psf `(batch or 1, 2y, 2x)`, memory-mapped.

    Raises:
        InputError: There is none for these files.
    """
    folder = _folder(split)
    if not (folder / "made-by.txt").exists():
        raise InputError(f"{split.trajectory}: adjoint and psf of its data were not computed, {folder} is missing")
    return to_batch_map_yx(cfl.read(folder / "adjoint")), to_batch_coil_yx(cfl.read(folder / "psf"))[:, 0]


def compute(split: Split, toolbox: Toolbox | None) -> tuple[Complex, NDArray[np.floating]]:
    """Compute adjoint and psf of all slices.

    Args:
        split: Slices with a trajectory.
        toolbox: The BART to use; None for finufft, in double precision.

    Returns:
        The adjoint A^H y `(batch, map, y, x)`, and the psf `(batch, 2y, 2x)` as `tf_models.operators.SenseNormal` takes
        it; `(1, 2y, 2x)` if one trajectory and one pattern serve all slices.
    """
    arrays = split.arrays()
    y, x = arrays["coils"].shape[-2:]
    if toolbox and (y % 2 or x % 2):
        raise InputError(
            f"{split.coils}: BART's nufft is right for even numbers of pixels only, found {x} x {y}; "
            "'nufft: finufft' in dataset.yaml takes any"
        )
    one_psf = len(arrays["trajectory"]) == 1 and len(arrays.get("pattern", ())) == 1
    adjoints: list[Complex] = []
    psfs: list[NDArray[np.floating]] = []
    for item, (kspace, coils, weights) in enumerate(each_slice(arrays)):
        trajectory = arrays["trajectory"][item if len(arrays["trajectory"]) > 1 else 0].real
        data = weights.conj() * kspace
        images = _bart_adjoint(data, trajectory, (y, x), toolbox) if toolbox else _adjoint(data, trajectory, (y, x))
        adjoints.append(np.sum(coils.conj() * images, axis=1))
        if not (one_psf and psfs):
            psfs.append(
                _bart_psf(weights, trajectory, (y, x), toolbox) if toolbox else _psf(weights, trajectory, (y, x))
            )
    return np.stack(adjoints), np.stack(psfs)


def _bart_adjoint(data: Complex, trajectory: NDArray[np.floating], size: tuple[int, int], toolbox: Toolbox) -> Complex:
    """Adjoint NUFFT of each coil, `(coil, y, x)`, exactly as `reconet --trajectory` computes it."""
    files = from_batch_positions(trajectory[None]), from_batch_coil_samples(data[None])
    return to_batch_coil_yx(toolbox.compute("nufft", "-a", "-d", f"{size[1]}:{size[0]}:1", *files))[0]


def _bart_psf(
    weights: Complex, trajectory: NDArray[np.floating], size: tuple[int, int], toolbox: Toolbox
) -> NDArray[np.floating]:
    """The psf of `reconet --trajectory`, in one piece: periodic gridding of |P|^2 at twice the positions and size."""
    energy = from_batch_coil_samples(np.abs(weights[None, None]) ** 2)
    grid = f"{2 * size[1]}:{2 * size[0]}:1"
    kernel = toolbox.compute("nufft", "-a", "-P", "-d", grid, from_batch_positions(2 * trajectory[None]), energy)
    # In a kernel that is its own adjoint only positions that are never used make the transform complex.
    return 4 * to_batch_coil_yx(toolbox.compute("fft", "-u", 3, kernel))[0, 0].real


def _adjoint(data: Complex, trajectory: NDArray[np.floating], size: tuple[int, int]) -> Complex:
    """Adjoint NUFFT of each coil, `(coil, y, x)`: sum_j y_j exp(2 pi i k_j n) / sqrt(xy), n = 0 in the centre."""
    import finufft

    (size_y, size_x), (k_x, k_y, _) = size, trajectory.astype(np.float64).reshape(3, -1)
    points = (2 * np.pi * k_y / size_y, 2 * np.pi * k_x / size_x)
    values = np.ascontiguousarray(data.reshape(len(data), -1), np.complex128)
    return finufft.nufft2d1(*points, values, size, isign=1, eps=1e-12).reshape(-1, *size) / np.sqrt(size_y * size_x)


def forward(images: Complex, trajectory: NDArray[np.floating]) -> Complex:
    """Compute the NUFFT that `compute` without BART has the adjoint of, by finufft in double precision.

    Args:
        images: Of each coil, `(coil, y, x)`.
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
    """Transform of the kernel sum_j |P_j|^2 exp(2 pi i k_j d) / (xy) at the differences d of all pixels."""
    grid = (2 * size[0], 2 * size[1])
    # On twice the grid the same positions are twice as far from its centre.
    kernel = _adjoint(np.abs(weights[None]) ** 2, 2 * trajectory, grid)[0]
    transform = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(kernel), norm="ortho"))
    return 4 * transform.real


@lru_cache(maxsize=64)
def _digest(path: Path, size_bytes: int, changed_ns: int) -> bytes:
    """Hash a file, once while it does not change: training asks for the folder with every batch."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _folder(split: Split) -> Path:
    """Name the folder by the content of the files that adjoint and psf depend on."""
    digest = hashlib.sha256()
    for path in (split.kspace, split.coils, split.trajectory, split.pattern):
        if path is None:
            digest.update(b"none")
            continue
        digest.update(repr(cfl.read_dims(path)).encode())
        file = cfl.files(path)[0]
        state = file.stat()
        digest.update(_digest(file, state.st_size, state.st_mtime_ns))
    return (split.cache or split.kspace.parent) / f"gridded-{digest.hexdigest()[:16]}"
