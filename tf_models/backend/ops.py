"""Functions that `keras.ops` lacks, for each backend: derivatives, loops in order, pieces of arrays, XLA."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, NamedTuple, TypeAlias, TypeVar

import keras
from keras import ops

from tf_models.backend.devices import runs_on_tensorflow_cpu
from tf_models.backend.exporting import exports_own_derivatives, is_exporting

# The tensors of three backends, which have no type in common.
Tensor: TypeAlias = Any
# Tensors in lists, tuples and dictionaries, as Keras passes them.
Tensors: TypeAlias = Any
_Kept = TypeVar("_Kept")
_State = TypeVar("_State")


def value_of(variable: keras.Variable) -> Tensor:
    """Return the value of a Keras variable; `ops.convert_to_tensor` returns the variable itself."""
    if keras.backend.backend() != "tensorflow":
        return variable.value
    import tensorflow as tf

    return tf.convert_to_tensor(variable.value)


def custom_gradient(
    forward: Callable[..., tuple[Tensor, _Kept]],
    backward: Callable[[_Kept, Tensor], Tensor | tuple[Tensor, ...]],
) -> Callable[..., Tensor]:
    """Return a function with a derivative of its own, on every backend.

    In an export of PyTorch it has the derivative of the operations of `forward`, see `tf_models.backend.exporting`.

    Args:
        forward: Computes the result from the arguments, one tensor, and what `backward` needs, of any type.
        backward: Computes the gradients of the loss by all arguments from that and the gradient by the result.
    """
    if is_exporting() and not exports_own_derivatives():
        return lambda *arguments: forward(*arguments)[0]
    if keras.backend.backend() == "torch":
        return lambda *arguments: _torch_function().apply(forward, backward, *arguments)

    @ops.custom_gradient
    def function(*arguments: Tensor) -> tuple[Tensor, Callable[..., Tensor | tuple[Tensor, ...]]]:
        result, kept = forward(*arguments)

        def gradient(*received: Tensor, upstream: Tensor = None) -> Tensor | tuple[Tensor, ...]:
            return backward(kept, received[0] if upstream is None else upstream)

        return result, gradient

    return function


@cache
def _torch_function() -> Any:
    """Return PyTorch's function of `custom_gradient`; Keras's own keeps everything until the whole step is over."""
    import torch

    class CustomGradient(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, forward: Callable[..., Any], backward: Callable[..., Any], *arguments: Any) -> Any:
            result, context.kept = forward(*arguments)
            context.gradient = backward
            # If `kept` contained the returned tensor itself, its graph would refer to itself and stay alive.
            return result.detach()

        @staticmethod
        def backward(context: Any, upstream: Any) -> Any:
            kept, context.kept = context.kept, None
            gradients = context.gradient(kept, upstream)
            return None, None, *(gradients if isinstance(gradients, tuple) else (gradients,))

    return CustomGradient


def vjp(function: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """Compute `function(*arguments)` and its vector-Jacobian product.

    Returns:
        The result, and a function from the gradient by the result to the list of gradients by the arguments. The
        gradient by an argument that does not matter is 0.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        result, product = jax.vjp(function, *arguments)
        return result, lambda upstream: list(product(upstream))
    if backend == "torch":
        import torch

        with torch.enable_grad():
            inputs = [argument.detach().requires_grad_() for argument in arguments]
            result = function(*inputs)

        def gradients(upstream: Tensor) -> list[Tensor]:
            values = torch.autograd.grad(result, inputs, upstream, allow_unused=True)
            return [ops.zeros_like(x) if g is None else g for x, g in zip(inputs, values, strict=True)]

        return result.detach(), gradients
    import tensorflow as tf

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(arguments)
        result = function(*arguments)
    return result, lambda upstream: tape.gradient(
        result, list(arguments), upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )


