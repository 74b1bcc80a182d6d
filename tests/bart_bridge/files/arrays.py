"""Arrays, and damaged files, for the tests of array files."""

import numpy as np


def numbered(*shape):
    """An array whose values are all different."""
    values = np.arange(1, 1 + np.prod(shape), dtype=np.float32)
    return (values + 1j * values[::-1]).astype(np.complex64).reshape(shape)


def write_header(name, text, values=1):
    """A header of any content, beside data of the given number of values."""
    name.with_suffix(".hdr").write_bytes(text if isinstance(text, bytes) else text.encode())
    name.with_suffix(".cfl").write_bytes(bytes(8 * values))


class Interrupt:
    """A number that cannot be had: the user presses Ctrl-C."""

    def __complex__(self):
        raise KeyboardInterrupt
