"""Export of our networks as TorchScript for the PyTorch wrapper of BART 1.0.00, the C function `nlop_pytorch_create`.

The wrapper passes complex64 tensors with BART's dimensions in reversed order, takes one tensor or a tuple of them, and
differentiates with PyTorch. It takes a file for TorchScript if its name ends with `.pt`. The only command of BART
1.0.00 that uses it is `bart sample`, for networks whose second input is a noise level.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import keras

from bart_bridge.errors import InputError
from bart_bridge.files import atomic
from tf_models.backend.exporting import exporting
from tf_models.backend.ops import Tensor
from tf_models.files import reloading
from tf_models.files.operators import Operator

SUFFIX = ".pt"
_RELOAD = """
import sys
import numpy as np
import torch

function = torch.jit.load(sys.argv[1])
with np.load("inputs.npz") as arrays:
    inputs = [torch.view_as_complex(torch.tensor(arrays[name])) for name in sorted(arrays)]
with torch.no_grad():
    np.save("output.npy", torch.view_as_real(function(*inputs)).numpy())
"""


def export(operator: Operator, path: Path) -> float:
    """Write an operator, with constant weights, as TorchScript for BART.

    Tensors have BART's 16 dimensions in reversed order. The first has any number of slices. PyTorch differentiates the
    steps of conjugate gradients, as with `cg_derivative: unrolled`, because a derivative of ours cannot be stored.

    Args:
        operator: From `tf_models.files.operators`.
        path: File to write, with the suffix `.pt`; it must not exist.

    Returns:
        Relative l2 difference between what the reloaded operator and Keras compute, on random data.

    Raises:
        InputError: The file has another suffix or exists, or Keras does not run on PyTorch.
        ToolError: The reloaded operator fails, or gives results that differ by more than 1e-5.
    """
    if keras.backend.backend() != "torch":
        raise InputError(f"KERAS_BACKEND: TorchScript needs torch, found {keras.backend.backend()}")
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: the name of a TorchScript file for BART must end with {SUFFIX}")
    if path.exists():
        raise InputError(f"{path}: already exists; name a new file or remove it")
    import torch

    class Function(torch.nn.Module):
        def forward(self, *inputs: Tensor) -> Tensor:
            return torch.view_as_complex(operator.function(*map(torch.view_as_real, inputs)))

    arrays = operator.random_inputs()
    inputs = tuple(torch.view_as_complex(torch.tensor(array)) for array in arrays)
    constants = [(variable, variable.value.detach()) for variable in operator.model.variables]
    with warnings.catch_warnings(), exporting(), keras.StatelessScope(state_mapping=constants):
        # Sizes become constants, as they should. PyTorch also announces that TorchScript has a successor.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Function(), inputs, check_trace=False)
    with torch.no_grad():
        expected = operator.function(*map(torch.view_as_real, inputs)).numpy()
    with atomic.new_file(path) as unfinished:
        traced.save(str(unfinished))
        named = {f"input_{number}": array for number, array in enumerate(arrays)}
        return reloading.compare("TorchScript", _RELOAD, [unfinished.absolute()], named, expected)
