"""iPALM: inertial proximal alternating linearised minimisation, block by block with backtracking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np
from keras import ops

from bart_bridge.errors import InputError
from tf_models.backend.ops import Tensor
from tf_models.optimizers import check_rate, refuse
from tf_models.optimizers.ipalm_rules import LEARNING_RATES, PRESETS
from tf_models.optimizers.proximal import Specification, checked, maps_of

COUNTS = ("gradient_evaluations", "loss_evaluations", "backtracks")
Closure = Callable[[], Tensor]
_UNSUPPORTED = (
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "loss_scale_factor"),
    "gradient_accumulation_steps",
)


@keras.saving.register_keras_serializable("bart_tf")
class IPALM(keras.optimizers.Optimizer):
    """Minimise H(x_1, ..., x_n) + sum_i f_i(x_i), each variable a block x_i.

    In step k = 0, 1, ... for one block after the other, with what the blocks before it have become:

        y = x + r alpha (x - x_old),   z = x + r beta (x - x_old),   r = 1
        x_new = prox_{f_i / tau}(y - grad_i H(z) / tau)
        accept if H(x_new) <= Q + slack |Q|,   Q = H(z) + <grad_i H(z), x_new - y> + L / 2 |x_new - y|^2
        accepted: L <- L / reduce;   rejected: L <- L increase, with `reduce_momentum` r <- r / 2, and try again

    L starts at 1 / learning_rate for every block. A schedule multiplies it: L is kept as L * learning_rate, so that a
    rate that is halved doubles L, from where backtracking goes on. Before the first step all blocks are projected.

    The objective is evaluated many times in a step, so `apply` is not possible: call `step`, or train a model that has
    `ClosureTrainingMixin`. TensorFlow only, and not under a distribution strategy with several replicas.

    Presets: `paper` is Pock and Sabach's with inertia k / (k + 3) and an exact bound up to rounding; `bart` are the
    rules of `reconet`; `vn` those of the original VarNet code, whose filters are to stay in the unit ball:
    `proximal={"conv": ["zero_mean_unit_ball"]}`. Slack bounds the accuracy that can be reached: 1e-3 of the last two
    ends 2.5e-4 to 6e-3 from the solution of a LASSO.

    Args:
        learning_rate: 1 / L at the start. Defaults to 1.0, and to 0.001 for the preset `vn`.
        preset: `paper` (default), `bart` or `vn`.
        rules: Fields of `Rules` that differ from the preset.
        proximal: Proximal map of each variable by its name, see `tf_models.optimizers.proximal.proximal_map`; without
            one it is the projection of the variable's Keras constraint.
        **kwargs: `name`. Clipping, weight decay, averages and accumulation are refused.

    References:
        Pock and Sabach (2016), doi 10.1137/16M1064064, algorithm 1. Hammernik et al. (2018), doi 10.1002/mrm.26977.
    """

    def __init__(
        self,
        learning_rate: Any = None,
        preset: str = "paper",
        rules: Mapping[str, Any] | None = None,
        proximal: Mapping[str, Specification] | None = None,
        **kwargs: Any,
    ) -> None:
        if keras.backend.backend() != "tensorflow":
            raise InputError(f"IPALM needs the backend tensorflow. Received: backend={keras.backend.backend()}")
        if preset not in PRESETS:
            raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}. Received: preset={preset}")
        refuse(_UNSUPPORTED, kwargs)
        unknown = set(rules or {}) - set(asdict(PRESETS[preset]))
        if unknown:
            raise ValueError(f"`rules` must be fields of Rules. Received: {', '.join(sorted(unknown))}")
        check_rate(learning_rate)
        super().__init__(LEARNING_RATES[preset] if learning_rate is None else learning_rate, **kwargs)
        self.preset = preset
        self.changed_rules = dict(rules or {})
        self.rules = replace(PRESETS[preset], **self.changed_rules)
        self.proximal = checked(proximal)

    def build(self, variables: Sequence[Any]) -> None:
        """Make the state: the previous value and the scaled L of each block, and the counts."""
        if self.built:
            return
        super().build(variables)
        self._maps = maps_of(variables, self.proximal)
        self._previous = self.add_optimizer_variables(variables, "previous")
        self._scaled_lipschitz = [
            self.add_variable((), "ones", dtype=variable.dtype, name=f"{variable.name}_lipschitz")
            for variable in variables
        ]
        self._gradients, self._losses, self._backtracks = (
            self.add_variable((), "zeros", dtype="int64", name=name) for name in COUNTS
        )

    def counts(self) -> dict[str, Any]:
        """Return the evaluations so far: `gradient_evaluations`, `loss_evaluations` without them, `backtracks`."""
        counts = map(ops.convert_to_tensor, (self._gradients, self._losses, self._backtracks))
        return dict(zip(COUNTS, counts, strict=True))

    def lipschitz(self) -> list[Tensor]:
        """Return L of every block."""
        return [scaled / ops.cast(self.learning_rate, scaled.dtype) for scaled in self._scaled_lipschitz]

    def step(
        self, closure: Closure, variables: Sequence[Any], state: Sequence[Any] = (), jit_compile: bool = False
    ) -> Tensor:
        """Update all blocks once.

        Args:
            closure: Returns H, a scalar, at the present values of the variables; always the same for the same values.
            variables: Keras variables, the blocks in their order.
            state: Variables that the closure changes, such as the running statistics of batch norm. All evaluations of
                a block start from their values before it, so that each block changes them once, at its accepted point.
            jit_compile: Let XLA compile the closure and its derivatives (default false); within a `tf.function` only.

        Returns:
            H after the last block.

        Raises:
            ValueError: The optimizer was built for other variables, or there are several replicas.
        """
        import tensorflow as tf

        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            raise ValueError("IPALM is not for data-parallel training. Received: a strategy of several replicas")
        if not self.built:
            self.build(list(variables))
        self._check_variables_are_known(variables)
        indices = [self._get_variable_index(variable) for variable in variables]
        tf.cond(self._iterations.value > 0, lambda: None, lambda: self._project(variables, indices))
        evaluate = _one_function(closure, jit_compile)
        for variable, index in zip(variables, indices, strict=True):
            differentiate = _one_function(_value_and_gradient(closure, variable), jit_compile)
            loss = self._update_block(evaluate, differentiate, variable, index, state)
        self._iterations.assign_add(1)
        return loss

    def _project(self, variables: Sequence[Any], indices: Sequence[int]) -> None:
        for variable, index in zip(variables, indices, strict=True):
            variable.assign(self._maps[index](ops.convert_to_tensor(variable), ops.cast(0, variable.dtype)))
            self._previous[index].assign(variable)

    def _update_block(
        self,
        evaluate: Closure,
        differentiate: Callable[[], tuple[Tensor, Tensor]],
        variable: Any,
        index: int,
        state: Sequence[Any],
    ) -> Tensor:
        import tensorflow as tf

        rules, dtype, prox = self.rules, variable.dtype, self._maps[index]
        rate = ops.cast(self.learning_rate, dtype)
        slack = 16 * float(np.finfo(dtype).eps) if rules.slack is None else rules.slack
        current = tf.identity(variable.value)
        change = current - self._previous[index].value
        before = [tf.identity(each.value) for each in state]

        def move_to(point: Tensor) -> None:
            for each, value in zip(state, before, strict=True):
                each.assign(value)
            variable.assign(point)

        def linearize(scale: Tensor) -> tuple[Tensor, Tensor]:
            move_to(current + scale * self._inertia(rules.beta, dtype) * change)
            loss, gradient = differentiate()
            return ops.cast(loss, dtype), gradient

        once = None if rules.reduce_momentum else linearize(ops.ones((), dtype))

        def attempt(tries: Tensor, lipschitz: Tensor, scale: Tensor, _: Tensor, __: Tensor) -> tuple[Tensor, ...]:
            loss, gradient = linearize(scale) if once is None else once
            start = current + scale * self._inertia(rules.alpha, dtype) * change
            tau = rules.tau() * lipschitz
            point = prox(start - gradient / tau, 1 / tau)
            move_to(point)
            found = ops.cast(evaluate(), dtype)
            moved = point - start
            bound = loss + tf.reduce_sum(gradient * moved) + lipschitz / 2 * tf.reduce_sum(moved * moved)
            accepted = (found <= bound + slack * tf.abs(bound)) | (lipschitz >= rules.largest)
            accepted |= tries + 1 >= rules.maximum_tries
            reduced = tf.maximum(lipschitz / rules.reduce, rules.smallest)
            lipschitz = tf.where(accepted, reduced, lipschitz * rules.increase)
            return tries + 1, lipschitz, scale / 2 if rules.reduce_momentum else scale, accepted, found

        tries, lipschitz, _, _, loss = tf.while_loop(
            lambda tries, lipschitz, scale, accepted, loss: ~accepted,
            attempt,
            (
                tf.constant(0, "int64"),
                self._scaled_lipschitz[index].value / rate,
                tf.ones((), dtype),
                tf.constant(False),
                tf.zeros((), dtype),
            ),
        )
        self._previous[index].assign(current)
        self._scaled_lipschitz[index].assign(lipschitz * rate)
        self._gradients.assign_add(tries if rules.reduce_momentum else 1)
        self._losses.assign_add(tries)
        self._backtracks.assign_add(tries - 1)
        return loss

    def _inertia(self, chosen: float | None, dtype: str) -> Tensor:
        if chosen is not None:
            return chosen
        step = ops.cast(self._iterations, dtype)
        return step / (step + 3)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Refuse: gradients alone are not enough."""
        raise ValueError(
            "IPALM evaluates the objective: train a model with ClosureTrainingMixin or call step(closure, variables). "
            "Received: gradients"
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        own = {"preset": self.preset, "rules": dict(self.changed_rules), "proximal": dict(self.proximal)}
        return {**super().get_config(), **own}


def _value_and_gradient(closure: Closure, variable: Any) -> Callable[[], tuple[Tensor, Tensor]]:
    import tensorflow as tf

    def differentiate() -> tuple[Tensor, Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variable.value)
            loss = closure()
        return loss, tape.gradient(loss, variable.value, unconnected_gradients="zero")

    return differentiate


def _one_function(function: Callable[[], Any], jit_compile: bool) -> Callable[[], Any]:
    """Keep a function of its own in the graph: copied to all of its calls, it takes minutes to prepare."""
    import tensorflow as tf

    if tf.executing_eagerly():
        return function
    attributes = None if jit_compile else {"_noinline": True}
    made: Callable[[], Any] = tf.function(
        function, autograph=False, jit_compile=jit_compile or None, experimental_attributes=attributes
    )
    return made
