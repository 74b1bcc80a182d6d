"""iPALM: inertial proximal alternating linearised minimisation, block by block with backtracking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from bart_bridge.errors import InputError
from tf_models.backend.ops import Tensor
from tf_models.optimizers.arguments import LearningRate, check_rate, refuse
from tf_models.optimizers.ipalm_rules import LEARNING_RATES, PRESETS, field_names
from tf_models.optimizers.objective import BACKENDS, Block, Closure, blocks, copy_of, refuse_replicas
from tf_models.optimizers.proximal import Specification, check_specifications, proximal_maps

COUNTS = ("gradient_evaluations", "loss_evaluations", "backtracks")
_UNSUPPORTED = (
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema", "loss_scale_factor"),
    "gradient_accumulation_steps",
)


@keras.saving.register_keras_serializable("bart_tf")
class IPALM(keras.optimizers.Optimizer):
    """Minimise H(x_1, ..., x_n) + sum_i f_i(x_i), each variable a block x_i.

    In step k = 0, 1, ... for one block after the other, at the new values of the blocks before it:

    ```
    y = x + r alpha (x - x_old),   z = x + r beta (x - x_old),   r = 1
    x_new = prox_{f_i / tau}(y - grad_i H(z) / tau)
    accept if H(x_new) <= Q + slack |Q|,   Q = H(z) + <grad_i H(z), x_new - y> + L / 2 |x_new - y|^2
    accepted:  L <- L / decrease_factor
    rejected:  L <- L increase_factor, with `reduce_momentum` r <- r / 2, and try again
    ```

    L starts at 1 / learning_rate for every block. A schedule multiplies it: L is kept as L * learning_rate, so
    halving the rate doubles L, and backtracking continues from there. All blocks are projected before the first step.

    A step evaluates the objective many times, so `apply` is not possible: call `step`, or train a model that has
    `tf_models.networks.closure_training.ClosureTrainingMixin`. Data-parallel training is not possible. On JAX, `step`
    traces its loops at every call: in a loop of your own, call it within `jax.jit` and `keras.StatelessScope`, as
    `model.fit` does.

    Three presets set the rules. `paper` is Pock and Sabach's with inertia k / (k + 3) and a bound that is exact up to
    rounding. `bart` has the rules of `reconet`. `vn` has those of the original VarNet code, which keeps filters in the
    unit ball: `proximal={"conv": ["zero_mean_unit_ball"]}`. Slack limits the accuracy: with the 1e-3 of the last two,
    iPALM ends 2.5e-4 to 6e-3 from the solution of a LASSO.

    Args:
        learning_rate: float above 0 or a Keras schedule. 1 / L at the start. Defaults to `None`, which is 0.001 for the
            preset `vn` and 1 for the others.
        preset: `"paper"`, `"bart"` or `"vn"`. Defaults to `"paper"`.
        rules: dict of the fields of `tf_models.optimizers.ipalm_rules.Rules` that differ from the preset. Defaults to
            `None`.
        proximal: dict of specifications by the names of variables, see `tf_models.optimizers.proximal.proximal_map`. A
            variable without one uses the projection of its Keras constraint, or the identity. Defaults to `None`.
        **kwargs: `name`. Clipping, weight decay, moving averages, loss scaling and gradient accumulation are not
            supported.

    Raises:
        InputError: The backend is none of tensorflow, jax and torch.
        ValueError: An argument is out of its range or not supported.

    Examples:
        The minimum of (w - 1)^2 / 2 + 0.1 |w| is 0.9:

        >>> import keras
        >>> from tf_models.optimizers.ipalm import IPALM
        >>> weight = keras.Variable(3.0, name="w")
        >>> optimizer = IPALM(proximal={"w": ["l1", 0.1]})
        >>> for _ in range(20):
        ...     loss = optimizer.step(lambda: (weight.value - 1) ** 2 / 2, [weight])
        >>> round(float(weight), 4)
        0.9

    References:
        - Pock and Sabach (2016), doi 10.1137/16M1064064, algorithm 1.
        - Hammernik et al. (2018), doi 10.1002/mrm.26977.
    """

    def __init__(
        self,
        learning_rate: LearningRate | None = None,
        preset: str = "paper",
        rules: Mapping[str, Any] | None = None,
        proximal: Mapping[str, Specification] | None = None,
        **kwargs: Any,
    ) -> None:
        backend = keras.backend.backend()
        if backend not in BACKENDS:
            raise InputError(f"IPALM runs on the backends {', '.join(BACKENDS)}. Received: backend={backend}")
        if preset not in PRESETS:
            raise ValueError(f"`preset` must be one of {', '.join(PRESETS)}. Received: preset={preset}")
        refuse(_UNSUPPORTED, kwargs)
        check_rate(learning_rate)
        super().__init__(LEARNING_RATES[preset] if learning_rate is None else learning_rate, **kwargs)
        self.preset = preset
        self.changed_rules = field_names(rules or {})
        self.rules = replace(PRESETS[preset], **self.changed_rules)
        self.proximal = check_specifications(proximal)

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Create the state: the previous value and the scaled L of each block, and the counts."""
        if self.built:
            return
        super().build(variables)
        self._proximal_maps = proximal_maps(variables, self.proximal)
        self._previous = self.add_optimizer_variables(variables, "previous")
        self._scaled_lipschitz = [
            self.add_variable((), "ones", dtype=variable.dtype, name=f"{variable.name}_lipschitz")
            for variable in variables
        ]
        self._gradients, self._losses, self._backtracks = (
            self.add_variable((), "zeros", dtype="int", name=name) for name in COUNTS
        )

    def counts(self) -> dict[str, Tensor]:
        """Return the evaluations so far, integer scalars.

        Returns:
            `gradient_evaluations`, `loss_evaluations` without those that come with a gradient, and `backtracks`.
        """
        counts = map(ops.convert_to_tensor, (self._gradients, self._losses, self._backtracks))
        return dict(zip(COUNTS, counts, strict=True))

    def step(
        self,
        closure: Closure,
        variables: Sequence[keras.Variable],
        state: Sequence[keras.Variable] = (),
        jit_compile: bool = False,
    ) -> Tensor:
        """Update all blocks once.

        Args:
            closure: Returns H, a scalar, at the present values of the variables; always the same for the same values.
                JAX traces it.
            variables: The blocks in their order.
            state: Variables that the closure changes, such as the running statistics of batch norm. All evaluations of
                a block start from their values before it, so each block changes them once, at its accepted point. On
                JAX, changes of other variables are lost. Defaults to none.
            jit_compile: Whether XLA compiles the closure and its derivatives; within a `tf.function` only, JAX and
                PyTorch ignore it. Defaults to `False`.

        Returns:
            H after the last block.

        Raises:
            ValueError: The optimizer was built for other variables, or there are several replicas.
        """
        refuse_replicas("IPALM")
        if not self.built:
            self.build(list(variables))
        self._check_variables_are_known(variables)
        indices = [self._get_variable_index(variable) for variable in variables]
        for variable, index in zip(variables, indices, strict=True):
            self._project_at_first(variable, index)
        block_of = blocks(closure, variables, state, jit_compile)
        for variable, index in zip(variables, indices, strict=True):
            loss = self._update_block(block_of(variable), index)
        self._iterations.assign_add(1)
        return loss

    def _project_at_first(self, variable: keras.Variable, index: int) -> None:
        first = self._iterations.value == 0
        position, previous = copy_of(variable), copy_of(self._previous[index])
        projected = self._proximal_maps[index](position, ops.cast(0, variable.dtype))
        variable.assign(ops.where(first, projected, position))
        self._previous[index].assign(ops.where(first, projected, previous))

    def _update_block(self, block: Block, index: int) -> Tensor:
        """Try steps until one is accepted, and return H there."""
        rules, dtype, prox = self.rules, block.variable.dtype, self._proximal_maps[index]
        rate = ops.cast(self.learning_rate, dtype)
        slack = 16 * float(np.finfo(dtype).eps) if rules.slack is None else rules.slack
        position = copy_of(block.variable)
        change = position - copy_of(self._previous[index])

        def extrapolate(momentum: Tensor, inertia: float | None) -> Tensor:
            return position + momentum * self._inertia(inertia, dtype) * change

        def linearize(momentum: Tensor) -> tuple[Tensor, Tensor]:
            loss, gradient = block.loss_and_gradient(extrapolate(momentum, rules.beta))
            return ops.cast(loss, dtype), gradient

        linearization = None if rules.reduce_momentum else linearize(ops.ones((), dtype))

        def attempt(tries: Tensor, lipschitz: Tensor, momentum: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
            loss, gradient = linearize(momentum) if linearization is None else linearization
            start = extrapolate(momentum, rules.alpha)
            tau = rules.tau() * lipschitz
            point = prox(start - gradient / tau, 1 / tau)
            new_loss, state_values = block.loss(point)
            new_loss = ops.cast(new_loss, dtype)
            step = point - start
            bound = loss + ops.sum(gradient * step) + lipschitz / 2 * ops.sum(step * step)
            accepted = (new_loss <= bound + slack * ops.abs(bound)) | (lipschitz >= rules.lipschitz_max)
            accepted |= tries + 1 >= rules.maximum_tries
            decreased = ops.maximum(lipschitz / rules.decrease_factor, rules.lipschitz_min)
            lipschitz = ops.where(accepted, decreased, lipschitz * rules.increase_factor)
            momentum = momentum / 2 if rules.reduce_momentum else momentum
            return tries + 1, lipschitz, momentum, accepted, new_loss, point, state_values

        start_values = (
            ops.zeros((), self._backtracks.dtype),
            copy_of(self._scaled_lipschitz[index]) / rate,
            ops.ones((), dtype),
            ops.zeros((), "bool"),
            ops.zeros((), dtype),
            position,
            [each.value for each in block.state],
        )
        tries, lipschitz, _, _, loss, point, state_values = ops.while_loop(
            lambda tries, lipschitz, momentum, accepted, *_: ops.logical_not(accepted), attempt, start_values
        )
        block.accept(point, state_values)
        self._previous[index].assign(position)
        self._scaled_lipschitz[index].assign(lipschitz * rate)
        self._gradients.assign_add(tries if rules.reduce_momentum else 1)
        self._losses.assign_add(tries)
        self._backtracks.assign_add(tries - 1)
        return loss

    def _inertia(self, fixed: float | None, dtype: str) -> Tensor:
        if fixed is not None:
            return fixed
        step = ops.cast(self._iterations, dtype)
        return step / (step + 3)

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Refuse: gradients alone are not enough."""
        raise ValueError(
            "IPALM evaluates the objective: train a model with ClosureTrainingMixin or call step(closure, variables). "
            "Received: gradients"
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        arguments = {"preset": self.preset, "rules": dict(self.changed_rules), "proximal": dict(self.proximal)}
        return {**super().get_config(), **arguments}
