"""ADMM on weights: the loss on one copy of them, constraints and penalties on the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from tf_models.backend.ops import Tensor
from tf_models.optimizers import check_count, check_number, check_rate, refuse
from tf_models.optimizers.proximal import Specification, checked, maps_of

RESIDUALS = ("primal_residual", "dual_residual")
_UNSUPPORTED = ("weight_decay", "use_ema", "gradient_accumulation_steps")


@keras.saving.register_keras_serializable("bart_tf")
class ADMM(keras.optimizers.Optimizer):
    """Linearised stochastic alternating direction method of multipliers for min f(w) + g(z) subject to w = z.

    f is the training loss, of which only gradients G of batches are known; g is a penalty or the indicator of a set,
    known by its proximal map. With step size eta and scaled dual u, from z = w and u = 0:

        w <- (w - eta G + eta rho (z - u)) / (1 + eta rho)
        every m steps:  h = a w + (1 - a) z;   z_new = prox_{g / rho}(h + u);   u <- u + h - z_new;   z <- z_new

    The first line minimises <G, w> + |w - w_k|^2 / (2 eta) + rho / 2 |w - z + u|^2 exactly, so that rho does not limit
    eta. For convex f and full batches it converges for eta <= 1 / L, L the Lipschitz constant of f's gradient, to a
    solution that does not depend on rho; batches need a falling eta, and for other f nothing is promised.

    During training the weights are w, which need not be feasible; `fit` hands z over at its end, and `evaluated_at_z`
    for a while. A variable's Keras constraint is taken for the indicator of its set and keeps z in it, not w.

    With `balancing`, rho of each variable follows its residuals: where |w - z| is more than 10 times rho |z_new - z|,
    rho doubles, and halves in the opposite case.

    This is Boyd's splitting w = z of the weights, with the linearised step of Ouyang; it is not dlADMM (Wang 2019).
    That and Taylor (2016) split a network into layers with activations as variables, each solved for in turn. It does
    not apply to an unrolled network: its layers share weights, and the conjugate gradients and radial-basis
    activations between them have no update in closed form.

    Args:
        learning_rate: eta. Defaults to 0.001.
        rho: Weight of w = z. Defaults to 1.0.
        relaxation: a, between 1 (default) and 1.8.
        dual_interval: m. Defaults to 1.
        balancing: Adapt rho. Defaults to False.
        proximal: Proximal map of each variable by its name, see `tf_models.optimizers.proximal.proximal_map`; without
            one it is the projection of the variable's Keras constraint.
        **kwargs: As of `keras.optimizers.Optimizer`; weight decay, averages and accumulation are refused.

    References:
        Boyd et al. (2011), doi 10.1561/2200000016, sections 3.1, 3.4.1 and 3.4.3. Ouyang et al. (2013), Stochastic
        alternating direction method of multipliers, ICML. Not used: Wang et al. (2019), doi 10.1145/3292500.3330936.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 1.0,
        relaxation: float = 1.0,
        dual_interval: int = 1,
        balancing: bool = False,
        proximal: Mapping[str, Specification] | None = None,
        **kwargs: Any,
    ) -> None:
        check_rate(learning_rate)
        check_number("rho", rho, above=0)
        if not 1 <= relaxation <= 1.8:
            raise ValueError(f"`relaxation` must be in the range [1, 1.8]. Received: relaxation={relaxation}")
        check_count("dual_interval", dual_interval)
        refuse(_UNSUPPORTED, kwargs)
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.rho = rho
        self.relaxation = relaxation
        self.dual_interval = dual_interval
        self.balancing = balancing
        self.proximal = checked(proximal)

    def build(self, variables: Sequence[Any]) -> None:
        """Make the state of each variable: z, u, rho and the squared residuals."""
        if self.built:
            return
        super().build(variables)
        self._maps = maps_of(variables, self.proximal)
        self._split, self._dual = self.add_optimizer_variables(variables, ["split", "dual"])
        constant = keras.initializers.Constant(self.rho)
        self._rho, self._primal_squares, self._dual_squares = (
            [
                self.add_variable((), initializer, dtype=variable.dtype, name=f"{variable.name}_{name}")
                for variable in variables
            ]
            for name, initializer in (("rho", constant), ("primal", "zeros"), ("dual", "zeros"))
        )

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update the weights; their Keras constraints are left to z."""
        variables = list(self._trainable_variables if trainable_variables is None else trainable_variables)
        if trainable_variables is not None:
            self.build(variables)  # here, where their constraints can still be seen
        constraints = [variable.constraint for variable in variables]
        try:
            for variable in variables:
                variable.constraint = None
            super().apply(grads, trainable_variables)
        finally:
            for variable, constraint in zip(variables, constraints, strict=True):
                variable.constraint = constraint

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable."""
        index, dtype = self._get_variable_index(variable), variable.dtype
        gradient, eta = ops.cast(gradient, dtype), ops.cast(learning_rate, dtype)
        weights = ops.convert_to_tensor(variable)
        rho = ops.convert_to_tensor(self._rho[index])
        # Weights may have been set between `build` and the first step.
        split = ops.where(self.iterations > 0, ops.convert_to_tensor(self._split[index]), weights)
        dual = ops.convert_to_tensor(self._dual[index])
        weights = (weights - eta * gradient + eta * rho * (split - dual)) / (1 + eta * rho)
        self.assign(variable, weights)
        relaxed = self.relaxation * weights + (1 - self.relaxation) * split
        projected = self._maps[index](relaxed + dual, 1 / rho)
        primal = ops.sum(ops.square(weights - projected))
        change = ops.square(rho) * ops.sum(ops.square(projected - split))
        new_dual = dual + relaxed - projected
        factor = ops.ones_like(rho)
        if self.balancing:
            factor = ops.where(primal > 100 * change, 2 * factor, ops.where(change > 100 * primal, factor / 2, factor))
        # Between the steps of z only w moves.
        due = (self.iterations + 1) % self.dual_interval == 0
        for state, new, old in (
            (self._split, projected, split),
            (self._dual, new_dual / factor, dual),
            (self._rho, rho * factor, rho),
            (self._primal_squares, primal, self._primal_squares[index]),
            (self._dual_squares, change, self._dual_squares[index]),
        ):
            self.assign(state[index], ops.where(due, new, ops.convert_to_tensor(old)))

    def residuals(self) -> dict[str, float]:
        """Return `primal_residual` |w - z| and `dual_residual` rho |z_new - z|, over all weights, of z's last step."""
        squares = dict(zip(RESIDUALS, (self._primal_squares, self._dual_squares), strict=True))
        return {
            name: float(sum(ops.convert_to_numpy(each) for each in values)) ** 0.5 for name, values in squares.items()
        }

    def split(self) -> list[Tensor]:
        """Return z of every variable."""
        return [ops.convert_to_tensor(split) for split in self._split]

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """Hand z over to the weights; `fit` does so at its end."""
        if self.built and int(ops.convert_to_numpy(self._iterations)):
            for variable in var_list:
                # A copy: JAX gives the memory of weights away with every step, and z must not go with it.
                variable.assign(ops.copy(self._split[self._get_variable_index(variable)]))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments."""
        names = ("rho", "relaxation", "dual_interval", "balancing")
        own = {name: getattr(self, name) for name in names}
        return {**super().get_config(), **own, "proximal": dict(self.proximal)}


def of_model(model: keras.Model) -> ADMM | None:
    """Return the `ADMM` that a model trains with, also if its loss is scaled, or None."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return optimizer if isinstance(optimizer, ADMM) else None


class Residuals(keras.callbacks.Callback):
    """Add `primal_residual` and `dual_residual` of `ADMM` to the logs of every epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the residuals after the last update of the epoch."""
        optimizer = of_model(self.model)
        if logs is not None and optimizer is not None:
            logs |= optimizer.residuals()


@contextmanager
def evaluated_at_z(model: keras.Model) -> Iterator[None]:
    """Let the weights of a model that trains with `ADMM` be z inside; does nothing for other optimizers."""
    optimizer, variables = of_model(model), model.trainable_variables
    if optimizer is None:
        yield
        return
    weights = [ops.convert_to_numpy(variable) for variable in variables]
    optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)
