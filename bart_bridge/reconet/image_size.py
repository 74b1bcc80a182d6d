"""The smallest images that the filters of a network take."""

from __future__ import annotations

from bart_bridge.data.dataset import Split
from bart_bridge.errors import InputError
from bart_bridge.files import cfl
from bart_bridge.reconet.network_settings import Network


def check_filters(network: Network, split: Split) -> None:
    """Refuse slices that are too small for the filters of a network; see `check_image_size`."""
    x, y = cfl.read_dims(split.coils)[:2]
    check_image_size(network, y, x, str(split.coils))


def check_image_size(network: Network, y: int, x: int, name: str) -> None:
    """Refuse images that are too small for VarNet, which mirrors them as far as its filters reach beyond their edge.

    `reconet` reads outside of its memory with smaller images: two runs give two results.

    Args:
        network: The network; MoDL pads images with zeros and takes any size.
        y, x: Pixels of the images.
        name: What the images are, for the message.

    Raises:
        InputError: The images have fewer pixels along an axis than a filter minus 1.
    """
    if network.kind == "varnet" and (y < network.kernel_y - 1 or x < network.kernel_x - 1):
        raise InputError(
            f"{name}: filters of {network.kernel_x} x {network.kernel_y} pixels need images of at least "
            f"{network.kernel_x - 1} x {network.kernel_y - 1}, found {x} x {y}"
        )
