"""Run a SavedModel for BART as BART does, with TensorFlow's C API, without TensorFlow's Python and without our code.

Usage: python tensorflow_c_api.py LIBRARY FOLDER COUNT

It reads the names of tensors from `bart_config.dat`. For each number below COUNT it feeds inputs-NUMBER.npz of the
working directory by BART's names, and writes outputs-NUMBER.npz: all results of the graph by BART's names, and the
static shape of each tensor as `shape of NAME`.
"""

import ctypes
import sys
from pathlib import Path

import numpy as np

_FLOAT = 1
_POINTER = ctypes.c_void_p


class Output(ctypes.Structure):
    """`TF_Output`: one tensor of the graph."""

    _fields_ = [("operation", _POINTER), ("index", ctypes.c_int)]


class Api:
    """The C API with its status, which is checked after each call."""

    def __init__(self, library):
        self.library = ctypes.CDLL(library)
        self.status = self("TF_NewStatus", _POINTER)

    def __call__(self, name, result, *arguments):
        function = getattr(self.library, name)
        function.restype = result
        value = function(*arguments)
        if name != "TF_NewStatus":
            self.library.TF_Message.restype = ctypes.c_char_p
            code = self.library.TF_GetCode(_POINTER(self.status))
            assert code == 0, f"{name}: {self.library.TF_Message(_POINTER(self.status)).decode()}"
        return value


def read_names(folder):
    """Return operation and index of each tensor by BART's name."""
    title, signature, *lines = (folder / "bart_config.dat").read_text().splitlines()
    assert (title, signature) == ("# ArgumentNameMapping", "serving_default")
    return {name: (operation, int(index)) for name, operation, index in map(str.split, lines)}


def load(api, folder):
    """Load the folder as BART does; return the session, the tensors by BART's names, and their static shapes."""
    status = _POINTER(api.status)
    graph = _POINTER(api("TF_NewGraph", _POINTER))
    options = _POINTER(api("TF_NewSessionOptions", _POINTER))
    tags, path = (ctypes.c_char_p * 1)(b"serve"), str(folder).encode()
    session = _POINTER(api("TF_LoadSessionFromSavedModel", _POINTER, options, None, path, tags, 1, graph, None, status))
    tensors, shapes = {}, {}
    for name, (operation, index) in read_names(folder).items():
        found = api("TF_GraphOperationByName", _POINTER, graph, operation.encode())
        assert found, f"the graph has no operation {operation}"
        tensors[name] = Output(found, index)
        rank = api("TF_GraphGetTensorNumDims", ctypes.c_int, graph, tensors[name], status)
        shape = (ctypes.c_int64 * rank)()
        api("TF_GraphGetTensorShape", None, graph, tensors[name], shape, rank, status)
        shapes[f"shape of {name}"] = np.array(shape)
    return session, tensors, shapes


def run(api, session, tensors, inputs):
    """Feed the inputs and return all results."""
    fed = [name for name in tensors if name in inputs]
    fetched = [name for name in tensors if name not in inputs]
    received = (_POINTER * len(fetched))()
    sources = (Output * len(fed))(*[tensors[name] for name in fed]), _array(api, [inputs[name] for name in fed])
    targets = (Output * len(fetched))(*[tensors[name] for name in fetched]), received
    counts = len(fed), len(fetched)
    no_operations = None, 0, None
    status = _POINTER(api.status)
    api("TF_SessionRun", None, session, None, *sources, counts[0], *targets, counts[1], *no_operations, status)
    results = {}
    for name, tensor in zip(fetched, received, strict=True):
        sizes = [api("TF_Dim", ctypes.c_int64, _POINTER(tensor), axis) for axis in range(_rank(api, tensor))]
        data = ctypes.cast(
            api("TF_TensorData", _POINTER, _POINTER(tensor)), ctypes.POINTER(ctypes.c_float * int(np.prod(sizes)))
        )
        results[name] = np.array(data.contents, np.float32).reshape(sizes)
    return results


def _rank(api, tensor):
    return api("TF_NumDims", ctypes.c_int, _POINTER(tensor))


def _array(api, arrays):
    tensors = []
    for array in arrays:
        array = np.ascontiguousarray(array, np.float32)
        sizes = (ctypes.c_int64 * array.ndim)(*array.shape)
        size = ctypes.c_size_t(array.nbytes)
        tensor = api("TF_AllocateTensor", _POINTER, _FLOAT, sizes, array.ndim, size)
        ctypes.memmove(api("TF_TensorData", _POINTER, _POINTER(tensor)), array.ctypes.data, array.nbytes)
        tensors.append(tensor)
    return (_POINTER * len(tensors))(*tensors)


def main(library, folder, count):
    api = Api(library)
    session, tensors, shapes = load(api, Path(folder))
    for number in range(int(count)):
        with np.load(f"inputs-{number}.npz") as arrays:
            np.savez(f"outputs-{number}.npz", **run(api, session, tensors, dict(arrays)), **shapes)


if __name__ == "__main__":
    main(*sys.argv[1:])
    if {"tensorflow", "keras", "tf_models", "bart_bridge", "compare"} & set(sys.modules):
        sys.exit("TensorFlow's Python or our code was imported")
