"""BART's training losses of complex images x and references r, `(batch, y, x, 2)`; each returns a scalar.

```
d = x - r,   m(u) = sqrt(|u|^2 + 1e-12)
```

Means are over all pixels of all slices unless a loss says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from bart_bridge.reconet.network_settings import Loss
from tf_models.backend.ops import Tensor

_SMOOTHING = 1e-12
_WINDOW = 7
_C1, _C2 = 0.01**2, 0.03**2
_PIXELS = (1, 2)


def magnitude(image: Tensor) -> Tensor:
    """Return m(u), `(batch, y, x)`; its derivative is finite at 0."""
    return ops.sqrt(ops.sum(image * image, axis=-1) + _SMOOTHING)


def mse(reference: Tensor, image: Tensor) -> Tensor:
    """Mean of |d|^2."""
    return ops.mean(ops.sum(ops.square(image - reference), axis=-1))


def mse_magnitude(reference: Tensor, image: Tensor) -> Tensor:
    """Mean of (m(x) - m(r))^2."""
    return ops.mean(ops.square(magnitude(image) - magnitude(reference)))


def mad(reference: Tensor, image: Tensor) -> Tensor:
    """Mean of |Re d| + |Im d|."""
    return ops.mean(ops.sum(ops.abs(image - reference), axis=-1))


def mad_magnitude(reference: Tensor, image: Tensor) -> Tensor:
    """Mean of |m(x) - m(r)|."""
    return ops.mean(ops.abs(magnitude(image) - magnitude(reference)))


def nmse(reference: Tensor, image: Tensor) -> Tensor:
    """Mean over slices of sum |d|^2 / sum |r|^2."""
    errors = ops.sum(ops.square(image - reference), axis=(1, 2, 3))
    return ops.mean(errors / ops.sum(ops.square(reference), axis=(1, 2, 3)))


def nmse_magnitude(reference: Tensor, image: Tensor) -> Tensor:
    """Mean over slices of sum (m(x) - m(r))^2 / sum m(r)^2."""
    truth = magnitude(reference)
    errors = ops.sum(ops.square(magnitude(image) - truth), axis=_PIXELS)
    return ops.mean(errors / ops.sum(ops.square(truth), axis=_PIXELS))


def ssim(reference: Tensor, image: Tensor) -> Tensor:
    """1 - mean structural similarity (Wang et al. 2004, doi 10.1109/TIP.2003.819861) as `bart measure` computes it.

    Magnitudes are divided by the maximum of the reference slice; 7 x 7 uniform window, only positions fully inside,
    population covariance, K1 = 0.01, K2 = 0.03, data range 1.
    """
    peak = ops.max(ops.sqrt(ops.sum(reference * reference, axis=-1)), axis=_PIXELS)[:, None, None, None]
    x, r = magnitude(image / peak), magnitude(reference / peak)
    mean_x, mean_r = _window_mean(x), _window_mean(r)
    variance_x = _window_mean(x * x) - mean_x**2
    variance_r = _window_mean(r * r) - mean_r**2
    covariance = _window_mean(x * r) - mean_x * mean_r
    luminance = (2 * mean_x * mean_r + _C1) / (mean_x**2 + mean_r**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_r + _C2)
    return 1 - ops.mean(luminance * structure)


def _window_mean(values: Tensor) -> Tensor:
    return ops.average_pool(values[..., None], _WINDOW, strides=1, padding="valid")[..., 0]


LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mse,
    "mse-magnitude": mse_magnitude,
    "mad": mad,
    "mad-magnitude": mad_magnitude,
    "nmse": nmse,
    "nmse-magnitude": nmse_magnitude,
    "ssim": ssim,
}
