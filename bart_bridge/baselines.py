"""Baselines: reconstructions without a network, by BART's own tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bart_bridge.data.dataset import Split
from bart_bridge.data.fourier import centred_fft, centred_ifft
from bart_bridge.errors import InputError
from bart_bridge.files.dims import (
    from_batch_coil_samples,
    from_batch_coil_yx,
    from_batch_map_coil_yx,
    from_batch_positions,
    to_batch_coil_yx,
    to_batch_map_yx,
)
from bart_bridge.tools import versions
from bart_bridge.tools.parallel import THREADS, in_parallel, usable_threads
from bart_bridge.tools.toolbox import Argument, Toolbox

CG_SENSE_ITERATIONS = 50
CG_SENSE_GRID = tuple(float(weight) for weight in np.logspace(-4, 0, 9))
Complex = NDArray[np.complex64]
OnSlice = Callable[[], None]


def cg_sense(split: Split, toolbox: Toolbox, regularization: float, on_slice: OnSlice = lambda: None) -> Complex:
    """Reconstruct with `bart pics`: argmin_x |P F C x - y|^2 + regularization |x|^2 by conjugate gradients.

    Pruessmann et al. (2001), doi 10.1002/mrm.1241. For Cartesian data whose image has an odd number of pixels along an
    axis, `pics` is wrong before 1.0.00 (`versions.PICS_OF_ALL_SIZES`); the same steps run in Python then.

    Args:
        split: The slices.
        toolbox: The BART to use.
        regularization: Weight of the l2 term, on the scale to which `pics` normalizes the data.
        on_slice: Called after each slice.

    Returns:
        Images of each map on the scale of the data, `(batch, map, y, x)`.

    Raises:
        ToolError: BART failed.
    """
    if split.trajectory is None and _is_odd(split) and not toolbox.has(versions.PICS_OF_ALL_SIZES):
        images = []
        for data in _slices(split):
            images.append(_solve(data, regularization))
            on_slice()
        return np.stack(images)
    return pics(split, toolbox, ["-l2", "-r", regularization, "-i", CG_SENSE_ITERATIONS], on_slice)


def l1_wavelet(split: Split, toolbox: Toolbox, regularization: float, on_slice: OnSlice = lambda: None) -> Complex:
    """Reconstruct with `bart pics`: argmin_x |P F C x - y|^2 / 2 + regularization |W x|_1 by FISTA.

    Lustig et al. (2007), doi 10.1002/mrm.21391; W is an orthogonal wavelet transform. Every version of BART runs the
    algorithm of 0.9.00, which ends with a gradient step, with the same random shifts of W. Arguments and result as for
    `cg_sense`.

    Raises:
        InputError: The image has an odd number of pixels along an axis, and this BART is wrong then.
        ToolError: BART failed.
    """
    # Without -e, FISTA's step is too long for data whose A^H A has eigenvalues above 1.
    options: list[Argument] = ["-e", "-i", 100, "-R", f"W:3:0:{regularization:g}"]
    if toolbox.has(versions.L1_ENDS_WITH_THRESHOLD):
        options.append("--ist_last")
    return pics(split, toolbox.in_the_form_of(versions.OLD_RANDOM_NUMBERS), options, on_slice)


def total_variation(split: Split, toolbox: Toolbox, regularization: float, on_slice: OnSlice = lambda: None) -> Complex:
    """Reconstruct with `bart pics`: argmin_x |P F C x - y|^2 / 2 + regularization TV(x) by ADMM.

    Block et al. (2007), doi 10.1002/mrm.21236. TV takes forward differences since BART 1.0.00, and backward differences
    before (`versions.FORWARD_TV`). Arguments, result and errors as for `l1_wavelet`.
    """
    return pics(split, toolbox, ["-i", 50, "-R", f"T:3:0:{regularization:g}"], on_slice)


def gridding(split: Split, toolbox: Toolbox, regularization: float, on_slice: OnSlice = lambda: None) -> Complex:
    """Reconstruct non-Cartesian data coil by coil and combine the coil images: no parallel imaging.

    Each coil image is argmin_z |F z - y|^2 + regularization |z|^2, by `bart nufft -i`. They are combined by least
    squares: the image is argmin_x |C x - z|^2, which is sum_c conj(C_c) z_c / sum_c |C_c|^2 for one map. Arguments and
    result as for `cg_sense`.

    Raises:
        InputError: The data are Cartesian.
        ToolError: BART failed.
    """
    if split.trajectory is None:
        raise InputError(f"{split.kspace}: inverse gridding needs a trajectory, Cartesian k-space has none")
    if _is_odd(split):
        y, x = split.arrays()["coils"].shape[-2:]
        raise InputError(f"{split.coils}: bart nufft is correct for even image sizes only, found {x} x {y}")

    def reconstruct(data: _Slice, toolbox: Toolbox) -> Complex:
        assert data.positions is not None
        size = f"{data.coils.shape[-1]}:{data.coils.shape[-2]}:1"
        files = from_batch_positions(data.positions[None]), from_batch_coil_samples(_unweighted(data)[None])
        coil_images = toolbox.compute("nufft", "-i", "-l", regularization, "-m", 30, "-d", size, *files)
        return _combine(to_batch_coil_yx(coil_images)[0], data.coils)

    return _side_by_side(split, toolbox, reconstruct, on_slice)


@dataclass(frozen=True)
class Baseline:
    """A reconstruction without a network.

    Attributes:
        reconstruct: One of the functions above.
        grid: Regularizations, of which the validation slices choose one.
    """

    reconstruct: Callable[[Split, Toolbox, float, OnSlice], Complex]
    grid: tuple[float, ...]


BASELINES = {
    "cg-sense": Baseline(cg_sense, CG_SENSE_GRID),
    "gridding": Baseline(gridding, tuple(float(weight) for weight in np.logspace(-4, 0, 5))),
    "l1-wavelet": Baseline(l1_wavelet, tuple(float(weight) for weight in np.logspace(-4, -1, 7))),
    "total-variation": Baseline(total_variation, tuple(float(weight) for weight in np.logspace(-4, -1, 7))),
}


def pics(split: Split, toolbox: Toolbox, options: list[Argument], on_slice: OnSlice = lambda: None) -> Complex:
    """Reconstruct each slice with `bart pics -S` and further options, on the scale of the data.

    Arguments and result as for `cg_sense`.

    Raises:
        InputError: The image has an odd number of pixels along an axis, and this BART is wrong then.
        ToolError: BART failed.
    """
    if _is_odd(split) and (split.trajectory or not toolbox.has(versions.PICS_OF_ALL_SIZES)):
        y, x = split.arrays()["coils"].shape[-2:]
        of = "" if split.trajectory else f" of BART {toolbox.version_text}"
        raise InputError(f"{split.coils}: bart pics{of} is correct for even image sizes only, found {x} x {y}")

    def reconstruct(data: _Slice, toolbox: Toolbox) -> Complex:
        argv: list[Argument] = ["-S", *options]
        sign = 1
        if data.positions is None:
            if not toolbox.has(versions.PICS_OF_ALL_SIZES):
                # pics turns the sign for each axis of 4n + 2 pixels.
                sign = (-1) ** sum(size % 4 == 2 for size in data.coils.shape[-2:])
            if data.pattern is not None:
                argv += ["-p", from_batch_coil_yx(data.pattern[None, None])]
            kspace = from_batch_coil_yx(data.kspace[None])
        else:
            argv += ["-t", from_batch_positions(data.positions[None])]
            if data.pattern is not None:
                # Unlike reconet, pics multiplies k-space with the weights itself.
                argv += ["-p", from_batch_coil_samples(data.pattern[None, None])]
            kspace = from_batch_coil_samples(_unweighted(data)[None])
        image = toolbox.compute("pics", *argv, kspace, from_batch_map_coil_yx(data.coils[None]))
        return sign * to_batch_map_yx(image)[0]

    return _side_by_side(split, toolbox, reconstruct, on_slice)


def _side_by_side(
    split: Split, toolbox: Toolbox, reconstruct: Callable[[_Slice, Toolbox], Complex], on_slice: OnSlice
) -> Complex:
    """Reconstruct as many slices at the same time as the toolbox or this process may use threads, which they share."""
    threads = int(toolbox.environment.get(THREADS[0], usable_threads()))
    at_once = min(threads, split.slice_count)
    toolbox = replace(toolbox, environment=toolbox.environment | dict.fromkeys(THREADS, str(threads // at_once)))
    images = []
    for image in in_parallel(lambda data: reconstruct(data, toolbox), _slices(split), at_once):
        images.append(image)
        on_slice()
    return np.stack(images)


def _combine(coil_images: Complex, coils: Complex) -> Complex:
    """Solve C x = z by least squares in each pixel: z `(coil, y, x)`, x `(map, y, x)`; x is 0 where C is 0."""
    inverse = np.linalg.pinv(coils.transpose(2, 3, 1, 0), rcond=1e-6)
    image = (inverse @ coil_images.transpose(1, 2, 0)[..., None])[..., 0]
    return image.transpose(2, 0, 1).astype(np.complex64)


def _is_odd(split: Split) -> bool:
    return any(size % 2 for size in split.arrays()["coils"].shape[-2:])


@dataclass(frozen=True)
class _Slice:
    """The arrays of one slice.

    Attributes:
        kspace: `(coil, y, x)`, or `(coil, spokes, samples)`.
        coils: `(map, coil, y, x)`.
        pattern: `(y, x)`, or the weights of samples `(spokes, samples)`, if there are any.
        positions: `(3, spokes, samples)` of non-Cartesian data.
    """

    kspace: Complex
    coils: Complex
    pattern: Complex | None
    positions: Complex | None


def _slices(split: Split) -> Iterator[_Slice]:
    arrays = split.arrays()

    def shared_or_own(name: str, number: int) -> Complex | None:
        array = arrays.get(name)
        return None if array is None else array[number if len(array) > 1 else 0]

    for number in range(split.slice_count):
        pattern, positions = shared_or_own("pattern", number), shared_or_own("trajectory", number)
        yield _Slice(
            arrays["kspace"][number], arrays["coils"][number], None if pattern is None else pattern[0], positions
        )


def _unweighted(data: _Slice) -> Complex:
    """Undo the weighting of k-space: divide by its weights."""
    if data.pattern is None:
        return data.kspace
    is_weighted = np.broadcast_to(data.pattern != 0, data.kspace.shape)
    return np.divide(data.kspace, data.pattern, out=np.zeros_like(data.kspace), where=is_weighted)


def _solve(data: _Slice, weight: float) -> Complex:
    """Take the steps of `pics -l2` in double precision, from 0; the result is `(map, y, x)`."""
    from scipy.sparse.linalg import LinearOperator, cg

    coils = data.coils
    pattern = np.any(data.kspace != 0, axis=0) if data.pattern is None else data.pattern
    psf = np.abs(pattern) ** 2
    adjoint = np.sum(coils.conj() * centred_ifft(pattern.conj() * data.kspace), axis=1).astype(np.complex128)

    def normal(values: NDArray[np.complex128]) -> NDArray[np.complex128]:
        image = values.reshape(adjoint.shape)
        coil_images = centred_ifft(psf * centred_fft(np.sum(coils * image[:, None], axis=0)))
        return (np.sum(coils.conj() * coil_images, axis=1) + weight * image).ravel()

    operator = LinearOperator((adjoint.size, adjoint.size), matvec=normal, dtype=np.complex128)
    # Stopped by the number of steps, or by a residual of exactly 0, by which the next step would divide.
    smallest = np.finfo(np.float64).tiny
    solution, _ = cg(operator, adjoint.ravel(), rtol=0, atol=smallest, maxiter=CG_SENSE_ITERATIONS)
    return solution.reshape(adjoint.shape).astype(np.complex64)
