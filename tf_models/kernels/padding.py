"""Padding of images and features: by reflection, with its adjoint, and with zeros.

Images are `(batch, y, x, 2)`, features `(batch, y, x, channel)`.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops

from tf_models.backend.ops import Tensor


def pad_symmetric(image: Tensor, height: int, width: int) -> Tensor:
    """Pad images `(batch, y, x, 2)` by reflection, edge pixels included, `height` and `width` pixels on each side.

    `keras.ops.pad(mode="symmetric")` replicates the edge on PyTorch.

    Raises:
        ValueError: An image has fewer pixels than the padding on one side.
    """
    if image.shape[1] < height or image.shape[2] < width:
        raise ValueError(
            f"`image` must have at least {height} x {width} pixels (y, x) to be mirrored for filters of {height + 1} x "
            f"{width + 1}. Received: {image.shape[1]} x {image.shape[2]}"
        )
    for margin, axis in ((height, 1), (width, 2)):
        if margin:
            first, last = edges(image, margin, axis)
            image = ops.concatenate([ops.flip(first, axis=axis), image, ops.flip(last, axis=axis)], axis=axis)
    return image


def pad_symmetric_adjoint(padded: Tensor, height: int, width: int) -> Tensor:
    """Crop to the image and add each pixel of the padding to the one that it was reflected from."""
    for margin, axis in ((width, 2), (height, 1)):
        if margin:
            size = padded.shape[axis] - 2 * margin
            first, last = (ops.flip(edge, axis=axis) for edge in edges(padded, margin, axis))
            image = crop(padded, margin, margin + size, axis)
            padding = [(0, 0)] * 4
            padding[axis] = (0, size - margin)
            image = image + pad_with_zeros(first, padding)
            padding[axis] = (size - margin, 0)
            padded = image + pad_with_zeros(last, padding)
    return padded


def zero_pad(features: Tensor, height: int, width: int) -> Tensor:
    """Pad features `(batch, y, x, channel)` with `height` and `width` zeros on each side."""
    return pad_with_zeros(features, ((0, 0), (height, height), (width, width), (0, 0)))


def pad_with_zeros(array: Tensor, margins: Sequence[tuple[int, int]]) -> Tensor:
    """Compute `ops.pad(array, margins)`.

    On PyTorch, which does not trace, Keras's function takes 20 to 60 times as long as PyTorch's to start: it makes an
    object of a class for each call, and inspects the signature of its constructor.

    Args:
        array: Any array.
        margins: For each axis, the zeros before and behind.
    """
    if keras.backend.backend() != "torch":
        return ops.pad(array, margins)
    import torch

    return torch.nn.functional.pad(array, [zeros for margin in reversed(margins) for zeros in margin])


def edges(image: Tensor, margin: int, axis: int) -> tuple[Tensor, Tensor]:
    """Return the first and the last `margin` pixels along an axis, 1 or 2."""
    size = image.shape[axis]
    return crop(image, 0, margin, axis), crop(image, size - margin, size, axis)


def crop(image: Tensor, start: int, stop: int, axis: int) -> Tensor:
    """Return the pixels from `start` to before `stop` along an axis, 1 or 2."""
    return image[:, start:stop] if axis == 1 else image[:, :, start:stop]