def recomputed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a function whose derivative stores its arguments and computes the rest again (JAX; unchanged elsewhere).

    JAX compiles only the part of it that the derivative needs, without the result.
    """
    if keras.backend.backend() != "jax":
        return function
    import jax

    recompute: Callable[..., Tensor] = jax.checkpoint(function, prevent_cse=False)
    return recompute


def after(array: Tensor, *until: Tensor) -> Tensor:
    """Return `array`, but only after `until` have been computed (TensorFlow; a no-op elsewhere).

    TensorFlow starts every operation that it can. It would recompute intermediate results long before they are needed,
    or reuse those of the forward pass, which then stay in memory.
    """
    if keras.backend.backend() != "tensorflow":
        return array
    import tensorflow as tf

    with tf.control_dependencies(until):
        return tf.identity(array)


def sequential_fori_loop(count: Tensor, body: Callable[[Tensor, _State], _State], state: _State) -> _State:
    """Return `body(count - 1, ... body(1, body(0, state)))`, one iteration at a time.

    `keras.ops.fori_loop` lets TensorFlow run ten iterations in parallel, which takes the memory of ten.
    """
    if keras.backend.backend() != "tensorflow":
        result: _State = ops.fori_loop(0, count, body, state)
        return result
    import tensorflow as tf

    final: tuple[int, _State] = tf.while_loop(
        lambda number, _: number < count,
        lambda number, state: (number + 1, body(number, state)),
        (0, state),
        parallel_iterations=1,
    )
    return final[1]


def chunk(array: Tensor, number: Tensor, size: int) -> Tensor:
    """Return chunk `number` of `size` rows of the first axis; with TensorFlow on a CPU the last may be shorter."""
    if runs_on_tensorflow_cpu():
        return array[number * size : (number + 1) * size]
    return ops.slice(array, (number * size, *(0,) * (len(array.shape) - 1)), (size, *array.shape[1:]))


def set_chunk(array: Tensor, number: Tensor, size: int, values: Tensor) -> Tensor:
    """Return `array` with other values in chunk `number`, see `chunk`."""
    if runs_on_tensorflow_cpu():
        import tensorflow as tf

        # In place if nothing else needs the old array; `ops.slice_update` always copies.
        rows = tf.range(number * size, number * size + tf.shape(values)[0])
        return tf.tensor_scatter_nd_update(array, rows[:, None], values)
    return ops.slice_update(array, (number * size, *(0,) * (len(array.shape) - 1)), values)


def set_item(array: Tensor, index: Tensor, value: Tensor) -> Tensor:
    """Return `array` with `array[index] = value`."""
    return set_chunk(array, index, 1, value[None])


class ArrayList(NamedTuple):
    """A list of arrays of one shape that a loop can carry in its state.

    TensorFlow on a CPU sometimes copies the state of a loop, and a single array for all would be copied whole.
    """

    storage: Tensor

    @classmethod
    def empty(cls, count: int, like: Tensor) -> ArrayList:
        """Return a list with room for `count` arrays of the shape and type of `like`."""
        if runs_on_tensorflow_cpu():
            import tensorflow as tf

            return cls(tf.TensorArray(like.dtype, count, element_shape=like.shape))
        return cls(ops.tile(ops.zeros_like(like)[None], (count, *(1,) * len(like.shape))))

    def set(self, index: Tensor, value: Tensor) -> ArrayList:
        """Return the list with `value` at `index`."""
        if runs_on_tensorflow_cpu():
            return ArrayList(self.storage.write(index, value))
        return ArrayList(set_item(self.storage, index, value))

    def get(self, index: Tensor) -> Tensor:
        """Return the array at `index`."""
        return self.storage.read(index) if runs_on_tensorflow_cpu() else self.storage[index]


def xla_on_cpu(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compile a function of elementwise operations and Fourier transforms with XLA.

    XLA fuses elementwise operations into one pass over the arrays. It would make convolutions slower. Only TensorFlow
    on a CPU needs it; the compilers for GPUs fuse by themselves. The compiled function has no derivative; an export,
    which needs one, does not compile.
    """

    @cache
    def compiled(shapes: str) -> Callable[..., Tensor]:
        """Return a function for these shapes; TensorFlow would take one for any batch, whose result has no size."""
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    @wraps(function)
    def call(*arguments: Tensor) -> Tensor:
        if not runs_on_tensorflow_cpu() or is_exporting():
            return function(*arguments)
        import tensorflow as tf

        # An eager tape would trace the derivative, which XLA cannot compile for a loop.
        constants = tf.nest.map_structure(lambda x: tf.stop_gradient(x) if tf.is_tensor(x) else x, arguments)
        shapes = tf.nest.map_structure(lambda x: x.shape if tf.is_tensor(x) else None, arguments)
        return compiled(str(shapes))(*constants)

    return call
