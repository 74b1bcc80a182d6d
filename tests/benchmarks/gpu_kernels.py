"""Time and error of single kernels on an NVIDIA GPU, with JAX, for ten slices of the published sizes.

    KERAS_BACKEND=jax python -m tests.benchmarks.gpu_kernels OUT.json [--sweep]

`milliseconds` has the median of each kernel, and `errors` the difference from double precision in relation to the norm,
for one small image. With `--sweep`, `tiles` has the milliseconds of each kernel with other tiles
(`tf_models.kernels.triton_tiles`), or why it does not run; other kinds of GPU may prefer them.
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.gpu_case import BATCH, SIZES

KERNEL, BASIS, CHANNELS = (11, 11, 2, 24), 31, 64
CALLS, REPEATS = 10, 5
GROUPS = [{"BM": groups, "num_warps": warps, "num_stages": 3} for groups in (64, 128) for warps in (4, 8)]
SWEEPS = {
    "convolution with activation": ("convolve", GROUPS),
    "convolution times slope": ("slope", GROUPS),
    "transposed convolution": (
        "TRANSPOSED",
        [
            {"BM": groups, "BK": step, "num_warps": 4, "num_stages": stages}
            for groups, step, stages in itertools.product((64, 128), (32, 64), (2, 3))
        ],
    ),
    "gradient by filters": (
        "FILTERS",
        [
            {"BK": step, "num_warps": warps, "num_stages": stages}
            for step, warps, stages in itertools.product((32, 64), (4, 8), (2, 3))
        ],
    ),
    "gradient by weights": (
        "RBF",
        [
            {"BM": pixels, "num_warps": warps, "num_stages": 1}
            for pixels, warps in itertools.product((64, 128, 256), (2, 4, 8))
        ],
    ),
    "convolution of 64 channels": (
        "SAME_CONV",
        [
            {"BM": pixels, "num_warps": warps, "num_stages": stages}
            for pixels, warps, stages in itertools.product((64, 128, 256), (4, 8), (2, 3, 4))
        ],
    ),
    "convolution of 64 channels and derivative": (
        "KERNEL_GRADIENT",
        [
            {"BK": step, "num_warps": warps, "num_stages": stages}
            for step, warps, stages in itertools.product((32, 64), (4, 8), (2, 3, 4))
        ],
    ),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--sweep", action="store_true", help="other tiles, too")
    options = parser.parse_args()
    import jax
    import keras

    from tf_models.backend.precision import use_full_precision
    from tf_models.kernels import triton_support

    use_full_precision()
    if keras.backend.backend() != "jax" or not triton_support.runs_as_triton_kernels("float32", KERNEL, BASIS):
        print("gpu_kernels needs KERAS_BACKEND=jax, an NVIDIA GPU and jax-triton", file=sys.stderr)
        return 2
    kernels = {**experts(BATCH, *SIZES["varnet"][:2]), **others()}
    results = {"device": jax.devices()[0].device_kind, "milliseconds": {}, "errors": errors(), "tiles": {}}
    for name, (function, arrays) in kernels.items():
        results["milliseconds"][name] = milliseconds(function, arrays)
        print(f"{name}: {results['milliseconds'][name]:.3f} ms", flush=True)
        options.out.write_text(json.dumps(results, indent=1))
    if options.sweep:
        for name, (setting, choices) in SWEEPS.items():
            results["tiles"][name] = sweep(name, setting, choices, kernels)
            options.out.write_text(json.dumps(results, indent=1))
    return 0


def random(*shape, scale=1.0):
    import jax.numpy as jnp

    return jnp.asarray(scale * np.random.default_rng(len(shape)).normal(size=shape), "float32")


def experts(batch, height, width):
    """Return each kernel of VarNet's regularizer with arguments, for images of a size."""
    from tf_models.kernels import experts_triton
    from tf_models.kernels.field_of_experts import field_of_experts
    from tf_models.kernels.half_pairs import halves

    margin_y, margin_x = KERNEL[0] - 1, KERNEL[1] - 1
    features = (batch, height + margin_y, width + margin_x, KERNEL[3])
    image = experts_triton.pairs(random(batch, height + 2 * margin_y, width + 2 * margin_x, 2, scale=0.3), KERNEL)
    kernel, weights = random(*KERNEL, scale=1 / 15.6), random(BASIS, KERNEL[3])
    values = random(*features, scale=0.3)
    pairs = halves(values)
    return {
        "convolution with activation": (
            lambda *arrays: experts_triton.convolve_and_activate(*arrays, features),
            (image, kernel, weights),
        ),
        "convolution times slope": (experts_triton.convolve_and_slope, (image, kernel, weights, values)),
        "transposed convolution": (experts_triton.transposed_conv, (pairs, kernel)),
        "transposed convolution to the padding": (
            lambda *arrays: experts_triton.transposed_conv(*arrays, margin_y, margin_x),
            (pairs, kernel),
        ),
        "gradient by filters": (lambda *arrays: experts_triton.filter_gradient(*arrays, KERNEL[:2]), (image, pairs)),
        "gradient by weights": (
            lambda *arrays: experts_triton.radial_basis_gradient(*arrays, BASIS),
            (values, values),
        ),
        "regularizer": (field_of_experts, (random(batch, height, width, 2, scale=0.3), kernel, weights)),
        "regularizer and derivative": (
            with_derivative(field_of_experts),
            (random(batch, height, width, 2, scale=0.3), kernel, weights),
        ),
    }


