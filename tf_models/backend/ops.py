"""What `keras.ops` lacks, for each backend: derivatives inside a derivative, loops in order, XLA for one function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeAlias

import keras
from keras import ops

Tensor: TypeAlias = Any


def use_full_precision() -> None:
    """Have a GPU multiply and convolve in full single precision, not with the 10 bits of TF32, in the whole process.

    BART does, and conjugate gradients need it. The constructor of each network calls this, so that it holds however a
    network comes to be: built, loaded from a `.keras` file by us or by a user, or unpickled.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
    elif backend == "torch":
        import torch

        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(False)


def value_of(variable: Any) -> Tensor:
    """Return the value of a Keras variable; `ops.convert_to_tensor` returns the variable itself."""
    if keras.backend.backend() != "tensorflow":
        return variable.value
    import tensorflow as tf

    return tf.convert_to_tensor(variable.value)


def narrow(array: Tensor, dtype: str | None) -> Tensor:
    """Return an array in a type of few bits; unchanged without one."""
    return array if dtype is None else ops.cast(array, dtype)


def widen(array: Tensor) -> Tensor:
    """Return an array in single precision if it has less."""
    return ops.cast(array, keras.backend.result_type(array.dtype, "float32"))


def vjp(function: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """Compute `function(*arguments)` and its vector-Jacobian product.

    Returns:
        The value, and a function from the gradient by the value to the list of gradients by the arguments, 0 for
        arguments that do not matter.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        value, product = jax.vjp(function, *arguments)
        return value, lambda upstream: list(product(upstream))
    if backend == "torch":
        import torch

        with torch.enable_grad():
            inputs = [argument.detach().requires_grad_() for argument in arguments]
            value = function(*inputs)

        def gradients(upstream: Tensor) -> list[Tensor]:
            found = torch.autograd.grad(value, inputs, upstream, allow_unused=True)
            return [ops.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]

        return value.detach(), gradients
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(arguments)
        value = function(*arguments)
    return value, lambda upstream: tape.gradient(
        value, list(arguments), upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )


def delay(array: Tensor, *until: Tensor) -> Tensor:
    """Return an array, on TensorFlow not before others are known: what is needed later is to be made later.

    TensorFlow starts whatever it can, in any order, and takes what is to be computed again for what it still has.
    """
    if keras.backend.backend() != "tensorflow":
        return array
    import tensorflow as tf

    with tf.control_dependencies(until):
        return tf.identity(array)


def loop(count: Tensor, body: Callable[[Tensor, Any], Any], state: Any) -> Any:
    """Return `body(count - 1, ... body(1, body(0, state)))`, one after the other.

    `keras.ops.fori_loop` lets TensorFlow run ten iterations side by side, which takes the memory of ten.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.fori_loop(0, count, body, state)
    import tensorflow as tf

    return tf.while_loop(
        lambda number, _: number < count,
        lambda number, state: (number + 1, body(number, state)),
        (0, state),
        parallel_iterations=1,
    )[1]


def take(array: Tensor, number: Tensor, count: int) -> Tensor:
    """Return the piece `number` of the first axis, `count` long; TensorFlow on a CPU may find the last one shorter."""
    if runs_on_tensorflow_cpu():
        return array[number * count : (number + 1) * count]
    return ops.slice(array, (number * count, *(0,) * (len(array.shape) - 1)), (count, *array.shape[1:]))


def put(array: Tensor, number: Tensor, count: int, piece: Tensor) -> Tensor:
    """Return `array` with another piece, see `take`."""
    if runs_on_tensorflow_cpu():
        import tensorflow as tf

        # In place where nothing else needs the old array, which `ops.slice_update` never is.
        rows = tf.range(number * count, number * count + tf.shape(piece)[0])
        return tf.tensor_scatter_nd_update(array, rows[:, None], piece)
    return ops.slice_update(array, (number * count, *(0,) * (len(array.shape) - 1)), piece)


def write(buffer: Tensor, index: Tensor, value: Tensor) -> Tensor:
    """Return `buffer` with `buffer[index] = value`."""
    return put(buffer, index, 1, value[None])


def shelf(count: int, like: Tensor) -> Any:
    """Return room for `count` arrays of a shape, to be used with `store` and `fetch`, also within `loop`.

    TensorFlow on a CPU copies one array for all now and then, each of whose copies is as large as everything in it.
    """
    if runs_on_tensorflow_cpu():
        import tensorflow as tf

        return tf.TensorArray(like.dtype, count, element_shape=like.shape)
    return ops.tile(ops.zeros_like(like)[None], (count, *(1,) * len(like.shape)))


def store(shelf: Any, index: Tensor, value: Tensor) -> Any:
    """Return a shelf with an array in its place."""
    return shelf.write(index, value) if runs_on_tensorflow_cpu() else write(shelf, index, value)


def fetch(shelf: Any, index: Tensor) -> Tensor:
    """Return an array from its place."""
    return shelf.read(index) if runs_on_tensorflow_cpu() else shelf[index]


def sees_gpu() -> bool:
    """Whether Keras's backend sees a GPU; `keras.distribution.list_devices` knows it under TensorFlow only."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.default_backend() == "gpu"
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return bool(keras.distribution.list_devices("gpu"))


@cache
def runs_on_tensorflow_cpu() -> bool:
    """Whether Keras computes with TensorFlow on a CPU."""
    return keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")


def fused(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function of elementwise operations on tensors into one pass over them.

    For TensorFlow on a CPU, which has no such thing of its own; the compilers of GPUs do it unasked. Derivatives do not
    go through it.
    """

    @cache
    def compiled() -> Callable[..., Any]:
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    @wraps(function)
    def call(*arguments: Tensor) -> Any:
        return (compiled() if runs_on_tensorflow_cpu() else function)(*arguments)

    return call


def channel_means(features: Tensor) -> Tensor:
    """Return the mean over all axes but the last, `(channel,)`, of the features on this device."""
    features = widen(features)
    if not runs_on_tensorflow_cpu():
        return ops.mean(features, axis=(0, 1, 2))
    # A matrix product is several times faster there than a reduction.
    flat = ops.reshape(features, (-1, features.shape[-1]))
    ones = ops.ones_like(flat[:, :1])
    return ops.matmul(ops.transpose(ones), flat)[0] / ops.sum(ones)