def others():
    """Return MoDL's convolution and the normal operators of both networks."""
    from tf_models.kernels.same_conv import same_conv
    from tf_models.operators.sense import SenseNormal

    def normal(image, coils, psf):
        return SenseNormal(coils, psf)(image)

    (size_y, size_x, coils), (modl_y, modl_x, modl_coils) = SIZES["varnet"], SIZES["modl"]
    convolution = random(BATCH, modl_y, modl_x, CHANNELS), random(3, 3, CHANNELS, CHANNELS, scale=1 / 24)

    def images(height, width, coils, *psf):
        return random(BATCH, height, width, 2), random(BATCH, coils, height, width, 2), random(BATCH, *psf)

    return {
        "normal operator, one transform": (normal, images(size_y, size_x, coils, 1, size_x)),
        "normal operator, two transforms": (normal, images(modl_y, modl_x, modl_coils, modl_y, modl_x)),
        "convolution of 64 channels": (same_conv, convolution),
        "convolution of 64 channels and derivative": (with_derivative(same_conv), convolution),
    }


def with_derivative(function):
    import jax

    def compute(*arrays):
        result, product = jax.vjp(function, *arrays)
        return result, product(result)

    return compute


def milliseconds(function, arrays):
    """Return the median of a call within a row of calls."""
    import jax

    compiled, times = jax.jit(function), []
    jax.block_until_ready(compiled(*arrays))
    for _ in range(REPEATS):
        start_s = time.perf_counter()
        for _ in range(CALLS):
            result = compiled(*arrays)
        jax.block_until_ready(result)
        times.append((time.perf_counter() - start_s) / CALLS)
    return 1e3 * statistics.median(times)


def errors():
    """Return the differences of result and gradients of the regularizer from double precision, of one small image."""
    import jax

    from tf_models.kernels import field_of_experts

    arrays = [random(1, 40, 45, 2, scale=0.3), random(*KERNEL, scale=1 / 15.6), random(BASIS, KERNEL[3])]
    found = jax.jit(with_derivative(field_of_experts.field_of_experts))(*arrays)
    with jax.enable_x64(True):
        doubles = [jax.numpy.asarray(np.asarray(array), "float64") for array in arrays]
        exact = jax.jit(with_derivative(field_of_experts.field_of_experts))(*doubles)
    names = ("result", "gradient by the image", "gradient by filters", "gradient by weights")
    pairs = zip(names, jax.tree.leaves(found), jax.tree.leaves(exact), strict=True)
    return {
        name: float(np.linalg.norm(np.asarray(one, np.float64) - other) / np.linalg.norm(other))
        for name, one, other in pairs
    }


def sweep(name, setting, choices, kernels):
    """Return the milliseconds of a kernel with each choice of tiles."""
    from tf_models.kernels import triton_tiles

    usual, rows = getattr(triton_tiles, setting), []
    function, arrays = kernels[name]
    for choice in choices:
        setattr(triton_tiles, setting, (lambda _, choice=choice: choice) if callable(usual) else choice)
        try:
            # A function of its own: JAX would not trace the same one again.
            row = choice | {"milliseconds": milliseconds(lambda *arrays: function(*arrays), arrays)}
        # A program may need more registers or memory than there is; compilers have their own errors for that.
        except Exception as error:  # noqa: BLE001
            row = choice | {"error": str(error).splitlines()[0][:200]}
        print(name, json.dumps(row), flush=True)
        rows.append(row)
    setattr(triton_tiles, setting, usual)
    return rows


if __name__ == "__main__":
    sys.exit(main())
